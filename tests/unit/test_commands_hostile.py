"""What hosts say is never a command to the terminal, wherever it is shown."""

import os

import pytest

from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.rollout.endings import Ending
from relup_remote.rollout.rows import of_result
from relup_remote.usage import Declined
from tests.unit.fake_host import result

HOSTILE = "n1: \x1b]0;owned\x07\x1b[2J\u202e"
SHOWN = "n1: ?]0;owned??[2J?"


@pytest.fixture
def call() -> Invocation:
    return Invocation("upgrade", None, "", json=False, quiet=False)


def test_in_the_reason_for_which_a_run_ended(call: Invocation, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [of_result("n1", result("upgraded"), 1.0)]
    call.show_run(rows, Ending("stopped", "gate_closed", HOSTILE), f"run r: stopped, gate_closed: {HOSTILE}")
    assert f"gate_closed: {SHOWN}\n" in capsys.readouterr().out


def test_in_what_is_said_beside_the_tables(call: Invocation, capsys: pytest.CaptureFixture[str]) -> None:
    call.note(HOSTILE)
    call.warn(HOSTILE)
    assert capsys.readouterr().err == f"{SHOWN}\n" * 2


def test_in_what_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    confirm(f"first\n{HOSTILE}", "do it?", yes=True, quiet=False)
    assert capsys.readouterr().err == f"first\n{SHOWN}\n"


def test_an_answer_that_is_no_text_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = os.openpty()
    os.write(master, b"y\xe9s\n")
    with os.fdopen(terminal, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(Declined):
            confirm("", "do it?", yes=False, quiet=False)
    os.close(master)
