"""Core killed, connection dropped, controller suspended or killed: the hop ends as it would have, and all is found."""

from itertools import cycle, product
from pathlib import Path

import pytest

from relup_remote.core import lock
from tests.lab.cluster import BASE, FIRST, Tool, ended, put_back, until
from tests.lab.sweep import disk
from tests.lab.sweep.cuts import Moment, Upgrade, moments, results
from tests.lab.sweep.machine import Machine

SEED, IN_HOP = 20261124, 2
CUTS = ("core", "connection", "controller")
NEXT = cycle(("status", "verify", "upgrade", "upgrade", "status", "verify"))
CASES = [(cut, moment, next(NEXT)) for cut, moment in product(CUTS, moments(SEED, IN_HOP))]


@pytest.fixture(scope="module")
def machine(machines: list[Machine]) -> Machine:
    """The one that the tool goes to."""
    return machines[0]


@pytest.fixture
def upgrade(machine: Machine, tmp_path: Path) -> Upgrade:
    """An upgrade, about to begin, of a node as it was first."""
    put_back(machine.lab, "n1")
    return Upgrade(machine.lab, "n1", tmp_path)


@pytest.mark.parametrize(("cut", "moment", "command"), CASES, ids=str)
def test_what_was_cut_off_is_found(
    machine: Machine, relup: Tool, upgrade: Upgrade, cut: str, moment: Moment, command: str
) -> None:
    controller = relup.start("upgrade", *upgrade.options)
    upgrade.await_moment(moment)
    upgrade.cut(cut, controller)
    gone = ended(controller)
    assert gone.status != 0
    if cut != "controller":
        assert gone.error()["err_type"] in ("core_failed", "connection_lost")
    until("the core and the hop have ended", lambda: lock.holder(str(machine.ours)) is None and not machine.hop_runs())
    begun = results(machine.ours)
    # What is brought to the host ahead of its upgrade is no attempt yet.
    assert len(begun) == (0 if moment.stage == "staging" else 1)
    done = disk.marker(machine.root) == FIRST
    assert done or moment.stage != "hop"

    # A controller that is gone has left the lock of the cluster to its run.
    go_on = upgrade.resuming if cut == "controller" else upgrade.options
    target = ("--target", FIRST if done else BASE) if command == "verify" else ()
    found = relup.run(command, *(go_on if command == "upgrade" else ("--host", "n1", *target)))
    if command == "upgrade" and done and cut != "controller":
        assert (found.status, found.error()["err_type"]) == (3, "duplicate_pending_target")
    else:
        assert found.status == 0, found.stdout
    if command == "status":
        assert found.row()["facts"]["state"] == ("hot-upgraded" if done else "idle")
    for (run, left), (_, result) in zip(begun, results(machine.ours), strict=False):
        assert left is not None or run in found.stdout + found.stderr
        assert result in (("success",) if done else ("interrupted", "connection_lost"))

    again = relup.run("upgrade", *(upgrade.options if command == "upgrade" else go_on))
    assert again.status == (3 if command == "upgrade" or (done and cut != "controller") else 0), again.stdout
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
    assert [result for _, result in results(machine.ours)[len(begun) :]] == ([] if done else ["success"])
    assert disk.leftovers(machine.root) == []


@pytest.mark.parametrize("moment", list(moments(SEED + 1, in_hop=1)), ids=str)
def test_suspended_controller_goes_on(machine: Machine, relup: Tool, upgrade: Upgrade, moment: Moment) -> None:
    controller = relup.start("upgrade", *upgrade.options)
    upgrade.await_moment(moment)
    upgrade.suspend(controller)
    done = ended(controller)
    assert done.status == 0, done.stdout
    assert done.row()["outcome"] == "upgraded"
    assert [result for _, result in results(machine.ours)] == ["success"]
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
