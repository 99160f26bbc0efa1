"""Moments of a rollout at which its controller may die: events that every run tells, told apart. Pure."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from relup_remote.rollout.feed import Event

TOLD_BY_ALL = ("run", "phase", "wave", "host", "gate", "hello", "step", "connections")
FACTS = ("event", "phase", "wave", "gate", "step", "host", "status")


@dataclass(frozen=True)
class Moment:
    """The ``nth`` event with the same facts, from 1; ``phase`` is the one of the run that it lies in."""

    facts: tuple[object, ...]
    nth: int
    phase: str

    def __str__(self) -> str:
        return f"{self.phase}: {' '.join(str(fact) for fact in self.facts if fact is not None)}, no. {self.nth}"


class Watch:
    """Tells moments as events come in."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[object, ...]] = Counter()
        self._phase: str | None = None

    def see(self, event: Event) -> Moment | None:
        """The moment that an event is, or None: it is before the run begins, or no two runs tell it alike."""
        kind = event["event"]
        if kind == "phase":
            self._phase = event["phase"]
        elif kind == "run":
            self._phase = kind
        if self._phase in (None, "survey") or kind not in TOLD_BY_ALL or event.get("status") == "wait":
            return None
        facts = tuple(event.get(name) for name in FACTS)
        self._seen[facts] += 1
        return Moment(facts, self._seen[facts], str(self._phase))


def moments(events: Iterable[Event]) -> list[Moment]:
    """The moments of a whole run."""
    watch = Watch()
    return [moment for event in events if (moment := watch.see(event)) is not None]


def spread(found: Sequence[Moment], count: int, chance: random.Random) -> list[Moment]:
    """``count`` of the moments, one from each of as many equal parts."""
    bounds = [len(found) * part // count for part in range(count + 1)]
    return [found[chance.randrange(first, after)] for first, after in pairwise(bounds)]
