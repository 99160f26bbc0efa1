"""The whole sweep: what is to be killed when, on as many machines as there are, and what came of it."""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from queue import SimpleQueue
from typing import TypeVar

from lab.errors import LabError
from tests.lab.sweep.judge import Lost, Mixed, survive
from tests.lab.sweep.machine import Machine
from tests.lab.sweep.moments import Moment, choose
from tests.lab.sweep.scenarios import SCENARIOS, Releases, Scenario, Scene
from tests.lab.sweep.trace import Event

T = TypeVar("T")
R = TypeVar("R")

SHARES = {
    "second hop": 0.15,
    "upgrade over another tree": 0.08,
    "rollback": 0.08,
    "cleanup": 0.04,
    "stage": 0.03,
    "plan": 0.02,
}
"""Of all points, how many interrupt what; the rest interrupts an upgrade of a node as it was first."""

TWICE = 0.1
"""Of all points, how many interrupt the second attempt at that upgrade as well."""


@dataclass(frozen=True)
class Case:
    """One point: a scenario, and the moment, or the two, at which it is interrupted."""

    number: int
    scenario: Scenario
    moments: tuple[Moment, ...]

    def __str__(self) -> str:
        return f"{self.number}: {self.scenario.name}, at {', then at '.join(str(moment) for moment in self.moments)}"


@dataclass(frozen=True)
class Plan:
    """So many points of a scenario, each with as many moments as it has ``lives``."""

    scenario: Scenario
    points: int
    lives: int = 1

    def moments(self, run: Sequence[Event], seed: int) -> Iterator[tuple[Moment, ...]]:
        """The moments of each point, from what the command does when nothing interrupts it."""
        chance = random.Random(f"{seed} {self.scenario.name} {self.lives}")
        chosen = choose(run, self.points * self.lives, chance)
        if self.lives > 1:
            chance.shuffle(chosen)
        return zip(*(chosen[life :: self.lives] for life in range(self.lives)), strict=True)


@dataclass(frozen=True)
class Outcome:
    """What became of a case: ``recovered``, ``mixed`` or ``lost``, and why."""

    case: Case
    verdict: str
    why: str = ""


class Sweep:
    """A sweep of ``points`` points from one seed, on machines that are up."""

    def __init__(self, machines: Sequence[Machine], releases: Releases, points: int, seed: int) -> None:
        self._machines = machines
        self._releases = releases
        self._points = points
        self._seed = seed

    def cases(self, only: Collection[int] = ()) -> list[Case]:
        """All points, or those with the numbers given. Each command is run once to its end, to see what it does."""
        numbers = count(1)
        planned = [(plan, [next(numbers) for _ in range(plan.points)]) for plan in plans(self._points)]
        wanted = [(plan, mine) for plan, mine in planned if mine and (not only or set(mine) & set(only))]
        runs = self._each([plan.scenario for plan, _ in wanted], self._traced)
        found = [
            Case(number, plan.scenario, moments)
            for (plan, mine), run in zip(wanted, runs, strict=True)
            for number, moments in zip(mine, plan.moments(run, self._seed), strict=True)
        ]
        return [case for case in found if not only or case.number in only]

    def outcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        """What became of each."""
        return self._each(cases, self._outcome)

    def _traced(self, machine: Machine, scenario: Scenario) -> list[Event]:
        scene = Scene(machine, self._releases)
        scenario.before(scene)
        ran = machine.run_traced(*scenario.kill(scene))
        assert ran.result
        assert ran.result["error"] is None, ran.result["error"]
        return ran.events

    def _outcome(self, machine: Machine, case: Case) -> Outcome:
        try:
            survive(Scene(machine, self._releases), case.scenario, case.moments)
        except Mixed as mixed:
            return Outcome(case, "mixed", str(mixed))
        except (Lost, LabError) as lost:
            return Outcome(case, "lost", str(lost))
        return Outcome(case, "recovered")

    def _each(self, items: Sequence[T], action: Callable[[Machine, T], R]) -> list[R]:
        """``action`` for every item, on whichever machine is free, as many at once as there are."""
        free: SimpleQueue[Machine] = SimpleQueue()
        for machine in self._machines:
            free.put(machine)

        def on_a_free_one(item: T) -> R:
            machine = free.get()
            try:
                return action(machine, item)
            finally:
                free.put(machine)

        with ThreadPoolExecutor(len(self._machines)) as pool:
            return list(pool.map(on_a_free_one, items))


def plans(points: int) -> Iterator[Plan]:
    """How so many points are shared out."""
    usual, *others = SCENARIOS
    planned = [Plan(usual, round(points * TWICE), lives=2)]
    planned += [Plan(scenario, round(points * SHARES[scenario.name])) for scenario in others]
    yield Plan(usual, points - sum(plan.points for plan in planned))
    yield from planned
