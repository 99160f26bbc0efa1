"""What the page says of pauses, gates, connections and options, and with which colours."""

import itertools
import re
from importlib.resources import files
from pathlib import Path

import pytest

from relup_remote.report import words
from relup_remote.report.on_waves import PAUSE_MS
from relup_remote.report.reading import report_of
from relup_remote.report.timeline import KINDS, curve, timeline
from relup_remote.rollout.plan import Gates
from tests.unit.report.stories import SIX, Story, smooth, stopped

VISIONS = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""How people see linear RGB who lack a kind of cones (Machado, Oliveira and Fernandes, 2009, severity 1)."""

APART = 15
"""Distance in CIE Lab from which on colours side by side are told apart at a glance."""


def seen(colour: str, vision: str) -> tuple[float, float, float]:
    """A colour in CIE Lab, as people see it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    r, g, b = (min(max(sum(f * v for f, v in zip(row, linear, strict=True)), 0), 1) for row in VISIONS[vision])
    xyz = (
        (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047,
        0.2126729 * r + 0.7151522 * g + 0.0721750 * b,
        (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883,
    )
    x, y, z = (each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("vision", VISIONS)
def test_the_colours_of_steps_can_be_told_apart(vision: str) -> None:
    style = files("relup_remote.report.templates").joinpath("style.css").read_text()
    for palette in style.split(":root {")[1:]:
        colours = {kind: re.findall(rf"--{kind}: (#[0-9a-f]{{6}});", palette)[0] for kind in (*KINDS, "failed")}
        for one, other in itertools.combinations(colours, 2):
            distance = sum(
                (a - b) ** 2 for a, b in zip(seen(colours[one], vision), seen(colours[other], vision), strict=True)
            )
            assert distance**0.5 > APART, f"{one} and {other}"


def test_the_operator_was_waited_for_and_nothing_else_is_a_pause(tmp_path: Path) -> None:
    quick = Story(tmp_path / "quick", SIX)
    quick.begins(asked_ms=900)
    quick.wave(1)
    quick.ends()
    report = report_of(quick.record())
    # It is not worth a gap in the drawing, and it is no time of the run either.
    assert len(report.sittings) == 1
    assert report.seconds == (report.ended_at - report.started_at - 900) / 1000
    slow = Story(tmp_path / "slow", SIX)
    slow.begins(asked_ms=2 * PAUSE_MS)
    slow.wave(1)
    slow.ends()
    report = report_of(slow.record())
    assert [sitting.started_at for sitting in report.sittings] == [report.started_at, report.sittings[1].started_at]
    assert report.seconds == (report.ended_at - report.started_at - 2 * PAUSE_MS) / 1000
    assert [gap.label for gap in timeline(report).breaks] == ["60.0 s"]


def test_the_survey_of_a_controller_belongs_to_its_sitting(tmp_path: Path) -> None:
    report = report_of(stopped(tmp_path / "runs"))
    assert len(report.sittings) == 2
    assert len(report.resumptions) == 1
    assert report.sittings[1].started_at == report.resumptions[0].at


def test_a_gate_that_closed_is_counted_as_closed(tmp_path: Path) -> None:
    report = report_of(stopped(tmp_path / "runs"))
    passed, tried, closed = words.gates_passed(report)
    tries = [gate.status for wave in report.waves for gate in wave.gates]
    assert (closed, tries.count("closed")) == (1, 1)
    assert passed <= tried < len(tries)


def test_the_line_of_connections_begins_at_the_first_count(tmp_path: Path) -> None:
    report = report_of(smooth(tmp_path / "runs"))
    drawn = curve(report, report.connections)
    assert drawn is not None
    first = drawn.points.split()[0]
    assert float(first.partition(",")[0]) > 0
    assert drawn.area.split()[:2] == [f"{first.partition(',')[0]},100", first]


def test_between_steps_a_lane_says_what_a_host_waits_for(tmp_path: Path) -> None:
    for lane in timeline(report_of(smooth(tmp_path / "runs"))).lanes:
        assert lane.turns
        assert all("with connecting and waiting" in turn.title for turn in lane.turns)
        spans = [(turn.place - 0.01, turn.place + turn.width + 0.01) for turn in lane.turns]
        assert all(any(start <= bar.place <= end for start, end in spans) for bar in lane.bars)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("backup_age", 86_400, "24 h"),
        ("backup_age", 0, "none"),
        ("hop_timeout", 900, "15 min"),
        ("force", True, "yes"),
        ("on_failure", "stop", "stop"),
        ("keep", 3, "3"),
        ("another", 7, "7"),
    ],
)
def test_options_have_units(name: str, value: object, shown: str) -> None:
    assert words.option(name, value) == shown


def test_so_have_gates(tmp_path: Path) -> None:
    gates = Gates(soak=600)
    told = dict(words.gates_told(report_of(Story(tmp_path / "runs", SIX, gates=gates).record())))
    assert (told["soak"], told["timeout"], told["connections"]) == ("10 min", "60.0 s", "at least 90 %")


def test_commands_in_a_hint_are_code_and_nothing_else_is_markup() -> None:
    assert str(words.code_in("See `inv status`, <b>.")) == "See <code>inv status</code>, &lt;b&gt;."
    assert str(words.code_in("`<b>` ` x")) == "`&lt;b&gt;` ` x"
