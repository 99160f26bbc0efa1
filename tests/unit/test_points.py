"""Which points a run of the tests tries, and that nothing of a run stays behind."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import guard
from tests.points import Points, Tally, as_property, from_properties, seed_of_commit

CASES = [(kind, number) for kind in "abc" for number in range(10)]


def kind(case: tuple[str, int]) -> str:
    return case[0]


def slow_clock(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Have every look at the clock come `step` seconds later."""
    ticks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(ticks) * step)


def test_all_are_taken_in_their_order() -> None:
    points = Points(1, None)
    assert list(points.taken(CASES, kind)) == CASES
    assert (points.tally.of, points.tally.done) == (30, 30)


def test_one_of_each_kind_is_taken_when_there_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_clock(monkeypatch, 100)
    points = Points(1, 1.0)
    assert sorted(map(kind, points.taken(CASES, kind))) == ["a", "b", "c"]
    assert (points.tally.of, points.tally.done) == (30, 3)


def test_no_point_is_begun_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_clock(monkeypatch, 1)
    assert 3 < len(list(Points(1, 5.0).taken(CASES, kind))) < 12


def test_no_point_at_all_is_begun_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    slow_clock(monkeypatch, 1)
    assert 3 < len(list(Points(1, None, until=8.0).taken(CASES, kind))) < 12
    assert list(Points(1, 1000.0, until=8.0).taken(CASES, kind)) == []


def test_seeds_differ_in_what_they_take_first() -> None:
    first = [tuple(Points(seed, 60.0).ordered(CASES, kind)) for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]
    assert sorted(first[2]) == CASES


def test_tallies_pass_through_a_report() -> None:
    tally = Tally("sweep", 30, 3, 2, 1.5)
    [found] = from_properties([("other", 1), as_property(tally)])
    found.add(tally)
    assert found == Tally("sweep", 60, 6, 4, 3.0)


def test_seed_changes_with_the_commit(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    assert seed_of_commit(tmp_path) == 0
    git("init")
    seeds = set()
    for message in ("one", "two"):
        git("commit", "--allow-empty", "-m", message)
        seeds.add(seed_of_commit(tmp_path))
    assert len(seeds - {0}) == 2


def test_guard_ends_what_is_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    mark, folder = "RELUP_GUARD_TEST=1", f"{tmp_path}/"
    # As a node of a lab: of another session, and known only by where it lives.
    sleep, server = ["sleep", "1000"], tmp_path / "sshd"
    server.symlink_to(shutil.which("sleep") or "")
    mine = [
        subprocess.Popen(sleep, env={**os.environ, "RELUP_GUARD_TEST": "1"}, start_new_session=True),
        subprocess.Popen(sleep, env={"HOME": f"{tmp_path}/home"}, start_new_session=True),
        subprocess.Popen([str(server), "1000"], start_new_session=True),
    ]
    others = [
        subprocess.Popen(sleep, env={**os.environ, "HOME": f"{tmp_path}0/home"}),
        subprocess.Popen(["tail", "-f", f"{tmp_path}/log"], stderr=subprocess.DEVNULL),
    ]
    try:
        watching = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, mark, folder], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert all(process.poll() is None for process in mine)
        _, said = watching.communicate(timeout=300)
        assert [process.wait(120) for process in mine] == [-9, -9, -9]
        assert watching.returncode == 3, said
        assert said.count(b"left behind by the tests") == 3
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in (*mine, *others):
            process.kill()
            process.wait()
