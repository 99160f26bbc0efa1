"""The manual: every command is in it, what it says can be typed, and lists, help, page and shells tell the same."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from invoke.parser import Parser
from invoke.tasks import Task

from relup_remote.commands import by_name, namespace
from relup_remote.commands.options import LOCAL
from relup_remote.docs import PAGES
from relup_remote.manual.completion import candidates
from relup_remote.manual.entries import GROUPS, LAB, MANUAL, STATUSES
from relup_remote.manual.synopsis import line, parameters, synopsis, usage
from relup_remote.rollout.plan import GATES

from .program import INV, PROJECT, RELUP, run

COLLECTION = namespace()
TASKS: dict[str, "Task[Any]"] = by_name()
EXAMPLES = [(name, words) for name, entry in MANUAL.items() for words in entry.examples]


def called(*words: str, program: str = RELUP) -> "subprocess.CompletedProcess[str]":
    """What a program of ours prints."""
    return run(program, *words, variables={**os.environ, "COLUMNS": "200"})


def test_every_command_is_in_the_manual_and_no_other() -> None:
    assert set(MANUAL) == set(TASKS)
    assert {entry.group for entry in MANUAL.values()} == set(GROUPS) - {LAB}


@pytest.mark.parametrize("name", MANUAL)
def test_what_it_says_of_a_command_is_of_that_command(name: str) -> None:
    entry, names = MANUAL[name], [each.name for each in parameters(TASKS[name])]
    assert set(entry.required) <= set(names)
    assert set(entry.statuses) <= set(STATUSES)
    assert set(entry.see) <= set(MANUAL) - {name}
    assert entry.examples
    assert all(shlex.split(words)[0] == name for words in entry.examples)
    theirs = {each.name.strip("_") for other in (name, *entry.see) for each in parameters(TASKS[other])}
    for flag in re.findall(r"--([a-z-]+)", entry.about + " ".join(entry.statuses.values())):
        assert flag.replace("-", "_") in theirs


@pytest.mark.parametrize(("name", "words"), EXAMPLES)
def test_an_example_is_understood_and_gives_what_is_needed(name: str, words: str) -> None:
    [context] = Parser(contexts=COLLECTION.to_contexts()).parse_argv(shlex.split(words))
    assert name in (context.name, *context.aliases)
    given = {str(argument.attr_name or argument.name) for argument in context.args.values() if argument.got_value}
    assert "resume" in given or set(MANUAL[name].required) <= given


@cache
def sections() -> list[str]:
    """The sections of the page of all commands."""
    return re.split(r"^## ", PAGES["commands.md"](), flags=re.MULTILINE)


@pytest.mark.parametrize("name", TASKS)
def test_every_option_is_in_synopsis_and_page(name: str) -> None:
    [found] = [text for text in sections() if text.startswith(f"{name}\n")]
    parts = synopsis(name, TASKS[name])
    for parameter in parameters(TASKS[name]):
        said = usage(TASKS[name], parameter)
        assert f"| `{said.replace('|', chr(92) + '|')}` |" in found
        assert said in parts or f"[{said}]" in parts
    assert str(TASKS[name].__doc__) in " ".join(found.split("\n"))
    for words in MANUAL[name].examples:
        assert f"    inv {words} " in found


def test_a_synopsis_is_broken_between_its_parts_only() -> None:
    lines = line("inv", synopsis("upgrade", TASKS["upgrade"]), "  ", 60).splitlines()
    assert lines[0].startswith("  inv upgrade --tarball FILE [--check]")
    assert all(each.startswith("      [") and each.endswith("]") for each in lines[1:])
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize(("program", "groups"), [(RELUP, GROUPS[:-1]), (INV, GROUPS)])
def test_commands_are_listed_by_what_they_are_for(program: str, groups: tuple[str, ...]) -> None:
    shown = called("--list", program=program)
    assert (shown.returncode, shown.stderr) == (0, "")
    titles = re.findall(r"^(\S.*):$", shown.stdout, re.MULTILINE)
    assert titles == list(groups)
    assert re.findall(r"^  (\S+)", shown.stdout, re.MULTILINE)[: len(TASKS)] == list(MANUAL)


SHOWN = (
    *((RELUP, words) for words in (("--help",), ("--list",), ("--list", "hop"), *(("--help", name) for name in TASKS))),
    (INV, ("--list", "lab")),
    (INV, ("--help", "lab.up")),
)


@pytest.mark.share(12)
@pytest.mark.parametrize(("program", "words"), SHOWN)
def test_help_and_lists_fit_into_the_terminal_and_break_no_word(
    program: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names such as ``replicants-first``, and values such as ``1,100%``, are words."""
    told = {}
    for width in (24, 60, 80, 120, 10**6):
        monkeypatch.setattr("relup_remote.manual.help.columns", lambda _out, width=width: width)
        monkeypatch.setattr("relup_remote.manual.help.WIDTH", max(100, width - 200))
        shown = called(*words, program=program)
        assert (shown.returncode, shown.stderr) == (0, "")
        told[width] = shown.stdout.split()
        if width >= 60:
            assert max(map(len, shown.stdout.splitlines())) <= width
    assert all(words == told[10**6] for words in told.values())


