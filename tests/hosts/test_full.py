"""A machine whose whole `/var` is full, a file system of its own: the node's data, its log, the home of its user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts.lab import Hosts
from lab.hosts.machine import Machine
from lab.hosts.network import OPERATOR
from tests.hosts.operator import Operator
from tests.hosts.steps import GATE, close_gate, during, open_gate, report_of
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST, until

MOUNT = """
systemctl stop emqx
mount -t tmpfs -o size=400m,mode=755 tmpfs /mnt
cp -a /var/. /mnt/
mount --bind /mnt /var
umount /mnt
systemctl restart systemd-journald
systemctl start emqx
"""

UNMOUNT = """
systemctl stop emqx
umount --lazy /var
systemctl restart systemd-journald
systemctl start emqx
"""

FILL = """
fallocate --length "$(df -k --output=avail /var | tail -n 1)K" /var/filler
cat /dev/zero >>/var/filler 2>/dev/null || true
"""
"""The first command is quick."""


@pytest.fixture
def full(cluster: Hosts) -> Iterator[Machine]:
    """The first machine, whose `/var` is a file system in memory; what happens there is forgotten after the test."""
    first = cluster.nodes[0]
    first.run("sh", "-euc", MOUNT)
    try:
        cluster.await_cluster()
        yield first
    finally:
        first.run("sh", "-euc", UNMOUNT)
        cluster.await_cluster()


def fill(machine: Machine) -> None:
    """Take all space that is left."""
    machine.run("sh", "-c", FILL)
    assert machine.run("df", "--output=avail", "/var").split()[1] == "0"


def make_room(machine: Machine) -> None:
    """Give the space back."""
    machine.run("rm", "-f", "/var/filler")


def there(machine: Machine) -> str:
    """All files of the node and of ours, with their sizes, but for those that a running node writes."""
    places = ("/usr/lib/emqx", "/etc/emqx", "/var/lib/emqx")
    return machine.run("find", *places, "-type", "f", "!", "-path", "*/mnesia/*", "-printf", "%p %s\n")


def test_what_is_refused_on_a_full_var(
    cluster: Hosts, full: Machine, operator: Operator, slow: tuple[str, ...]
) -> None:
    only = ("--host", full.name)
    # The core has not been on this machine before, and can't be kept there.
    full.run("rm", "-rf", "/var/lib/emqx/.cache")
    fill(full)
    before = there(full)
    assert operator.good("status", *only).row()["running"] == BASE
    for command, *options in (
        ("upgrade", *slow, *only),
        ("upgrade", *slow),
        ("backup", *only),
        ("lock", *only),
    ):
        refused = operator.run(command, *options)
        assert (refused.status, refused.error()["err_type"]) == (3, "disk_full"), refused.stdout
        assert refused.row()["steps"] == []
    # Nothing has come to the machine but the lock that each core takes, which is empty.
    assert set(there(full).splitlines()) - set(before.splitlines()) <= {"/var/lib/emqx/relup_remote/lock 0"}
    assert versions(cluster) == [BASE] * 3


def test_var_fills_up_in_the_middle(cluster: Hosts, full: Machine, operator: Operator, slow: tuple[str, ...]) -> None:
    for machine in cluster.nodes:
        open_gate(machine)
    # The tarball takes long enough for the disk to be full before it is there.
    cluster.network.link(OPERATOR, delay=0.4)
    ran = during(operator, full.name, "stage", lambda: fill(full), *slow)
    assert (ran.status, ran.error()["err_type"]) == (1, "disk_full"), ran.stdout
    assert ran.row()["outcome"] == "failed"
    assert {step["step"]: step["status"] for step in ran.row()["steps"]} == {"stage": "failed"}
    assert report_of(operator, full.name)["state"] == "failed"
    assert versions(cluster) == [BASE] * 3
    cluster.network.link(OPERATOR)

    # What was begun has kept the room that it needs.
    make_room(full)
    close_gate(full)
    # As the machine sees it: its `/var` is mounted nowhere else.
    reached = Path(f"/proc/{full.init}/root{GATE}.reached")

    def in_the_hop() -> None:
        until("the hop waits", reached.exists)
        fill(full)
        open_gate(full)

    ran = during(operator, full.name, "apply", in_the_hop, *slow, "--resume", "last")
    assert ran.status == 0, ran.stdout + ran.stderr
    assert versions(cluster) == [FIRST] * 3

    # A node that is restarted without room loses tables.
    refused = operator.run("rollback", "--yes", "--gates", "none")
    assert (refused.status, refused.error()["err_type"]) == (3, "disk_full"), refused.stdout
    assert versions(cluster) == [FIRST] * 3
    make_room(full)
    operator.good("rollback", "--yes", "--gates", "none")
    assert versions(cluster) == [BASE] * 3
