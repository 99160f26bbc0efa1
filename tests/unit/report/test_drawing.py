"""Places on the timeline, points of the chart, and words for numbers."""

from pathlib import Path

import pytest

from relup_remote.report import words
from relup_remote.report.hops import hops
from relup_remote.report.model import Sample, Stretch
from relup_remote.report.reading import report_of
from relup_remote.report.scale import BREAK, Scale
from relup_remote.report.timeline import curve, timeline
from relup_remote.summary.text import duration
from tests.unit.report import stories


def test_a_pause_takes_the_same_place_however_long_it_was() -> None:
    scale = Scale([Stretch(0, 6_000), Stretch(9_006_000, 9_010_000)])
    assert [scale.place(at) for at in (0, 3_000, 6_000)] == [0, 28.8, 57.6]
    assert [scale.place(at) for at in (9_006_000, 9_010_000)] == [57.6 + BREAK, 100]
    assert [(tick.place, tick.label) for tick in scale.breaks()] == [(57.6 + BREAK / 2, "2 h 30 min")]
    assert [tick.label for tick in scale.ticks()] == ["0", "2 s", "4 s", "6 s", "0", "2 s", "4 s"]
    assert scale.place(-5) == 0
    assert scale.place(99_000_000) == 100


def test_a_run_that_took_no_time_has_a_scale() -> None:
    scale = Scale([Stretch(5, 5)])
    assert scale.place(5) == 0
    assert [tick.label for tick in scale.ticks()] == ["0"]


def test_bars_lie_where_steps_were(tmp_path: Path) -> None:
    report = report_of(stories.stopped(tmp_path / "runs"))
    drawn = timeline(report)
    assert [lane.host.host for lane in drawn.lanes] == list(stories.SIX)
    for lane in drawn.lanes:
        assert [bar.title.split()[0] for bar in lane.bars] == [step.step for step in lane.host.steps]
        assert all(bar.place + bar.width <= 100.01 for bar in lane.bars)
        # A step may begin a moment before the one that it follows is told of.
        assert [bar.place for bar in lane.bars] == sorted(bar.place for bar in lane.bars)
    assert [bar.status for bar in drawn.lanes[2].bars] == ["ok"] * 5 + ["bad"]
    assert drawn.lanes[2].title.startswith("n1, failed: stage ok, 0.6 s; ")
    assert [bar.status for bar in drawn.gates] == ["ok", "bad", "ok", "ok", "ok", "ok"]
    assert [wave.title for wave in drawn.waves] == ["1", "1", "2"]
    assert len(drawn.breaks) == 1


def test_what_has_no_end_is_drawn_to_the_last_event(tmp_path: Path) -> None:
    last = timeline(report_of(stories.killed(tmp_path / "runs"))).lanes[1].bars[-1]
    assert (last.status, last.title) == ("open", "apply unfinished")
    assert last.place + last.width == pytest.approx(100)


def test_a_count_holds_until_the_next(tmp_path: Path) -> None:
    report = report_of(stories.blank(tmp_path / "runs"))
    drawn = curve(report, [Sample(report.started_at, 50), Sample(report.started_at, 100)])
    assert drawn is not None
    assert (drawn.points, drawn.top) == ("0,55 0,55 0,10 100,10", 100)
    assert drawn.title == "first 50, lowest 50, last 100 connections"
    assert curve(report, []) is None


def test_a_hop_is_told_once_for_all_hosts_with_the_longest_times(tmp_path: Path) -> None:
    report = report_of(stories.stopped(tmp_path / "runs"))
    (hop,) = hops(report)
    assert [host.host for host in hop.hosts] == ["n5", "n6", "n1"]
    entries = [host.hop.instructions[2] for host in hop.hosts if host.hop]
    line = hop.lines[2]
    assert line.window_ms == max(each.window_ms or 0 for each in entries)
    assert line.seconds == max(each.seconds or 0 for each in entries)
    assert (line.status, line.is_bad) == ("done on 2 hosts, failed on n1", True)
    assert [each.status for each in hop.lines] == [
        "done",
        "done",
        line.status,
        *["done on 2 hosts, planned on 1 host"] * 2,
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.025, "25 ms"),
        (99.9, "99.9 s"),
        (100, "1 min 40 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (8000, "2 h 13 min"),
    ],
)
def test_durations(value: float | None, shown: str) -> None:
    assert duration(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.306, "0.31 ms"), (12.44, "12.4 ms"), (2336.4, "2336 ms")])
def test_milliseconds(value: float | None, shown: str) -> None:
    assert words.milliseconds(value) == shown


def test_numbers_and_texts() -> None:
    assert (words.count(281304), words.count(None), words.plural(1, "host"), words.plural(0, "host")) == (
        "281,304",
        "–",
        "1 host",
        "0 hosts",
    )
    assert words.shown("a\x07b\u202ec\n") == "a?b?c\n"
    assert words.shown("x" * 10_005) == "x" * 10_000 + "… (5 more characters)"
