"""A cluster that is only reached by a bastion, which is far away and lets few in at once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts.lab import BASTION, Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.hosts.test_package import versions
from tests.lab.cluster import FIRST

DELAY = 0.1
"""Seconds, each way."""

SSHD = "MaxStartups 10:30:100\n"


def far_away(machine: Machine) -> None:
    """Have the bastion take as few logins as OpenSSH does by default."""
    if machine.name == BASTION:
        machine.write("/etc/ssh/sshd_config.d/bastion.conf", SSHD)


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Hosts]:
    """Three machines behind a bastion."""
    made = Hosts(tmp_path / "machines", bastion=True, before_boot=far_away)
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
    assert behind.bastion is not None
    before = logins(behind.bastion), [logins(machine) for machine in behind.nodes]
    ran = operator.good("upgrade", "--tarball", str(tarball), "--no-backup", "--yes")
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(behind) == [FIRST] * 3
    # All three share one connection to the bastion, and are logged in to once.
    assert logins(behind.bastion) - before[0] == 1
    assert [logins(machine) for machine in behind.nodes] == [count + 1 for count in before[1]]