@pytest.mark.parametrize("name", TASKS)
def test_help_says_how_a_command_ends_and_what_may_be_left_out(name: str) -> None:
    shown = called("--help", name).stdout
    meanings = dict(re.findall(r"^  ([0-3])  (\S.*)$", shown.partition("Exit status:\n")[2], re.MULTILINE))
    assert set(meanings) == ({"0", "1", "2"} if TASKS[name].name in LOCAL else {"0", "1", "2", "3"})
    given = [usage(TASKS[name], each) for each in parameters(TASKS[name]) if each.default is each.empty]
    assert given == {"report": ["[RUN]"], "hop.show": ["FROM", "TARGET"], "hop.check": ["HOP"]}.get(name, [])
    assert f"  relup {' '.join([name, *given])}" in shown


@pytest.mark.parametrize(("program", "words"), [(RELUP, ("--help",)), (INV, ("--help", "lab.up"))])
def test_exit_statuses_are_said_of_all_commands_and_of_the_labs(program: str, words: tuple[str, ...]) -> None:
    assert re.search(r"^Exit status:\n  0  all fine\n", called(*words, program=program).stdout, re.MULTILINE)


def test_one_collection_is_listed_as_ever() -> None:
    assert re.findall(r"^  (\S+)", called("--list", "hop").stdout, re.MULTILINE) == [".check", ".draft", ".show"]


@pytest.mark.parametrize("program", [RELUP, INV])
@pytest.mark.parametrize(
    "words", [("hop.show", "--help"), ("--help", "hop.show"), ("hop.show", "1.0", "-h"), ("-h", "hop.show")]
)
def test_help_is_given_wherever_it_is_asked_for(program: str, words: tuple[str, ...]) -> None:
    shown = called(*words, program=program)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert " hop.show FROM TARGET [--catalogue PATH]" in shown.stdout
    assert re.search(r"^  TARGET +the version that the hop leads to", shown.stdout, re.MULTILINE)
    for title in ("Usage:", "Options:", "Exit status:", "Examples:", "See also: paths, hop.check"):
        assert title in shown.stdout


def test_help_on_the_lab_is_invokes() -> None:
    shown = called("lab.up", "--help", program=INV)
    assert (shown.returncode, "--port-offset" in shown.stdout) == (0, True)


