"""One thing done in both ways, in turns, while clients keep calling."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .node import Memory, Node

PLAIN, OURS = "plain", "ours"

Way = Callable[[int], tuple[float, dict[str, Any]]]
"""Hops to a release: the milliseconds that could be noticed, and what the core reports, where there is one."""


class Run(NamedTuple):
    """One run: milliseconds that could be noticed, and the longest that a client waited; the core's report, if any."""

    ms: float
    longest_ms: float
    report: dict[str, Any]


@dataclass
class Contest:
    """What is done, and how it went: which `modules` are replaced, who notices, and how the release is told after it.

    `target` is the most that ours may take, as a part of the plain way.
    """

    name: str
    target: float
    modules: list[str]
    clients: Callable[[], list[Any]]
    release: Callable[[], int]
    ways: dict[str, Way]
    runs: dict[str, list[Run]] = field(default_factory=lambda: {PLAIN: [], OURS: []})
    memory: dict[str, Memory] = field(default_factory=dict)

    def ratio(self, of: Callable[[Run], float]) -> float:
        """Ours to plain, by the median over the rounds: the two runs of a round had the same machine."""
        pairs = zip(self.runs[OURS], self.runs[PLAIN], strict=True)
        return statistics.median(of(ours) / of(plain) for ours, plain in pairs)

    def fought(self, node: Node, rounds: int) -> "Contest":
        """Itself, after both ways have taken turns, and each has run once more to be weighed."""
        for number in range(rounds):
            for way in sorted(self.ways, reverse=bool(number % 2)):
                node.tidy(self.modules)
                clients = self.clients()
                ms, report = self._hop(way)
                self.runs[way].append(Run(ms, node.longest_ms(clients), report))
        for way in self.ways:
            node.tidy(self.modules)
            taken = node.weigh()
            self._hop(way)
            self.memory[way] = taken()
        return self

    def _hop(self, way: str) -> tuple[float, dict[str, Any]]:
        """Hops to the other release. Raises `RuntimeError` where the VM is not of it afterwards."""
        target = 3 - self.release()
        found = self.ways[way](target)
        if self.release() != target:
            raise RuntimeError(f"{way} of {self.name} did not get to release {target}")
        return found
