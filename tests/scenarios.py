"""Scenarios: the files of tests that need a lab. All of them take half an hour, so most runs try a part of them.

``make test`` tries those of `ALWAYS`, and others as long as their costs are within `BUDGET`. Which ones follows from
the commit. ``make test-more`` tries all the others, ``make test-all`` all. A file is tried as a whole: its tests may
follow from each other.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

LAB = Path(__file__).parent / "lab"
COSTS = LAB / "costs.json"

SOME, REST, ALL = "some", "rest", "all"
"""Which scenarios a run of the tests tries. ``rest`` are those that ``some`` leaves out."""

ALWAYS = frozenset({"tests/lab/test_upgrade.py", "tests/lab/test_refusals.py"})
"""Tried at every commit: a cluster is upgraded and nobody notices, it goes back, and a refusal changes nothing."""

BUDGET = 480.0
"""Seconds that the scenarios of ``some`` may cost, summed over all workers."""

NEW = 30.0
"""Seconds that a scenario costs of which the table says nothing."""

DEAR = 10.0
"""Seconds from which on the table has files of other tests as well, which are begun before the others."""


def read_costs(path: Path = COSTS) -> dict[str, float]:
    """What each scenario, and each dear file of other tests, costs in seconds, as it was measured last."""
    found: dict[str, float] = json.loads(path.read_text())
    return found


def chosen(scenarios: Iterable[str], costs: Mapping[str, float], seed: int, budget: float = BUDGET) -> set[str]:
    """Those that ``some`` tries: the same for the same seed, whatever order they come in."""
    shuffled = sorted(set(scenarios))
    random.Random(seed).shuffle(shuffled)
    shuffled.sort(key=lambda scenario: scenario not in ALWAYS)
    found: set[str] = set()
    for scenario in shuffled:
        cost = costs.get(scenario, NEW)
        if scenario in ALWAYS or cost <= budget:
            found.add(scenario)
            budget -= cost
    return found


class Measured:
    """Adds up what the reports of all workers say of the time that scenarios take."""

    def __init__(self) -> None:
        self._costs: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a phase of a test."""
        self._costs[report.nodeid.partition("::")[0]] += report.duration  # type: ignore[assignment]

    def write(self, path: Path = COSTS) -> None:
        """Keep what was measured, beside what was known of files that were not tried."""
        here = {file: cost for file, cost in self._costs.items() if cost >= DEAR or file.startswith("tests/lab/")}
        known = (
            {file: cost for file, cost in read_costs(path).items() if file not in self._costs} if path.exists() else {}
        )
        there = {file: round(cost) for file, cost in sorted({**known, **here}.items()) if Path(file).exists()}
        path.write_text(json.dumps(there, indent=2) + "\n")


def summary(mode: str, tried: int, there_are: int, points: int) -> str:
    """What a run says at the end of the scenarios, and last of what was not run: also so many ``points``."""
    told = [f"scenarios (files of tests/lab): {tried} of {there_are} tried"] if there_are else []
    others = there_are - tried if mode == SOME else 0
    left = [f"{count:,} {name}" for count, name in ((others, "scenarios"), (points, "points")) if count]
    if left:
        command = "`make test-more` runs the rest" if mode == SOME else "`make test-all` runs all"
        told.append(f"{' and '.join(left)} were not run: {command}")
    return "\n".join(told)
