"""What is told of a run where there is no terminal to draw on, and where there is one."""

import io
import os
import pty
from pathlib import Path

import pytest

from relup_remote.summary.live import LiveTable
from relup_remote.summary.progress import Lines
from relup_remote.summary.screen import Silent, listener
from relup_remote.summary.text import LONGEST
from tests.lab.terminal import written
from tests.unit.feeds import Story


def test_no_line_in_a_file_is_longer_than_can_be_read() -> None:
    out = io.StringIO()
    why = "; ".join(f"n{number}: does not see emqx@10.0.0.4" for number in range(20))
    Story(Lines(out)).tell("gate", gate="cluster", wave=1, status="closed", seconds=60.0, message=why)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= LONGEST
    assert " ".join(line.strip() for line in lines) == f"gate cluster closed 60.0 s: {why}"


def test_a_run_in_lines() -> None:
    out = io.StringIO()
    story = Story(Lines(out))
    hosts = [f"n{number}" for number in range(1, 10)]
    story.begin(hosts)
    story.tell("wave", wave=1, waves=2, status="start", hosts=["n1"])
    story.host("n1", "apply", "upgraded", milliseconds=4200)
    for status in ("start", "wait", "open"):
        story.tell("gate", wave=1, gate="verify", status=status, seconds=0.3)
    story.tell("wave", wave=1, waves=2, status="done", hosts=["n1"])
    story.tell("interrupt", count=1)
    story.tell("interrupt", count=2)
    story.host("n2", "apply", "failed", error={"err_type": "code_change_failed"})
    story.tell("gate", wave=2, gate="command", status="closed", seconds=2, message="it ended with 1")
    story.tell("run", status="resume", run="r1", command="upgrade", operator="alice@desk", target=None)
    story.tell("note", message="of no host")
    story.tell("end", outcome="stopped", reason="told in the summary", next="")
    assert out.getvalue().splitlines() == [
        "run r1: upgrade to 1.1",
        "survey: 9 hosts",
        "prepare: 9 hosts",
        "wave 1 of 2: n1",
        "n1 upgraded 4.2 s",
        "gate verify open 0.3 s",
        "wave 1 of 2 done",
        "interrupted: hosts in hand are finished, no more start; Ctrl-C again: leave now",
        "interrupted again: leaving now; what has started on hosts may go on there",
        "n2 failed, code_change_failed 1.0 s",
        "gate command closed 2.0 s: it ended with 1",
        "run r1 resumed: upgrade",
        "of no host",
    ]


def test_a_gate_that_waits_says_so_when_it_has_something_new_and_now_and_then() -> None:
    out = io.StringIO()
    story = Story(Lines(out))
    story.tell("gate", wave=1, gate="connections", status="start")
    for second in range(40):
        message = "n1 has 80 of 100" if second < 10 else "n1 has 85 of 100"
        story.tell("gate", wave=1, gate="connections", status="wait", seconds=second, message=message)
        story.later(1000)
    assert out.getvalue().splitlines() == [
        "gate connections waits: n1 has 80 of 100",
        "gate connections waits: n1 has 85 of 100",
        "gate connections waits: n1 has 85 of 100",
    ]


@pytest.mark.parametrize(("term", "kind"), [("xterm-256color", LiveTable), ("dumb", Lines), ("", Lines)])
def test_a_terminal_that_can_move_its_cursor_gets_a_table(
    monkeypatch: pytest.MonkeyPatch, term: str, kind: type
) -> None:
    monkeypatch.setenv("TERM", term)
    operator, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as out:
        with listener(out) as shown:
            assert type(shown) is kind
        with listener(out, live=False) as shown:
            assert type(shown) is Lines
        with listener(out, quiet=True) as shown:
            assert type(shown) is Silent
    os.close(operator)


def test_what_is_no_terminal_gets_lines(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as out:
        with listener(out) as shown:
            shown({"event": "note", "at": 0, "host": "n1", "message": "restarts"})
            shown.pause()
        out.seek(0)
        assert out.read() == "n1 restarts\n"


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    for unwanted in (False, True):
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("NO_COLOR", "1") if unwanted else monkeypatch.delenv("NO_COLOR", raising=False)
        operator, terminal = pty.openpty()
        with os.fdopen(terminal, "w") as out, listener(out) as shown:
            shown({"event": "interrupt", "at": 0, "count": 1})
            shown({"event": "interrupt", "at": 0, "count": 1})
        seen[unwanted] = b"".join(written(operator))
        os.close(operator)
    assert all(b"interrupted" in said for said in seen.values())
    assert [b"\x1b[33m" in seen[unwanted] for unwanted in (False, True)] == [True, False]
