"""Mistakes that can be put into the engine: each is a context manager, in which the engine makes it.

They are such as a change of the engine could make in good faith. Tests show that the rules find each of them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from relup_remote.rollout.gates import keeper
from relup_remote.rollout.gates.case import Case, Gate
from relup_remote.rollout.roll import Rollout
from relup_remote.rollout.rows import Row, succeeded
from relup_remote.rollout.stop import Stop


@contextmanager
def resume_does_all_again() -> Iterator[None]:
    """A run that is taken up again does not leave out the hosts that are done."""
    before = Rollout.__init__

    def init(self: Rollout, *arguments: Any) -> None:
        before(self, *arguments)
        if self._changed:
            self._rows = {name: row for name, row in self._rows.items() if not succeeded(row)}

    with patch.object(Rollout, "__init__", init):
        yield


@contextmanager
def budget_is_one_too_large() -> Iterator[None]:
    """One more host may fail than ``--max-failures`` says."""

    def may_go_on(self: Rollout) -> bool:
        return not (self._stop or self._feed.broken or len(self._failed) > self._plan.max_failures + 1)

    with patch.object(Rollout, "_may_go_on", may_go_on):
        yield


@contextmanager
def only_the_first_wave_is_locked() -> Iterator[None]:
    """The lock is taken on the hosts of the first wave alone."""
    before = Rollout._lock

    def lock(self: Rollout) -> None:
        plan = self._plan
        first = set(plan.waves[0]) if plan.waves else set()
        self._plan = dataclasses.replace(plan, hosts=tuple(each for each in plan.hosts if each.host in first))
        try:
            before(self)
        finally:
            self._plan = plan

    with patch.object(Rollout, "_lock", lock):
        yield


@contextmanager
def gates_are_not_awaited() -> Iterator[None]:
    """A gate looks once, and what it says is not waited for."""

    def passes(case: Case, name: str, gate: Gate, _stop: Stop, _patience: float) -> None:
        gate(case)
        case.feed.tell("gate", wave=case.wave, gate=name, status="open")

    with patch.object(keeper, "_pass", passes):
        yield


@contextmanager
def hosts_in_hand_are_forgotten() -> Iterator[None]:
    """Hosts that are left in hand by the second Ctrl-C have no row that says so."""
    with patch.object(Rollout, "_leave", lambda self: None):
        yield


@contextmanager
def ctrl_c_is_not_looked_at() -> Iterator[None]:
    """The first Ctrl-C is noticed only between two phases."""

    def may_go_on(self: Rollout) -> bool:
        return not (self._feed.broken or len(self._failed) > self._plan.max_failures)

    with patch.object(Rollout, "_may_go_on", may_go_on):
        yield


@contextmanager
def lock_is_kept() -> Iterator[None]:
    """The lock is not given back, and nobody is told."""
    with patch.object(Rollout, "_unlock", lambda self: []):
        yield


@contextmanager
def only_the_first_wave_is_prepared() -> Iterator[None]:
    """The first wave begins when its own hosts are prepared; the others are prepared when their turn comes."""
    before = Rollout._prepare

    def prepare(self: Rollout) -> None:
        first = self._plan.waves[0] if self._plan.waves else ()
        with patch.object(Rollout, "_is_to_do", lambda self, name: name in first and name not in self._rows):
            before(self)

    with patch.object(Rollout, "_prepare", prepare):
        yield


@contextmanager
def failed_preparation_is_not_kept() -> Iterator[None]:
    """A host that can't be prepared has its turn all the same."""
    before = Rollout._keep

    def keep(self: Rollout, phase: str, row: Row) -> None:
        before(self, phase, row)
        if phase == "prepare":
            del self._rows[row["host"]]

    with patch.object(Rollout, "_keep", keep):
        yield


Bug = Callable[[], AbstractContextManager[None]]

BUGS: Mapping[Bug, tuple[int, ...]] = {
    resume_does_all_again: (1, 5),
    budget_is_one_too_large: (3,),
    only_the_first_wave_is_locked: (2,),
    gates_are_not_awaited: (4,),
    hosts_in_hand_are_forgotten: (5,),
    ctrl_c_is_not_looked_at: (3,),
    lock_is_kept: (6, 7),
    only_the_first_wave_is_prepared: (8,),
    failed_preparation_is_not_kept: (1, 8),
}
"""The mistakes, and the rules of which one is broken first."""
