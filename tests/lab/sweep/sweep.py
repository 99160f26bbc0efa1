"""The whole sweep: what is to be killed when, on as many machines as there are, and what came of it."""

import random
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
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
class Case:
    """One point: the ``nth`` of a plan. The moments follow once its command has been run to its end."""

    number: int
    plan: Plan
    nth: int

    def __str__(self) -> str:
        return f"{self.number}: {self.plan.scenario.name}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case, interrupted at ``moments``: ``recovered``, ``mixed`` or ``lost``, and why."""

    case: Case
    moments: tuple[Moment, ...]
    verdict: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}, {self.case}, at {', then at '.join(map(str, self.moments))}: {self.why}"


class Sweep:
    """A sweep of ``points`` points from one seed, on machines that are up."""

    def __init__(self, machines: Sequence[Machine], releases: Releases, points: int, seed: int) -> None:
        self._machines = machines
        self._releases = releases
        self._points = points
        self._seed = seed
        self._runs: dict[Scenario, Future[list[Event]]] = {}
        self._looking_up = threading.Lock()

    def cases(self, only: Collection[int] = ()) -> list[Case]:
        """All points, or those with the numbers given."""
        numbers = count(1)
        found = [Case(next(numbers), plan, nth) for plan in plans(self._points) for nth in range(plan.points)]
        return [case for case in found if not only or case.number in only]

    def outcomes(self, cases: Iterable[Case]) -> list[Outcome]:
        """What became of each; the next one is drawn when a machine is free."""
        return self._each(cases, self._outcome)

    def _moments(self, machine: Machine, case: Case) -> tuple[Moment, ...]:
        """When the case interrupts its command, which is run once to its end before, to see what it does."""
        with self._looking_up:
            run, is_mine = self._runs.get(case.plan.scenario), False
            if run is None:
                run, is_mine = self._runs.setdefault(case.plan.scenario, Future()), True
        if is_mine:
            try:
                run.set_result(self._traced(machine, case.plan.scenario))
            except BaseException as error:
                run.set_exception(error)
        return list(case.plan.moments(run.result(), self._seed))[case.nth]

    def _traced(self, machine: Machine, scenario: Scenario) -> list[Event]:
        scene = Scene(machine, self._releases)
        scenario.before(scene)
        ran = machine.run_traced(*scenario.kill(scene))
        assert ran.result
        assert ran.result["error"] is None, ran.result["error"]
        return ran.events

    def _outcome(self, machine: Machine, case: Case) -> Outcome:
        moments = self._moments(machine, case)
        try:
            survive(Scene(machine, self._releases), case.plan.scenario, moments)
        except Mixed as mixed:
            return Outcome(case, moments, "mixed", str(mixed))
        except (Lost, LabError) as lost:
            return Outcome(case, moments, "lost", str(lost))
        return Outcome(case, moments, "recovered")

    def _each(self, items: Iterable[T], action: Callable[[Machine, T], R]) -> list[R]:
        """``action`` for every item, on whichever machine is free, as many at once as there are."""
        drawn, drawing = iter(items), threading.Lock()

        def on(machine: Machine) -> list[R]:
            done: list[R] = []
            while True:
                with drawing:
                    item = next(drawn, None)
                if item is None:
                    return done
                done.append(action(machine, item))

        with ThreadPoolExecutor(len(self._machines)) as pool:
            return [result for done in pool.map(on, self._machines) for result in done]


def plans(points: int) -> Iterator[Plan]:
    """How so many points are shared out."""
    usual, *others = SCENARIOS
    planned = [Plan(usual, round(points * TWICE), lives=2)]
    planned += [Plan(scenario, round(points * SHARES[scenario.name])) for scenario in others]
    yield Plan(usual, points - sum(plan.points for plan in planned))
    yield from planned
