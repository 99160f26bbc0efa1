"""A cluster of packages, run by systemd, whose operator is a user with sudo to the node's."""

from pathlib import Path

import yaml

from lab.hosts.lab import Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.lab.cluster import BASE, FIRST

ROOT = "/usr/lib/emqx"
UNIT = "emqx.service"


def main_pid(machine: Machine) -> str:
    """The process that systemd runs as the node."""
    return machine.run("systemctl", "show", "--property=MainPID", "--value", UNIT).strip()


def versions(hosts: Hosts) -> list[str | None]:
    """What each node says that it runs."""
    return [row.running for row in hosts.status() if row.service is not None]


def test_backup_upgrade_restart_rollback_restore(cluster: Hosts, operator: Operator, tarball: Path) -> None:
    first = cluster.nodes[0]
    pids = [main_pid(machine) for machine in cluster.nodes]
    operator.good("backup")

    ran = operator.good("upgrade", "--tarball", str(tarball), "--yes")
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(cluster) == [FIRST] * 3
    assert [main_pid(machine) for machine in cluster.nodes] == pids
    # Nothing of it belongs to anyone but the node's user.
    assert first.run("find", ROOT, "/var/lib/emqx", "/etc/emqx", "!", "-user", "emqx") == ""

    first.run("systemctl", "restart", UNIT)
    cluster.await_cluster()
    assert versions(cluster) == [FIRST] * 3
    operator.good("verify", "--target", FIRST)

    ran = operator.good("rollback", "--yes")
    assert [row["facts"]["restarted_by"] for row in ran.document["hosts"]] == [UNIT] * 3
    assert versions(cluster) == [BASE] * 3
    assert main_pid(first) not in ("0", pids[0])

    first.run("systemctl", "stop", UNIT)
    ran = operator.run("restore", "--host", "n1", "--yes")
    assert (ran.status, ran.error()["err_type"]) == (3, "node_not_running")
    assert f"root_dir; packages install it in {ROOT}" in ran.error()["hint"]
    Operator(cluster, operator.state, with_root_dir(cluster)).good("restore", "--host", "n1", "--yes")
    first.run("systemctl", "start", UNIT)
    cluster.await_cluster()
    operator.good("verify", "--target", BASE)


def with_root_dir(hosts: Hosts) -> Path:
    """An inventory that says where the nodes are installed."""
    inventory = yaml.safe_load(hosts.inventory.read_text())
    inventory["defaults"]["root_dir"] = ROOT
    path = hosts.inventory.with_name("with-root-dir.yml")
    path.write_text(yaml.safe_dump(inventory))
    return path
