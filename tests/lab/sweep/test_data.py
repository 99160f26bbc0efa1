"""Backup, restore, rollback and cleanup are cut off, or come upon somebody who starts the node: nothing is lost.

The 80 moments are points (`tests.points`), on two machines. Environment variables for others than the usual ones:

- ``RELUP_SWEEP_ONLY``: numbers of points, with commas; those alone, as a failure names them
"""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.errors import LabError
from tests.lab.sweep.data import TASKS, BackupsLost, Data, Frozen, Point, RowsLost, Task, points_of, run
from tests.lab.sweep.machine import Machine
from tests.lab.sweep.scenarios import Releases, Scene
from tests.lab.sweep.trace import Event
from tests.points import Points

# Both machines are busy with it.
pytestmark = pytest.mark.xdist_group("power loss")

Outcome = tuple[Point, str, str]


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
                found.append((point, *tried(place, point, runs)))

        outcomes = [outcome for found in pool.map(work, places) for outcome in found]
    counts = Counter(verdict for _, verdict, _ in outcomes)
    points.tally.good += counts["whole"]
    longest = max(place.longest for place in places)
    with capsys.disabled():
        print(f"\n{time.monotonic() - begun:.0f} s; longest wait of a client during a backup {longest:.2f} s")
        print(
            f"{len(outcomes)} points, {counts['whole']} whole, {counts['rows lost']} rows lost,"
            f" {counts['backups lost']} backups lost, {counts['frozen']} nodes frozen"
        )
    bad = [f"{verdict}, {point}: {why}" for point, verdict, why in outcomes if verdict != "whole"]
    assert bad == [], "\n".join([f"seed {points.seed}", *bad])
    assert len(outcomes) == points.tally.done


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


def tried(place: Data, point: Point, runs: Runs) -> tuple[str, str]:
    """What becomes of a point, in a word, and why."""
    try:
        moment = point.moment(runs.of(place, point.task))
        point.task.after(place, run(place, point.task, moment))
    except RowsLost as lost:
        return "rows lost", str(lost)
    except BackupsLost as lost:
        return "backups lost", str(lost)
    except Frozen as frozen:
        return "frozen", str(frozen)
    except (AssertionError, LabError) as error:
        return "not whole", f"{type(error).__name__}: {error}"
    return "whole", ""
