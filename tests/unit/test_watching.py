"""`--watch`: when it ends, with what, and what is told meanwhile."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from relup_remote.commands import by_name, invocation
from relup_remote.core.protocol import Failure
from relup_remote.rollout import rows
from relup_remote.rollout.rows import Row
from relup_remote.watching import INTERVAL, Patience, Watched, until_stable
from tests.unit.fake_host import Fleet, result
from tests.unit.program import PROJECT, RELUP, run


def good(host: str) -> Row:
    return rows.of_result(host, result("verified"), 0.1)


def bad(host: str, message: str = "marker: none, not 1.1.") -> Row:
    return rows.of_failure(host, Failure("verify_failed", message, stage="verify"))


class Watch:
    """Looks that are made up, at a clock that moves as they wait. The last look goes on for ever."""

    def __init__(self, *looks: list[Row], patience: Patience, interrupted_at: float = 1e9, takes: float = 0) -> None:
        self.now = 0.0
        self.told: list[tuple[float, str]] = []
        self._looks = list(looks)
        self._interrupted_at = interrupted_at
        self._takes = takes
        self.seen: Watched = until_stable(self._look, self._wait, self._tell, patience, lambda: self.now)

    def _look(self) -> list[Row]:
        self.now += self._takes
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]

    def _wait(self, seconds: float) -> bool:
        assert 0 < seconds <= INTERVAL
        self.now = min(self.now + seconds, self._interrupted_at)
        return self.now >= self._interrupted_at

    def _tell(self, line: str) -> None:
        self.told.append((self.now, line))


def test_it_ends_once_all_have_been_good_long_enough() -> None:
    watch = Watch([good("n1"), good("n2")], patience=Patience(5, 60))
    assert (watch.seen.stable, watch.now, watch.seen.looks) == (True, 5.0, 4)
    assert watch.told == [(0.0, "n1, n2 verified")]


def test_what_is_good_must_be_so_in_a_row_and_changes_are_told() -> None:
    failed = "n2 failed, verify_failed: marker: none, not 1.1."
    watch = Watch(
        [good("n1"), good("n2")],
        [good("n1"), bad("n2")],
        [good("n1"), bad("n2")],
        [good("n1"), good("n2")],
        patience=Patience(3, 60),
    )
    assert (watch.seen.stable, watch.now) == (True, 9.0)
    assert watch.told == [(0.0, "n1, n2 verified"), (2.0, failed), (6.0, "n2 verified")]


def test_it_ends_in_time_with_the_last_look() -> None:
    watch = Watch([bad("n1")], [good("n1")], patience=Patience(10, 7))
    assert (watch.seen.stable, watch.now, watch.seen.looks) == (False, 7.0, 5)
    assert rows.exit_status(watch.seen.rows) == 0
    slow = Watch([bad("n1")], patience=Patience(10, 7), takes=30)
    assert (slow.seen.looks, rows.exit_status(slow.seen.rows)) == (1, 1)


def test_one_good_look_is_enough_where_nothing_more_is_asked() -> None:
    watch = Watch([bad("n1")], [good("n1")], patience=Patience(0, 60))
    assert (watch.seen.stable, watch.seen.looks) == (True, 2)


def test_an_interruption_ends_it_with_the_last_look() -> None:
    watch = Watch([bad("n1")], patience=Patience(10, 60), interrupted_at=4.0)
    assert (watch.seen.stable, watch.now, watch.seen.looks) == (False, 4.0, 2)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A verification, over time, of hosts that can't be reached."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("hosts: {n1: {address: 127.0.0.1, port: 1}, n2: {address: 127.0.0.1, port: 1}}")
    return [sys.executable, "-m", RELUP, "verify", "--inventory", str(inventory)]


def started(command: list[str], *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*command, *words], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_ends_the_command_with_its_table(command: list[str]) -> None:
    watching = started(command, "--watch", "--timeout", "10m")
    assert watching.stderr is not None
    assert "n1, n2 failed, host_unreachable" in watching.stderr.readline()
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=300)
    assert watching.returncode == 1
    assert "n1, n2: host_unreachable at connect" in out
    assert "interrupted (checked once in " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stable", "5s"), "--stable needs --watch"),
        (("--timeout", "5s"), "--timeout needs --watch"),
        (("--watch", "--stable", "soon"), "--stable must be a time such as 90s, 10m or 24h, not 'soon'"),
    ],
)
def test_wrong_use(command: list[str], words: tuple[str, ...], said: str) -> None:
    ended = run(*command[2:], *words)
    assert (ended.stdout, said in ended.stderr) == ("", True)


def test_with_json_the_document_says_how_it_ended(command: list[str]) -> None:

    ended = run(*command[2:], "--watch", "--timeout", "1s", "--json", "--quiet")
    document: dict[str, Any] = json.loads(ended.stdout)
    assert ended.stderr == ""
    assert (document["ok"], document["watch"]["stable"]) == (False, False)
    assert document["watch"]["looks"] > 0


def test_hosts_that_were_not_good_for_long_enough_are_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("hosts: {n1: {}}")
    fleet = Fleet({("n1", "verify"): result("verified")})
    monkeypatch.setattr(invocation, "_connect", fleet.connect)
    options = {"inventory": str(inventory), "watch": True, "stable": "1h", "timeout": "0s"}
    with pytest.raises(Exit) as caught:
        by_name()["verify"](Context(), **options, json=True)
    out, err = capsys.readouterr()
    assert (caught.value.code, json.loads(out)["ok"]) == (1, False)
    assert "not stable within 0 ms (checked once in " in err
    with pytest.raises(Exit):
        by_name()["verify"](Context(), **options)
    assert "not stable within" in capsys.readouterr().out
    by_name()["verify"](Context(), **{**options, "stable": "0s"})
