"""The machine loses power at any moment of a command; afterwards there is one whole release, and the command completes.

A few hundred moments, chosen by a seed: every boundary of steps, and the rest inside of them, from the core's first
event to its last. Core and VM are killed together. Environment variables for other sweeps than the usual one:

- ``RELUP_SWEEP_POINTS``: how many moments
- ``RELUP_SWEEP_SEED``: the seed, a number
- ``RELUP_SWEEP_ONLY``: numbers of points, with commas; those alone, as a failure names them
"""

import os
import time
from collections import Counter

import pytest

from tests.lab.sweep.machine import Machine
from tests.lab.sweep.scenarios import Releases
from tests.lab.sweep.sweep import Sweep

POINTS, SEED = 200, 20261124


def test_power_is_lost_at_any_moment(
    machines: list[Machine], releases: Releases, capsys: pytest.CaptureFixture[str]
) -> None:
    points = int(os.environ.get("RELUP_SWEEP_POINTS", POINTS))
    seed = int(os.environ.get("RELUP_SWEEP_SEED", SEED))
    only = {int(number) for number in os.environ.get("RELUP_SWEEP_ONLY", "").split(",") if number}
    started = time.monotonic()
    sweep = Sweep(machines, releases, points, seed)
    cases = sweep.cases(only)
    outcomes = sweep.outcomes(cases)
    counts = Counter(outcome.verdict for outcome in outcomes)
    with capsys.disabled():
        print()
        for outcome in outcomes:
            if outcome.verdict != "recovered":
                print(f"{outcome.verdict}, {outcome.case}: {outcome.why}")
        print(f"seed {seed}, {time.monotonic() - started:.0f} s, {spent(machines, len(cases))}")
        print(
            f"{len(cases)} kill points, {counts['recovered']} recovered, {counts['mixed']} mixed, {counts['lost']} lost"
        )
    assert counts["recovered"] == len(cases) == (len(only) or points)


def spent(machines: list[Machine], points: int) -> str:
    """What a point's time went to, on average."""
    total = Counter[str]()
    for machine in machines:
        total.update(machine.seconds)
    return ", ".join(f"{what} {seconds / points:.2f} s" for what, seconds in total.most_common())
