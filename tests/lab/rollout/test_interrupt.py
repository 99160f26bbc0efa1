"""Ctrl-C: once, and the hosts in hand are finished; twice, and they finish by themselves."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Ran, all_back, ended, until
from tests.lab.preloaded import Command
from tests.lab.rollout.controller import Controller, applied, is_event
from tests.lab.rollout.held import HeldHops
from tests.lab.rollout.state import cluster_lock, marked, results, successes

IN_HAND = ("n4", "n1")

pytestmark = pytest.mark.xdist_group("rollout of four nodes")


@pytest.fixture(scope="module")
def lab(four: Lab) -> Lab:
    """The nodes, as they are after whatever test came before."""
    return four


@pytest.fixture
def given(tarball: Path, held: HeldHops) -> list[str]:
    """What each command is given."""
    return ["--tarball", str(tarball), "--catalogue", str(held.catalogue), "--yes", "--no-backup"]


@pytest.fixture
def under_way(lab: Lab, controller: Controller, held: HeldHops, given: list[str]) -> Iterator[Command]:
    """A rollout of nodes that were put back, with two hosts in hand, whose hops wait."""
    held.clear()
    all_back(lab)
    for host in IN_HAND:
        held.hold(lab.host(host).node)
    process = controller.start(
        "upgrade", *given, "--waves", "2", "--parallel", "2", "--gates", "verify,cluster", json=False
    )
    for host in IN_HAND:
        held.await_reached(lab.host(host).node, process)
    yield process
    process.kill()


def resume(controller: Controller, lab: Lab, given: list[str]) -> Ran:
    """Take the run up again; all hosts are upgraded then, each once."""
    ran = controller.run("upgrade", *given, "--resume", "last")
    assert ran.status == 0, ran.stderr + ran.stdout
    for host in lab.hosts:
        assert (results(lab, host), successes(lab, host)) == (["success"], [(BASE, FIRST)])
        assert cluster_lock(lab, host) is None
    return ran


def test_once(lab: Lab, controller: Controller, held: HeldHops, given: list[str], under_way: Command) -> None:
    under_way.send_signal(signal.SIGINT)
    controller.await_event(under_way, "the interruption", is_event("interrupt", count=1))
    for host in IN_HAND:
        held.release(lab.host(host).node)
    ran = ended(under_way)
    assert ran.status == 1
    record = controller.last
    assert sorted(applied(record)) == sorted(IN_HAND)
    assert record.end is not None
    assert (record.end["outcome"], record.end["err_type"]) == ("interrupted", "interrupted_by_operator")
    assert record.end["next"].replace("inv ", "relup ", 1) in ran.stdout
    assert {host: row["outcome"] for host, row in record.rows.items() if host in IN_HAND} == dict.fromkeys(
        IN_HAND, "upgraded"
    )
    assert marked(lab) == {host: FIRST if host in IN_HAND else None for host in lab.hosts}
    assert [cluster_lock(lab, host) for host in lab.hosts] == [None] * len(lab.hosts)
    resume(controller, lab, given)


def test_twice(lab: Lab, controller: Controller, held: HeldHops, given: list[str], under_way: Command) -> None:
    under_way.send_signal(signal.SIGINT)
    controller.await_event(under_way, "the interruption", is_event("interrupt", count=1))
    under_way.send_signal(signal.SIGINT)
    ran = ended(under_way, timeout=30)
    assert ran.status == 1
    record = controller.last
    assert record.end is not None
    assert (record.end["outcome"], record.end["next"]) == ("interrupted", f"inv upgrade --resume {record.run}")
    # The hops still wait, and go on without anyone to watch.
    assert set(marked(lab).values()) == {None}
    for host in IN_HAND:
        held.release(lab.host(host).node)
    for host in IN_HAND:
        until(f"{host} ends whole", partial(successes, lab, host), timeout=120)
        assert lab.eval(host, "emqx_release:version()") == f'"{FIRST}"'
    locks = {host: cluster_lock(lab, host) for host in lab.hosts}
    assert {lock["run"] for lock in locks.values() if lock} == {record.run}
    resume(controller, lab, given)
