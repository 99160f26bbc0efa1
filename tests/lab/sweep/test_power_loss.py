"""The machine loses power at any moment of a command; afterwards there is one whole release, and the command completes.

The moments are points (`tests.points`): every boundary of steps, and the rest inside of them, from the core's first
event to its last. Core and VM are killed together. Environment variables for other sweeps than the usual one:

- ``RELUP_SWEEP_POINTS``: how many moments
- ``RELUP_SWEEP_ONLY``: numbers of points, with commas; those alone, as a failure names them
"""

import os
from collections import Counter

import pytest

from tests.lab.sweep.machine import Machine
from tests.lab.sweep.scenarios import Releases
from tests.lab.sweep.sweep import Case, Sweep
from tests.points import Points

# Both machines are busy with it, and the other tests of the package need one of them.
pytestmark = pytest.mark.xdist_group("power loss")

POINTS = 200


def test_power_is_lost_at_any_moment(
    machines: list[Machine], releases: Releases, points: Points, capsys: pytest.CaptureFixture[str]
) -> None:
    points.named("power loss")
    only = {int(number) for number in os.environ.get("RELUP_SWEEP_ONLY", "").split(",") if number}
    sweep = Sweep(machines, releases, int(os.environ.get("RELUP_SWEEP_POINTS", POINTS)), points.seed)
    cases = sweep.cases(only)
    outcomes = sweep.outcomes(points.taken(cases, kind=kind))
    counts = Counter(outcome.verdict for outcome in outcomes)
    points.tally.good += counts["recovered"]
    with capsys.disabled():
        print(f"\n{len(outcomes)} kill points, {dict(counts)}; {spent(machines, len(outcomes))}")
    bad = [str(outcome) for outcome in outcomes if outcome.verdict != "recovered"]
    assert bad == [], "\n".join([f"seed {points.seed}", *bad])
    assert len(outcomes) == points.tally.done


def kind(case: Case) -> str:
    """What is interrupted: a hop, a restart, or what only has files to lose. Each point takes several boots."""
    return {"upgrade": "hop", "rollback": "restart"}.get(case.plan.scenario.command, "files")


def spent(machines: list[Machine], points: int) -> str:
    """What a point's time went to, on average; nothing where there was no time for a point."""
    if not points:
        return "no time was left"
    total = Counter[str]()
    for machine in machines:
        total.update(machine.seconds)
    return ", ".join(f"{what} {seconds / points:.2f} s" for what, seconds in total.most_common())
