"""Moments of a run as places on a line from 0 to 100 percent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relup_remote.report.model import Stretch
from relup_remote.summary.text import duration

BREAK = 4.0
"""Percent that a time takes in which nobody worked on the run, however long it was."""

MOST_TICKS = 6
_NICE = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True)
class Tick:
    """A place, and what is written there."""

    place: float
    label: str


class Scale:
    """The line for a run that was worked on in these ``sittings``."""

    def __init__(self, sittings: Sequence[Stretch]) -> None:
        self._sittings = sittings
        self._worked = max(sum(each.ended_at - each.started_at for each in sittings), 1)
        self._percent = (100 - BREAK * (len(sittings) - 1)) / self._worked

    def place(self, at: int) -> float:
        """Where a moment is."""
        before = 0
        for number, sitting in enumerate(self._sittings):
            if at <= sitting.ended_at or number == len(self._sittings) - 1:
                inside = min(max(at - sitting.started_at, 0), sitting.ended_at - sitting.started_at)
                return round((before + inside) * self._percent + BREAK * number, 3)
            before += sitting.ended_at - sitting.started_at
        raise AssertionError("a run has a sitting")

    def ticks(self) -> Iterator[Tick]:
        """Marks at times since the run, or what is left of it, was taken up."""
        step = 1000 * next((nice for nice in _NICE if self._worked / 1000 / nice <= MOST_TICKS), _NICE[-1])
        for sitting in self._sittings:
            for tick in range(int((sitting.ended_at - sitting.started_at) // step) + 1):
                at = sitting.started_at + round(tick * step)
                yield Tick(self.place(at), _label(tick * step / 1000))

    def breaks(self) -> Iterator[Tick]:
        """The middles of the times in which nobody worked on the run, and how long they were."""
        for before, after in zip(self._sittings, self._sittings[1:], strict=False):
            middle = (self.place(before.ended_at) + self.place(after.started_at)) / 2
            yield Tick(round(middle, 3), duration((after.started_at - before.ended_at) / 1000))


def _label(value: float) -> str:
    """The words for a round number of seconds."""
    return f"{value:g} s" if 0 < value < 120 else duration(value) if value else "0"