@pytest.mark.parametrize("words", [["--list"], ["--help"], ["upgrade", "--help"], ["paths"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", RELUP, *words],
        cwd=PROJECT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=300,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory, and one run in the ledger."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("hosts: {n1: {}, n2: {}}\ngroups: {cores: [n1]}")
    run = tmp_path / "state" / "relup_remote" / "runs" / "2026-11-24T08-15-03-k3f9"
    run.mkdir(parents=True)
    (run / "request.json").write_text('{"format": 1}')
    catalogue = tmp_path / "catalogue"
    catalogue.mkdir()
    for source, target in (("1.0", "1.1"), ("1.0", "1.2"), ("1.1", "1.2")):
        hop = f'#{{from_version => "{source}", target_version => "{target}", code_changes => []}}.'
        (catalogue / f"{source}-to-{target}.relup").write_text(hop)
    monkeypatch.setenv("RELUP_CATALOGUE", str(catalogue))
    monkeypatch.setenv("RELUP_INVENTORY", str(inventory))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("upgrade --host", ["n1", "n2", "cores"]),
        ("upgrade --host n", ["n1", "n2", "cores"]),
        ("upgrade --host=n", ["n1", "n2", "cores"]),
        ("status --host n1,n", ["n1,n1", "n1,n2", "n1,cores"]),
        ("upgrade --yes --on-failure", ["stop", "restart"]),
        ("paths --graph", ["text", "mermaid", "svg"]),
        ("upgrade --order", ["replicants-first", "cores-first", "inventory"]),
        ("upgrade --gates verify,cl", [f"verify,{gate}" for gate in (*GATES, "none")]),
        ("paths --from", ["1.0", "1.1"]),
        ("hop.show 1", ["1.0", "1.1"]),
        ("hop.show 1.0 1", ["1.1", "1.2"]),
        ("hop.show 1.0 1.1 x", []),
        ("upgrade --resume", ["last", "2026-11-24T08-15-03-k3f9"]),
        ("report la", ["last", "2026-11-24T08-15-03-k3f9"]),
        ("plan --tarball", []),
        ("plan --inventory inv", []),
        ("status --host n1 --json", None),
        ("status --nosuch", None),
        ("status", None),
        ("sta", None),
        ("--list", None),
    ],
)
def test_what_a_shell_may_complete(places: Path, words: str, found: list[str] | None) -> None:
    assert candidates(words.split(), TASKS) == found


def test_hosts_are_those_of_the_inventory_that_is_named_and_one_that_is_wrong_has_none(places: Path) -> None:
    (places / "other.yml").write_text("hosts: {x9: {}}")
    (places / "bad.yml").write_text("hosts: [")
    assert candidates(["status", "--inventory", str(places / "other.yml"), "--host"], TASKS) == ["x9"]
    assert candidates(["status", "--inventory", str(places / "bad.yml"), "--host"], TASKS) == []


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("relup up", ["upgrade"]),
        ("relup backup", ["backup", "backup.list", "backup.verify"]),
        ("relup --l", ["--list"]),
        ("relup --d", ["--debug"]),
        ("relup upgrade --on-f", ["--on-failure"]),
        ("relup verify --host co", ["cores"]),
        ("relup upgrade --resume 2026", ["2026-11-24T08-15-03-k3f9"]),
        ("relup upgrade --why 'open", []),
        ("relup plan --tarball no", []),
    ],
)
def test_bash_completes(places: Path, typed: str, found: list[str]) -> None:
    """The script that `relup` prints, in a bash that is asked what it would offer."""
    words = typed.split()
    script = f"""
relup() {{ {shlex.quote(sys.executable)} -m relup_remote "$@"; }}
{called("--print-completion-script", "bash").stdout}
COMP_WORDS=({" ".join(map(shlex.quote, words))})
_complete_relup relup {shlex.quote(words[-1])}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    ended = subprocess.run(["bash", "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120)
    assert (ended.stdout.split(), ended.stderr) == (found, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_every_shell(shell: str) -> None:
    assert "relup --complete -- " in called("--print-completion-script", shell).stdout.replace(
        "${=collection_arg} ", ""
    )
