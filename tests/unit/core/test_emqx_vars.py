"""emqx_vars is read as a shell reads it: bash itself is asked."""

import subprocess
from pathlib import Path

import pytest

from lab.release.wrapper import Vars, emqx_vars, folders
from relup_remote.core.emqx_vars import LAST_LINES, Unclear, Variables, quoted, with_last_lines

GIVEN = {"RUNNER_ROOT_DIR": "/opt/my emqx/relup/2", "BASE_RUNNER_ROOT_DIR": "/opt/my emqx"}
NAMES = (
    "A",
    "REL_VSN",
    "IS_ELIXIR",
    "EMQX_ETC_DIR",
    "EMQX_LOG_DIR",
    "EMQX_PLUGINS_DIR",
    "RUNNER_BIN_DIR",
    "RUNNER_USER",
)

TEXTS = [
    *(emqx_vars("5.10.5", "15", folders(kind)) for kind in Vars),
    "A=bare/path-1.0",
    "A='single $RUNNER_ROOT_DIR \"x\"'",
    'A="double \\"quoted\\" \\$ \\\\ \\` \\x"',
    'A="$RUNNER_ROOT_DIR/etc"   # a comment',
    "A=$RUNNER_ROOT_DIR/etc",
    'A="${RUNNER_ROOT_DIR}/etc"',
    'A="${NOT_SET:-$BASE_RUNNER_ROOT_DIR/log}"',
    'A="${NOT_SET:-${BASE_RUNNER_ROOT_DIR}/log}"',
    'A="${NOT_SET-default}"',
    'B=""\nA="${B:-empty}/${B-empty}"',
    "A=1\nA=2",
    "export A=exported",
    "A=''",
    "A=",
    "A=\"a\"'b'c$RUNNER_ROOT_DIR",
    'A=one\n[ "$A" != "one" ] || A=two',
    'A=three\n[ "$A" != "one" ] || A=two',
    '## A=no\n\n  A="indented"',
]


def by_bash(text: str, folder: Path) -> dict[str, str]:
    file = folder / "emqx_vars"
    file.write_text(text)
    printing = "\n".join(f'if [ -n "${{{name}+x}}" ]; then printf "%s=%s\\n" {name} "${name}"; fi' for name in NAMES)
    script = f'set -euo pipefail\n. "$1"\n{printing}'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(file)],
        env={"PATH": "/usr/bin:/bin", **GIVEN},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("text", TEXTS)
def test_agrees_with_bash(text: str, tmp_path: Path) -> None:
    found = Variables(text, GIVEN)
    assert {name: value for name in NAMES if (value := found.get(name)) is not None} == by_bash(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('A="$(hostname)"', "more than the value of a variable"),
        ("A=`hostname`", "holds '`'"),
        ('A="x`hostname`"', "runs a command"),
        ('A="${B%/}"', "more than the value of a variable"),
        ('A="$B"', "B is not set"),
        ('A="no end', "has no end"),
        ("A='no end", "has no end"),
        ("A=x y", "more than a value"),
        ("if true; then A=1; fi", "more than an assignment"),
        ("A=1\n. ./more", "may set anything"),
        ("A=~/etc/*", "holds '*'"),
        ('B="$(x)"\nA="$B/etc"', "more than the value of a variable"),
    ],
)
def test_what_is_not_understood_is_unclear(text: str, why: str) -> None:
    with pytest.raises(Unclear, match=why.replace("*", r"\*")):
        Variables(text, {}).get("A")


def test_what_follows_makes_it_clear_again() -> None:
    assert Variables("if true; then A=1; fi\nA=2", {}).get("A") == "2"


@pytest.mark.parametrize(
    "value", ["/opt/my emqx", "/opt/my emqx/etc", "/etc/emqx", "", '/a "b" $c `d` \\e', "/opt/my emqx-2"]
)
def test_a_value_is_written_so_that_a_shell_reads_it(value: str, tmp_path: Path) -> None:
    line = f"A={quoted(value, GIVEN['BASE_RUNNER_ROOT_DIR'])}"
    assert by_bash(line, tmp_path)["A"] == Variables(line, GIVEN).get("A") == value


def test_lines_go_to_the_end_below_the_line_for_them() -> None:
    assert with_last_lines("A=1", ["B=2"]) == f"A=1\n\n{LAST_LINES}\nB=2\n"
    once = with_last_lines(f"A=1\n{LAST_LINES}\nC=3\n", ["B=2"])
    assert once == f"A=1\n{LAST_LINES}\nC=3\nB=2\n"
