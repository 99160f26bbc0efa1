"""What is drawn of a run's course: a lane a host with its steps as bars, over the waves, with the gates above.

All places and widths are percents of a lane. The template draws them; nothing of it is only in the drawing, for the
same is said by the tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relup_remote.core.protocol import STEPS
from relup_remote.report.model import UNFINISHED, UNKNOWN, Gate, Host, Report, Sample, Step
from relup_remote.report.on_hosts import GATE
from relup_remote.report.scale import Scale, Tick
from relup_remote.report.words import count, ended
from relup_remote.summary.text import duration

KINDS = (*STEPS, "rollback")
"""The steps that have a colour of their own."""


@dataclass(frozen=True)
class Bar:
    """Something that took time. ``kind`` decides its colour, ``status`` its pattern, ``title`` says it in words."""

    place: float
    width: float
    kind: str
    status: str
    title: str


@dataclass(frozen=True)
class Lane:
    """A host's bars, and behind them its ``turns``: what shows of those between steps is connecting and waiting."""

    host: Host
    bars: tuple[Bar, ...]
    turns: tuple[Bar, ...]

    @property
    def title(self) -> str:
        """All of it in words."""
        return f"{self.host.host}, {ended(self.host)}: " + ("; ".join(bar.title for bar in self.bars) or "nothing done")


@dataclass(frozen=True)
class Timeline:
    """The drawing. ``waves`` are stretches of the line, ``gates`` the bars above the lanes."""

    ticks: tuple[Tick, ...]
    breaks: tuple[Tick, ...]
    waves: tuple[Bar, ...]
    gates: tuple[Bar, ...]
    lanes: tuple[Lane, ...]
    kinds: tuple[str, ...]


def timeline(report: Report) -> Timeline:
    """The drawing of a run."""
    scale = Scale(report.sittings)
    lanes = tuple(
        Lane(host, tuple(_bars(scale, report, host)), tuple(_turns(scale, report, host))) for host in report.hosts
    )
    used = {bar.kind for lane in lanes for bar in lane.bars}
    return Timeline(
        ticks=tuple(scale.ticks()),
        breaks=tuple(scale.breaks()),
        waves=tuple(_waves(scale, report)),
        gates=tuple(_gate(scale, report, gate) for wave in report.waves for gate in wave.gates),
        lanes=lanes,
        kinds=tuple(kind for kind in (*KINDS, "other") if kind in used),
    )


def _bars(scale: Scale, report: Report, host: Host) -> Iterator[Bar]:
    """What gates looked at is theirs."""
    return (_bar(scale, report, step) for step in host.steps if step.phase != GATE)


def _turns(scale: Scale, report: Report, host: Host) -> Iterator[Bar]:
    for turn in host.turns:
        place, width = _span(scale, report, turn.started_at, turn.seconds)
        status = "open" if turn.seconds is None else "ok"
        yield Bar(place, width, "turn", status, f"{turn.phase} {duration(turn.seconds)}, with connecting and waiting")


def _bar(scale: Scale, report: Report, step: Step) -> Bar:
    place, width = _span(scale, report, step.started_at, step.seconds)
    kind = step.step if step.step in KINDS else "other"
    words = step.status if step.seconds is None else f"{step.status}, {duration(step.seconds)}"
    status = "bad" if step.status == "failed" else "open" if step.status in (UNFINISHED, UNKNOWN) else "ok"
    return Bar(place, width, kind, status, f"{step.step} {words}")


def _gate(scale: Scale, report: Report, gate: Gate) -> Bar:
    place, width = _span(scale, report, gate.started_at, gate.seconds)
    status = {"open": "ok", UNFINISHED: "open"}.get(gate.status, "bad")
    title = f"wave {gate.wave}, gate {gate.gate}: {gate.status}, {duration(gate.seconds)}, {gate.message}"
    return Bar(place, width, "gate", status, title)


def _waves(scale: Scale, report: Report) -> Iterator[Bar]:
    for wave in report.waves:
        for stretch in wave.stretches:
            place, width = _span(scale, report, stretch.started_at, stretch.seconds)
            yield Bar(place, width, "odd" if wave.wave % 2 else "even", wave.status, str(wave.wave))


def _span(scale: Scale, report: Report, started_at: int, seconds: float | None) -> tuple[float, float]:
    """Place and width; what has no end lasts as long as the sitting in which it began."""
    ends = [sitting.ended_at for sitting in report.sittings if sitting.ended_at >= started_at]
    end = min(ends, default=started_at) if seconds is None else started_at + round(seconds * 1000)
    place = scale.place(started_at)
    return place, round(max(scale.place(end) - place, 0), 3)


@dataclass(frozen=True)
class Curve:
    """Connections over time: the points of a line in a square of 100 by 100, from 0 at the bottom to ``top``.

    The line begins at the first count, and ``area`` is what lies below it.
    """

    points: str
    top: int
    title: str

    @property
    def area(self) -> str:
        """The corners of the area below the line."""
        first, last = (point.partition(",")[0] for point in (self.points.split()[0], self.points.split()[-1]))
        return f"{first},100 {self.points} {last},100"


def curve(report: Report, samples: Sequence[Sample]) -> Curve | None:
    """The line through ``samples``; each holds until the next. None where there are none."""
    if not samples:
        return None
    scale = Scale(report.sittings)
    counts = [sample.count for sample in samples]
    top = max(counts)
    points: list[tuple[float, float]] = []
    for sample in samples:
        height = round(100 - 90 * sample.count / max(top, 1), 2)
        points += [(scale.place(sample.at), points[-1][1])] if points else []
        points.append((scale.place(sample.at), height))
    points.append((100.0, points[-1][1]))
    title = f"first {count(counts[0])}, lowest {count(min(counts))}, last {count(counts[-1])} connections"
    return Curve(" ".join(f"{x:g},{y:g}" for x, y in points), top, title)
