"""What hosts say is never a command to the terminal, wherever it is shown."""

import pytest

from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.rollout.endings import Ending
from relup_remote.rollout.rows import of_result
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
