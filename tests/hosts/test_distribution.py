"""Clusters whose nodes speak TLS to each other, with an option file, over IPv6; on each system."""

from pathlib import Path

import pytest

from lab import certificates
from lab.hosts import package
from lab.hosts.image import SYSTEMS, System
from lab.hosts.lab import Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST


def certify(machine: Machine) -> None:
    """Give a machine's node a certificate. Paths in its option file are relative to the root of the release."""
    certificates.make(machine.path(package.ETC), machine.path(package.ROOT))
    machine.chroot(package.OWNED)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.suite)
def test_an_upgrade_over_tls_and_ipv6(system: System, tmp_path: Path) -> None:
    if not system.is_ready:
        pytest.skip(f"There is no image. Make it with `inv lab.hosts.image --system {system.suite}`.")
    hosts = Hosts(
        tmp_path / "machines",
        nodes=2,
        system=system,
        ipv6=True,
        more={"cluster__proto_dist": "inet6_tls"},
        before_boot=certify,
    )
    operator = Operator(hosts, tmp_path / "state")
    try:
        hosts.up()
        seen = operator.good("status")
        # No detour by the wrapper, which would take seconds for each question.
        assert [row["facts"]["link"] for row in seen.document["hosts"]] == ["distribution"] * 2, seen.stdout
        operator.good("backup")
        ran = operator.good("upgrade", "--tarball", str(hosts.tarball(FIRST)), "--yes")
        assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 2
        assert versions(hosts) == [FIRST] * 2
        operator.good("verify", "--target", FIRST)
        operator.good("rollback", "--yes")
        assert versions(hosts) == [BASE] * 2
    finally:
        hosts.forget()
