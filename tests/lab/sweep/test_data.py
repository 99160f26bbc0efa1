"""Backup, restore, rollback and cleanup are cut off, or come upon somebody who starts the node: nothing is lost.

The 80 moments are points (`tests.points`), on two machines. Environment variables for others than the usual ones:

- ``RELUP_SWEEP_ONLY``: numbers of points, with commas; those alone, as a failure names them
"""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from lab.errors import LabError
from tests.lab.sweep.data import TASKS, BackupsLost, Data, Frozen, Point, RowsLost, Task, points_of, run
from tests.lab.sweep.machine import Machine
from tests.lab.sweep.scenarios import Releases, Scene
from tests.lab.sweep.trace import Event
from tests.points import Points

# Both machines are busy with it.
pytestmark = pytest.mark.xdist_group("power loss")

MISSED = 0.1
"""Of the points, how many may have a moment that does not come."""


class Outcome(NamedTuple):
    """What became of a point: a word, and why; whether its moment came."""

    point: Point
    verdict: str
    why: str
    came: bool


def test_nothing_is_lost_whenever_it_is_cut_off(
    machines: list[Machine], releases: Releases, points: Points, capsys: pytest.CaptureFixture[str]
) -> None:
    points.named("data")
    only = {int(number) for number in os.environ.get("RELUP_SWEEP_ONLY", "").split(",") if number}
    wanted = [point for point in points_of(points.seed) if not only or point.number in only]
    begun = time.monotonic()
    places = [Data(Scene(machine, releases)) for machine in machines]
    runs, drawing = Runs(), threading.Lock()
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(Data.begin, places))
        # The backup and the restore that are killed come in any case, what follows as there is time.
        taken = points.taken(wanted, kind=lambda point: point.task.weight)

        def work(place: Data) -> list[Outcome]:
            found: list[Outcome] = []
            while True:
                with drawing:
                    point = next(taken, None)
                if point is None:
                    return found
                found.append(tried(place, point, runs))

        outcomes = [outcome for found in pool.map(work, places) for outcome in found]
    counts = Counter(outcome.verdict for outcome in outcomes)
    missed = [str(outcome.point) for outcome in outcomes if not outcome.came]
    points.tally.good += counts["whole"]
    longest = max(place.longest for place in places)
    with capsys.disabled():
        print(f"\n{time.monotonic() - begun:.0f} s; longest wait of a client during a backup {longest:.2f} s")
        print(
            f"{len(outcomes)} points, {counts['whole']} whole, {counts['rows lost']} rows lost,"
            f" {counts['backups lost']} backups lost, {counts['frozen']} nodes frozen"
        )
        print(f"moments that did not come: {len(missed)}", *missed, sep="\n  ")
    bad = [f"{outcome.verdict}, {outcome.point}: {outcome.why}" for outcome in outcomes if outcome.verdict != "whole"]
    assert bad == [], "\n".join([f"seed {points.seed}", *bad])
    assert len(outcomes) == points.tally.done
    # How often a command looks while it waits differs, so the last moments of one may not come.
    assert len(missed) <= len(outcomes) * MISSED, missed


class Runs:
    """What each task's command does when nothing interrupts it, found out when it is asked for first."""

    def __init__(self) -> None:
        self._known: dict[Task, list[Event]] = {}
        self._locks = {task: threading.Lock() for task in TASKS}

    def of(self, place: Data, task: Task) -> list[Event]:
        """The events of a task; if need be it is run to its end there."""
        with self._locks[task]:
            if task not in self._known:
                ran = run(place, task, None)
                assert ran.result is not None
                assert ran.result["error"] is None, ran.result["error"]
                task.after(place, ran)
                self._known[task] = ran.events
            return self._known[task]


def tried(place: Data, point: Point, runs: Runs) -> Outcome:
    """What becomes of a point."""
    came = False
    try:
        moment = point.moment(runs.of(place, point.task))
        ran = run(place, point.task, moment)
        came = any((event.phase, event.index) == (moment.phase, moment.index) for event in ran.events)
        point.task.after(place, ran)
    except RowsLost as lost:
        return Outcome(point, "rows lost", str(lost), came)
    except BackupsLost as lost:
        return Outcome(point, "backups lost", str(lost), came)
    except Frozen as frozen:
        return Outcome(point, "frozen", str(frozen), came)
    except (AssertionError, LabError) as error:
        return Outcome(point, "not whole", f"{type(error).__name__}: {error}", came)
    return Outcome(point, "whole", "", came)
