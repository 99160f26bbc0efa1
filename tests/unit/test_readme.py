"""The README's commands are there, and can be pasted as they stand."""

import re
import shlex
import subprocess

import pytest
from invoke.parser import Parser

from relup_remote.commands import by_name, namespace
from relup_remote.manual.completion import RUN_COMMANDS
from tests.readme import blocks, commands
from tests.unit.program import INV, PROJECT, run

TYPED = commands("Using it")


@pytest.mark.parametrize("typed", TYPED)
def test_a_command_can_be_parsed(typed: str) -> None:
    words = shlex.split(typed)
    assert words[0] == "inv"
    assert words[1] in by_name()
    given = words[1:] if "…" not in words else [word for word in words[1:] if word not in ("--tarball", "…")]
    Parser(contexts=namespace().to_contexts()).parse_argv([*given, "last"] if given[0] in RUN_COMMANDS else given)


def test_every_command_is_shown_but_for_those_that_are_rare() -> None:
    shown = {shlex.split(typed)[1] for typed in TYPED}
    assert set(by_name()) - shown == {
        "stage",
        "cleanup",
        "lock",
        "unlock",
        "logs-clear",
        "backup.list",
        "backup.verify",
    }


def test_those_that_need_no_host_work() -> None:
    for typed in TYPED:
        words = shlex.split(typed)[1:]
        if words[0] in ("paths", "hop.show", "runs"):
            ended = run(INV, *words)
            assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr


def test_the_line_for_the_path_makes_the_shell_find_the_commands() -> None:
    (line,) = [line for block in blocks() for line in block if line.startswith("export PATH")]
    ended = subprocess.run(
        ["bash", "-c", f"{line}\ncommand -v inv relup"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == [str(PROJECT / ".venv" / "bin" / name) for name in ("inv", "relup")]


def test_the_targets_of_make_are_there() -> None:
    targets = {target for block in blocks() for line in block for target in re.findall(r"^make ([\w-]+)", line)}
    assert targets == {"demo", "test", "test-all"}
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=PROJECT, capture_output=True, check=True)
