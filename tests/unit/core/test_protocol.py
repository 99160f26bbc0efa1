"""The words that controller, core and agent share."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

import relup_remote
from relup_remote.core import protocol
from relup_remote.core.protocol import COMMANDS, ERRORS, NOTHING_LEFT, OUTCOMES, STEPS, Failure, Result, Step, encode
from relup_remote.schema import parsed

PACKAGE = Path(relup_remote.__file__).parent
AGENT = sorted((PACKAGE / "core" / "agent").glob("*.erl"))
VOCABULARY = PACKAGE / "core" / "protocol.py"

RAISING = {"Failure", "ArchiveError", "Refused", "error"}
"""What takes an err_type as its first argument."""

IN_AGENT = re.compile(
    r"(?:problem\(\w+, |warning\(\w+, |throw\(\{|\{error, |\{problem, \{|^failure_of\(.*\) -> )([a-z]\w+)(?=[,;.])",
    re.MULTILINE,
)


def raised() -> set[str]:
    """Each err_type that the Python code names where it raises."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = getattr(node.func, "id", getattr(node.func, "attr", None))
                if name in RAISING and isinstance(node.args[0].value, str):
                    found.add(node.args[0].value)
    return found


def in_agent() -> set[str]:
    """Each err_type that the agent reports, warnings included.

    ``{error, timeout}`` is not for reports. Nor are ``refused``, ``script`` and ``constant``: what looks at a hop's
    file or a helper throws them to its caller, which makes an err_type of them.
    """
    return {name for path in AGENT for name in IN_AGENT.findall(path.read_text())} - {
        "timeout",
        "refused",
        "script",
        "too_large",
        "constant",
    }


def literals() -> set[str]:
    """Every string of the Python code but for the vocabulary itself."""
    return {
        node.value
        for path in PACKAGE.rglob("*.py")
        if path != VOCABULARY
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


# ------------------------------------------------------------------------------------------------- vocabulary


def test_every_err_type_that_is_raised_is_in_the_vocabulary() -> None:
    found = raised()
    assert {"node_unreachable", "unsafe_tarball", "sha256_mismatch", "become_failed"} <= found
    assert found <= set(ERRORS)


def test_every_err_type_of_the_agent_is_in_the_vocabulary() -> None:
    found = in_agent()
    assert {"invalid_instr", "suspended_supervisor", "post_upgrade_failed", "not_covered"} <= found
    assert found <= set(ERRORS)


def test_every_err_type_of_the_vocabulary_can_happen() -> None:
    assert set(ERRORS) - in_agent() - literals() == set()


@pytest.mark.parametrize("name", ERRORS)
def test_every_err_type_says_what_it_is_and_what_to_do(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert re.fullmatch(r"(?s)(<|\w).*\.", ERRORS[name].meaning)
    assert ERRORS[name].hint.endswith(".")
    assert ERRORS[name].meaning != ERRORS[name].hint


def test_commands_are_made_of_steps() -> None:
    others = ("rollback", "backup", "restore")
    for steps in COMMANDS.values():
        assert set(steps) <= {*STEPS, *others}
        assert list(steps) == sorted(steps, key=[*STEPS, *others].index)
    assert set(NOTHING_LEFT) <= set(ERRORS)


# ------------------------------------------------------------------------------------------------- failures, results


def test_a_failure_says_what_the_vocabulary_says_unless_told_otherwise() -> None:
    failure = Failure("disk_full")
    assert failure.to_json() == {
        "stage": None,
        "err_type": "disk_full",
        "message": ERRORS["disk_full"].meaning,
        "hint": ERRORS["disk_full"].hint,
        "detail": {},
    }
    assert str(failure) == "disk_full: " + ERRORS["disk_full"].meaning
    told = Failure("disk_full", "Full.", detail={"a": 1}, stage="stage", hint="Wait.", changed=True)
    assert list(told.to_json().values()) == ["stage", "disk_full", "Full.", "Wait.", {"a": 1}]
    assert told.changed


def test_no_failure_without_a_word_for_it() -> None:
    with pytest.raises(KeyError):
        Failure("no_such_word")


def test_a_result_is_one_line_of_json() -> None:
    result = Result()
    result.steps.append(Step("stage", "ok", 0.123456, {"bytes": 7}))
    result.error = Failure("call_failed", "Two\nlines – ünd \u2028 more.")
    result.problems.append(result.error)
    line = protocol.encode(result.to_json())
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    back = json.loads(line)
    assert back["event"] == "result"
    assert back["steps"] == [{"step": "stage", "status": "ok", "seconds": 0.1235, "detail": {"bytes": 7}}]
    assert back["error"] == back["problems"][0] == result.error.to_json()


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([], 0),
        (["upgraded", "unchanged", "skipped"], 0),
        (["upgraded", "refused"], 3),
        (["failed"], 1),
        (["refused", "failed", "upgraded"], 1),
    ],
)
def test_the_exit_status(outcomes: list[str], status: int) -> None:
    assert protocol.exit_status(outcomes) == status
    assert set(outcomes) <= set(OUTCOMES)


def test_bytes_that_are_no_text_are_told_legibly() -> None:
    """As of file names and command lines: whoever hears it takes only Unicode."""
    told = {"path": os.fsdecode(b"/tmp/\xff\xfe"), "of": [os.fsdecode(b"\x80")], "fine": "é😀"}
    said = parsed(encode(told))
    assert said == {"path": "/tmp/\\xff\\xfe", "of": ["\\x80"], "fine": "é😀"}
    assert parsed(encode({"half": "\ud800"}))
