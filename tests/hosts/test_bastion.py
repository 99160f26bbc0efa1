"""A cluster that is only reached by a bastion, which is far away, lets few in at once and allows few sessions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts.lab import BASTION, Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST

DELAY = 0.1
"""Seconds, each way."""

NODES, SESSIONS = 6, 2
SSHD = f"MaxStartups 10:30:100\nMaxSessions {SESSIONS}\n"


def far_away(machine: Machine) -> None:
    """Have the bastion take as few logins at once as OpenSSH does by default, with few sessions on each."""
    if machine.name == BASTION:
        machine.write("/etc/ssh/sshd_config.d/bastion.conf", SSHD)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Hosts]:
    """Machines behind a bastion, three times as many as a login to it may have sessions."""
    made = Hosts(tmp_path / "machines", nodes=NODES, bastion=True, before_boot=far_away)
    try:
        made.up()
        made.network.link("operator", delay=DELAY)
        yield made
    finally:
        made.forget()


def logins(machine: Machine) -> int:
    """How many logins a machine has let in."""
    told = machine.run("journalctl", "--unit=ssh", "--output=cat", "--no-pager")
    return told.count("Accepted publickey for ops")


def test_an_upgrade_behind_a_bastion(behind: Hosts, tmp_path: Path, tarball: Path) -> None:
    operator = Operator(behind, tmp_path / "state")

    def counted(outcome: str, version: str, command: str, *options: str) -> None:
        """A run on all hosts: each of them is logged in to once, and all share one connection to the bastion."""
        assert behind.bastion is not None
        before = logins(behind.bastion), [logins(machine) for machine in behind.nodes]
        ran = operator.good(command, "--yes", *options)
        assert [row["outcome"] for row in ran.document["hosts"]] == [outcome] * NODES
        assert versions(behind) == [version] * NODES
        assert logins(behind.bastion) - before[0] == 1
        assert [logins(machine) for machine in behind.nodes] == [count + 1 for count in before[1]]

    counted("upgraded", FIRST, "upgrade", "--tarball", str(tarball), "--no-backup")
    counted("rolled back", BASE, "rollback", "--gates", "none", "--transport", "openssh")
