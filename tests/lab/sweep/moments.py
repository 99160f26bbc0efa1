"""Choosing when the machine loses power: pure, so that one seed gives the same moments for the same run."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tests.lab.sweep.trace import Event

MARKER = "relup/current"
WATCHED = (f"{MARKER}.tmp", MARKER, "data/relup_remote/outcome.tmp", "data/relup_remote/outcome")
"""Files that the VM writes by itself, below the node's root."""

TIMED, WATCHING = 0.25, 0.15
"""Of the moments of a command with a hop, how many come some time after the hop's begin, and how many with a file."""

LATE = 0.3
"""Of the moments inside of a step, how many come after an event and before the next one."""


@dataclass(frozen=True)
class Moment:
    """Just before an event of the core, or ``delay`` seconds after it, or after the ``watch``ed file's appearing.

    ``first`` says who dies first, the ``core`` or the ``vm``.
    """

    phase: str
    index: int
    label: str
    first: str
    delay: float = 0.0
    watch: str | None = None

    def __str__(self) -> str:
        after = f" + {self.delay * 1000:.1f} ms" if self.delay else ""
        seen = f", {self.watch} seen" if self.watch else ""
        return f"{self.phase} #{self.index} ({self.label}){seen}{after}, {self.first} first"


def choose(run: Sequence[Event], count: int, chance: random.Random) -> list[Moment]:
    """``count`` moments of a run that was traced to its end: every boundary of steps, the rest inside of them."""
    boundaries = [event for event in run if event.is_boundary]
    inside = max(0, count - len(boundaries))
    hop = [event for event in run if event.phase == "apply"]
    timed, watching = (round(inside * share) if hop else 0 for share in (TIMED, WATCHING))
    chosen = chance.sample(boundaries, min(count, len(boundaries)))
    moments = [_at(event, chance) for event in sorted(chosen, key=lambda event: event.at)]
    moments += [_late(event, chance) for event in spread(run, inside - timed - watching, chance)]
    if hop:
        length = 1.2 * (hop[-1].at - hop[0].at)
        moments += [_at(hop[0], chance, delay=length * (n + chance.random()) / timed) for n in range(timed)]
        moments += [_at(hop[0], chance, delay=_brief(chance), watch=WATCHED[n % len(WATCHED)]) for n in range(watching)]
    return moments


def spread(run: Sequence[Event], count: int, chance: random.Random) -> Iterator[Event]:
    """``count`` events inside of steps: as many of each phase as of any other, as far as it has them."""
    phases = [list(events) for _, events in groupby(run, key=lambda event: event.phase)]
    inner = [found for events in phases if (found := [event for event in events if not event.is_boundary])]
    shares = [0] * len(inner)
    for n in range(count):
        open_ = [at for at, events in enumerate(inner) if shares[at] < len(events)] or range(len(inner))
        shares[min(open_, key=lambda at: (shares[at], (at + n) % len(inner)))] += 1
    for share, events in zip(shares, inner, strict=True):
        for n in range(share):
            yield events[min(len(events) - 1, int(len(events) * (n + chance.random()) / share))]


def _at(event: Event, chance: random.Random, delay: float = 0.0, watch: str | None = None) -> Moment:
    return Moment(event.phase, event.index, event.label, chance.choice(("core", "vm")), delay, watch)


def _late(event: Event, chance: random.Random) -> Moment:
    return _at(event, chance, delay=_brief(chance) if chance.random() < LATE else 0.0)


def _brief(chance: random.Random) -> float:
    return chance.uniform(0, 0.0015)
