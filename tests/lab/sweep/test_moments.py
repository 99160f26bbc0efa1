"""The moments that a sweep chooses."""

import random
from collections import Counter
from itertools import pairwise

from tests.lab.sweep.moments import WATCHED, choose
from tests.lab.sweep.scenarios import SCENARIOS
from tests.lab.sweep.sweep import plans
from tests.lab.sweep.trace import Event

SIZES = {"begin": 12, "stage": 40, "after stage": 1, "extract": 3000, "apply": 50, "after apply": 8}


def run() -> list[Event]:
    """A run with a phase of each size, and with boundaries where steps begin and end."""
    events: list[Event] = []
    for phase, size in SIZES.items():
        for index in range(size):
            edge = index in (0, size - 1) and not phase.startswith(("begin", "after"))
            label = f"says step {phase}" if edge else "open"
            events.append(Event(phase, index, label, 0.001 * len(events)))
    return events


def test_every_boundary_and_every_phase_are_among_them() -> None:
    events = run()
    chosen = choose(events, 80, random.Random(1))
    assert len(chosen) == 80
    places = {(moment.phase, moment.index) for moment in chosen}
    assert {(event.phase, event.index) for event in events if event.is_boundary} <= places
    inside = Counter(m.phase for m in chosen if not m.watch and not m.label.startswith("says"))
    assert inside.keys() == SIZES.keys()
    assert inside["after stage"] == 1
    assert max(inside.values()) - min(count for phase, count in inside.items() if SIZES[phase] > 10) <= 1
    extract = sorted(moment.index for moment in chosen if moment.phase == "extract")
    assert max(later - earlier for earlier, later in pairwise(extract)) < 3000 / 3


def test_a_hop_is_interrupted_by_time_and_by_what_the_vm_writes() -> None:
    chosen = choose(run(), 80, random.Random(1))
    assert {moment.watch for moment in chosen if moment.watch} == set(WATCHED)
    timed = [moment.delay for moment in chosen if moment.delay > 0.0015]
    assert len(timed) > 10
    assert max(timed) > 0.8 * 1.2 * 0.049
    assert {moment.first for moment in chosen} == {"core", "vm"}


def test_one_seed_gives_the_same_and_another_one_others() -> None:
    assert choose(run(), 50, random.Random(1)) == choose(run(), 50, random.Random(1))
    assert choose(run(), 50, random.Random(1)) != choose(run(), 50, random.Random(2))


def test_all_points_are_shared_out() -> None:
    for points in (20, 200, 333):
        planned = list(plans(points))
        assert sum(plan.points for plan in planned) == points
        assert {plan.scenario for plan in planned} == set(SCENARIOS)
        for plan in planned:
            moments = list(plan.moments(run(), seed=1))
            assert [len(each) for each in moments] == [plan.lives] * plan.points
