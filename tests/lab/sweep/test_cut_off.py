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
    ((attempt, left),) = results(machine.ours).items()
    done = disk.marker(machine.root) == FIRST
    assert done or moment.stage != "hop"

    target = ("--target", FIRST if done else BASE) if command == "verify" else ()
    found = relup.run(command, *(upgrade.options if command == "upgrade" else ("--host", "n1", *target)))
    if command == "upgrade" and done:
        assert (found.status, found.error()["err_type"]) == (3, "duplicate_pending_target")
    else:
        assert found.status == 0, found.stdout
    if command == "status":
        assert found.row()["facts"]["state"] == ("hot-upgraded" if done else "idle")
    if left is None:
        assert attempt in found.stdout + found.stderr
    assert results(machine.ours)[attempt] in (("success",) if done else ("interrupted", "connection_lost"))

    again = relup.run("upgrade", *upgrade.options)
    assert again.status == (3 if done or command == "upgrade" else 0), again.stdout
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
    assert len(results(machine.ours)) == (3 if command == "upgrade" else 2)
    assert None not in results(machine.ours).values()
    assert disk.leftovers(machine.root) == []


@pytest.mark.parametrize("moment", list(moments(SEED + 1, in_hop=1)), ids=str)
def test_suspended_controller_goes_on(machine: Machine, relup: Tool, upgrade: Upgrade, moment: Moment) -> None:
    controller = relup.start("upgrade", *upgrade.options)
    upgrade.await_moment(moment)
    upgrade.suspend(controller)
    done = ended(controller)
    assert done.status == 0, done.stdout
    assert done.row()["outcome"] == "upgraded"
    assert list(results(machine.ours).values()) == ["success"]
    assert relup.run("verify", "--host", "n1", "--target", FIRST).status == 0
