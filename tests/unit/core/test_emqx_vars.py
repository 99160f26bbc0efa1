"""emqx_vars is read as a shell reads it: bash itself is asked."""

import subprocess
from contextlib import suppress
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
    "A=0\nB='if x'\nA=1",
    'A=0\nB="(for it)"\nA=1',
    "A=0\n# if it is so &&\nA=1",
    "A=0\n# if it is so \\\nA=1",
    "A=on\\\ne",
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
        ("if true; then A=1; fi", "part of a compound command"),
        ("A=1\n. ./more", "may set anything"),
        ("A=/etc/*", "holds '*'"),
        ("A=~/etc", "a user's home"),
        ("A=/etc\r\n", "carriage return"),
        ("A=1\nexit 0", "may set anything"),
        ('B="$(x)"\nA="$B/etc"', "more than the value of a variable"),
    ],
)
def test_what_is_not_understood_is_unclear(text: str, why: str) -> None:
    with pytest.raises(Unclear, match=why.replace("*", r"\*")):
        Variables(text, {}).get("A")


NOT_SIMPLE = [
    "A=0\nread -r A <<<1",
    "A=0\nprintf -v A 1",
    "A=0\ncat >/dev/null <<E\nA=1\nE",
    "A=0\nreturn\nA=1",
    "A=0\nif false; then\n  A=1\nfi",
    "A=0\nif true\nthen\nA=1\nelse\nA=2\nfi\nA=$A/3",
    "A=0\nif false; then\nif true; then\nA=1\nfi\nA=2\nfi\nREL_VSN=4",
    "A=0\ncase x in\n  x) A=1 ;;\nesac",
    "A=0\nfor REL_VSN in a b; do\nA=$REL_VSN\ndone",
    "A=0\nfalse || {\nA=1\n}",
    "A=0\nset_it() {\nA=1\n}",
    "A=0\n(\nA=1\n)",
    "A=0\nfalse ||\nA=1",
    "A=0\ntrue || \\\nA=1",
    "A=0\nB=1; A=2",
    "A=0\nexport B=1 A=2",
    "A=0\nB=1; if true; then\nA=1\nfi",
    "A=0\nB=1; . /dev/null",
    "A=0\nunset A\nREL_VSN=1",
    "A=0\nA+=1",
    ': "${A:=1}"',
    ': "${A=1}"',
]


@pytest.mark.parametrize("text", NOT_SIMPLE)
def test_what_more_than_assignments_may_set_is_as_bash_has_it_or_unclear(text: str, tmp_path: Path) -> None:
    found, right = Variables(text, GIVEN), by_bash(text, tmp_path)
    for name in ("A", "REL_VSN"):
        with suppress(Unclear):
            assert found.get(name) == right.get(name)


def test_what_follows_makes_it_clear_again() -> None:
    assert Variables("if true; then A=1; fi\nA=2", {}).get("A") == "2"
    assert Variables("if true; then\nA=1\nfi\nA=2", {}).get("A") == "2"


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
