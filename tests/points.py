"""Points: cases of which there are too many for every run of the tests, so that most runs try a part of them.

A test takes its points from the fixture `points`. ``make test`` tries some of each kind, for so many seconds;
``make test-all`` tries all. Which ones come first follows from a seed, which changes with the commit and is printed.
"""

import random
import subprocess
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

T = TypeVar("T")

ALL = "all"
SLICE = 6.0
"""Seconds that a test goes on beginning new points, unless told otherwise."""

EXAMPLES, FEW_EXAMPLES = 100, 20
"""What Hypothesis tries of everything where all points are tried, and elsewhere."""

PROPERTY = "points"
"""The name under which a report carries a tally."""


def seed_of_commit(folder: Path) -> int:
    """A number that changes with the commit of a checkout; 0 where there is none."""
    asked = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return 0
    return int(done.stdout[:8], 16) if done.returncode == 0 else 0


def is_slice(config: pytest.Config) -> bool:
    """Whether this run of the tests has no more time for points than usual."""
    given = config.option.points
    return given != ALL and float(given) <= SLICE


def examples(usual: int) -> int:
    """How many examples Hypothesis tries where ``usual`` are tried with all points."""
    return max(10, usual * hypothesis.settings().max_examples // EXAMPLES)


@dataclass
class Tally:
    """What became of the points of a test: how many there are, were begun and came out right, and the seconds spent.

    A ``note`` is printed below the table.
    """

    name: str
    of: int = 0
    done: int = 0
    good: int = 0
    seconds: float = 0.0
    note: str = ""

    def add(self, other: "Tally") -> None:
        """Count another test's points as well."""
        self.of += other.of
        self.done += other.done
        self.good += other.good
        self.seconds += other.seconds
        self.note = "\n".join(filter(None, (self.note, other.note)))


@dataclass
class Points:
    """The points of one test.

    ``seconds``: how long new points are begun, None for all of them. ``until``: when no point at all is begun any more,
    by the monotonic clock.
    """

    seed: int
    seconds: float | None
    until: float | None = None
    tally: Tally = field(default_factory=lambda: Tally(""))

    @property
    def all(self) -> bool:
        """Whether every point is tried."""
        return self.seconds is None

    def named(self, name: str) -> "Points":
        """Set the name under which the points are counted."""
        self.tally.name = name
        return self

    def chance(self, purpose: object = "") -> random.Random:
        """Random numbers that follow from the seed, others for each purpose."""
        return random.Random(f"{self.seed} {self.tally.name} {purpose}")

    def ordered(self, found: Sequence[T], kind: Callable[[T], Hashable]) -> list[T]:
        """All of the points in an order that follows from the seed, with one of each kind first."""
        shuffled = list(found)
        self.chance("order").shuffle(shuffled)
        firsts = {kind(point): number for number, point in reversed(list(enumerate(shuffled)))}
        first = set(firsts.values())
        return [shuffled[number] for number in sorted(range(len(shuffled)), key=lambda n: (n not in first, n))]

    def taken(self, found: Sequence[T], kind: Callable[[T], Hashable] = lambda point: None) -> Iterator[T]:
        """Points to try, one by one: one of each kind in any case, and others until the time is over.

        Each is to be tried within `trying`. May be drawn from by one thread at a time.
        """
        points = list(found) if self.all else self.ordered(found, kind)
        kinds = len({kind(point) for point in points})
        started = time.monotonic()
        self.tally.of += len(points)
        try:
            for number, point in enumerate(points):
                now = time.monotonic()
                if self.until is not None and now > self.until:
                    return
                if number >= kinds and self.seconds is not None and now - started > self.seconds:
                    return
                self.tally.done += 1
                yield point
        finally:
            self.tally.seconds += time.monotonic() - started

    @contextmanager
    def trying(self, point: object) -> Iterator[None]:
        """Try a point in the block: it is right if nothing is raised, else what is raised names it."""
        try:
            yield
        except Exception as error:
            error.add_note(f"{self.tally.name}, seed {self.seed}: {point}")
            raise
        self.tally.good += 1


def as_property(tally: Tally) -> tuple[str, dict[str, Any]]:
    """A tally as a property of a test's report."""
    return PROPERTY, asdict(tally)


def from_properties(properties: Sequence[tuple[str, Any]]) -> Iterator[Tally]:
    """The tallies among a report's properties."""
    for name, value in properties:
        if name == PROPERTY:
            yield Tally(**value)
