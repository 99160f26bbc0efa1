"""Core killed, connection dropped, controller suspended or killed: the hop ends as it would have, and all is found."""

from itertools import cycle, product
from pathlib import Path

import pytest

from relup_remote.core import lock
from tests.lab.cluster import BASE, FIRST, Tool, ended, put_back, until
from tests.lab.sweep import disk
from tests.lab.sweep.cuts import Moment, Upgrade, moments, results
from tests.lab.sweep.machine import Machine
from tests.points import Points

IN_HOP = 2
CUTS = ("core", "connection", "controller")
NEXT = ("status", "verify", "upgrade", "upgrade", "status", "verify")


@pytest.fixture(scope="module")
def machine(machines: list[Machine]) -> Machine:
    """The one that the tool goes to."""
    return machines[0]


def upgrade_of(machine: Machine, folder: Path) -> Upgrade:
    """An upgrade, about to begin, of a node as it was first."""
    put_back(machine.lab, "n1")
    folder.mkdir()
    return Upgrade(machine.lab, "n1", folder)


def test_what_was_cut_off_is_found(machine: Machine, relup: Tool, points: Points, tmp_path: Path) -> None:
    points.named("cut off")
    chosen = list(product(CUTS, moments(points.chance("moments"), IN_HOP)))
    cases = [(cut, moment, command) for (cut, moment), command in zip(chosen, cycle(NEXT), strict=False)]
    for number, case in enumerate(points.taken(cases, kind=lambda case: case[0])):
        with points.trying(" ".join(map(str, case))):
            check_cut_off(machine, relup, upgrade_of(machine, tmp_path / str(number)), *case)


def check_cut_off(machine: Machine, relup: Tool, upgrade: Upgrade, cut: str, moment: Moment, command: str) -> None:
    """Cut an upgrade off at a moment; the ``command`` that comes next finds how it stands, and the next one ends it."""
    controller = relup.start("upgrade", *upgrade.options)
    upgrade.await_moment(moment)
    upgrade.cut(cut, controller)
    gone = ended(controller)
    assert gone.status != 0
    if cut != "controller":
        assert gone.error()["err_type"] in ("core_failed", "connection_lost")
    until("the core and the hop have ended", lambda: lock.holder(str(machine.ours)) is None and not machine.hop_runs())
    begun = results(machine.ours)
    # What is prepared on the host ahead of its upgrade is no attempt yet. It may end just before it is cut.
    assert len(begun) == 1 or (moment.stage != "hop" and not begun)
    done = disk.marker(machine.root) == FIRST
    assert done or moment.stage != "hop"

    # Whatever was cut, the host may have been at work still: the lock of the cluster is left to the run.
    target = ("--target", FIRST if done else BASE) if command == "verify" else ()
    found = relup.run(command, *(upgrade.resuming if command == "upgrade" else ("--host", "n1", *target)))
    assert found.status == 0, found.stdout
    if command == "status":
        assert found.row()["facts"]["state"] == ("hot-upgraded" if done else "idle")
    for (run, left), (_, result) in zip(begun, results(machine.ours), strict=False):
        assert left is not None or run in found.stdout + found.stderr
        assert result in (("success",) if done else ("interrupted", "connection_lost"))

    again = relup.run("upgrade", *(upgrade.options if command == "upgrade" else upgrade.resuming))
    assert again.status == 0, again.stdout
    if command == "upgrade":
        assert again.nothing_to_do() == "duplicate_pending_target"
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
    assert [result for _, result in results(machine.ours)[len(begun) :]] == ([] if done else ["success"])
    assert disk.leftovers(machine.root) == []


def test_suspended_controller_goes_on(machine: Machine, relup: Tool, points: Points, tmp_path: Path) -> None:
    points.named("suspended controllers")
    chosen = list(moments(points.chance("moments"), in_hop=1))
    for number, moment in enumerate(points.taken(chosen)):
        with points.trying(moment):
            check_suspended(machine, relup, upgrade_of(machine, tmp_path / str(number)), moment)


def check_suspended(machine: Machine, relup: Tool, upgrade: Upgrade, moment: Moment) -> None:
    """Suspend the controller for longer than the hop takes; it goes on as if nothing had been."""
    controller = relup.start("upgrade", *upgrade.options)
    upgrade.await_moment(moment)
    upgrade.suspend(controller)
    done = ended(controller)
    assert done.status == 0, done.stdout
    assert done.row()["outcome"] == "upgraded"
    assert [result for _, result in results(machine.ours)] == ["success"]
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
