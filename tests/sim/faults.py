"""What goes wrong in a story: which kinds of faults there are, and when one comes, by the seed.

======================  ===============================================================================================
kind                    what happens
======================  ===============================================================================================
connection refused      a host takes no connection
connection silent       a host says nothing to who wants to connect
connection lost         a connection breaks in the middle of a request
connection stalls       nothing comes through a connection any more, and it does not break
session stuck           as before, and the controller's own waiting has no end either
core killed             a core ends with its connection, instead of going on
core hangs              a core does nothing more until its time is over
preparation fails       a host has no room for the target's tree
hop fails               a hop fails, and is undone
malformed answer        a host says what no core says
host lies               a host says that it is upgraded, and is not; asked again, it says how it is
rolled back by hand     somebody puts a host back to its base release, in no run
machine stops           a machine stops, and comes back later
controller killed       a controller is gone from one moment to the next; its ledger may lack the end of its last line
Ctrl-C                  once: hosts in hand are finished
Ctrl-C twice            the controller leaves at once
disk full               the controller's disk takes nothing more
time is up              the command's deadline is over
two controllers         another operator upgrades hosts of the same cluster
======================  ===============================================================================================
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.sim.hosts import Ways

MEETS = {
    "connect": {"refused": "connection refused", "silent": "connection silent"},
    "request": {"lost": "connection lost", "silent": "connection stalls", "stuck": "session stuck"},
    "hang up": {"ends": "core killed"},
    "core": {"hangs": "core hangs"},
    "extract": {"fails": "preparation fails"},
    "hop": {"fails": "hop fails"},
    "plan": {"lies": "host lies"},
    "upgrade": {"lies": "host lies"},
    "answer": {"malformed": "malformed answer"},
}
"""What may be met, by what meets it, and the kind of fault that it is."""

RATES = (0.0, 0.0, 0.0, 0.0, 0.01, 0.03, 0.1)
"""How often a fault comes: in most stories most faults do not come at all."""

QUIET = (0.0, 0.0, 5.0, 20.0, 60.0, 300.0)
"""Seconds after which faults begin: a run that refuses to begin shows little."""


@dataclass
class Faults:
    """The faults of a story. ``count`` has how many came, by kind. In the end all is ``calm``."""

    chance: random.Random
    now: Callable[[], float]
    quiet: float = 0.0
    is_slow: bool = False
    calm: bool = False
    count: Counter[str] = field(default_factory=Counter)
    rates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_honest = self.chance.random() < 0.1
        self.quiet = self.chance.choice(QUIET)
        self.is_slow = self.chance.random() < 0.2
        for kinds in MEETS.values():
            for kind in kinds.values():
                self.rates[kind] = 0.0 if is_honest else self.chance.choice(RATES)
        if not is_honest:
            self.rates["core killed"] = self.chance.choice((0.0, 0.5, 1.0))

    def ways(self) -> Ways:
        """How a host behaves."""
        return Ways(self._meets, self._seconds)

    def _meets(self, what: str) -> str:
        if self.calm or self.now() < self.quiet:
            return ""
        for name, kind in MEETS[what].items():
            rate = self.rates[kind]
            if rate and self.chance.random() < rate:
                self.count[kind] += 1
                return name
        return ""

    def _seconds(self, least: float, most: float) -> float:
        if self.is_slow and not self.calm and self.chance.random() < 0.1:
            return most * self.chance.uniform(1.0, 20.0)
        return self.chance.uniform(least, most)
