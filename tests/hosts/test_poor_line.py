"""A run over a line that is slow, loses much, and is down for a while, but not so long that a host counts as lost."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Timer

import pytest

from lab.hosts.lab import Hosts
from lab.hosts.network import OPERATOR
from tests.hosts.clients import watching
from tests.hosts.operator import Operator
from tests.hosts.steps import during
from tests.hosts.test_package import versions
from tests.lab.cluster import FIRST

DELAY, LOSS = 0.15, 0.05
"""Seconds each way, and the share of the frames that get lost each way."""

DOWN = 10.0
"""Seconds for which the operator's cable is pulled while a tarball is under way."""


@pytest.fixture
def poor(cluster: Hosts) -> Iterator[partial[None]]:
    """The operator's line is poor as long as the test lasts; what is called makes it so again."""
    make = partial(cluster.network.link, OPERATOR, delay=DELAY, loss=LOSS)
    make()
    try:
        yield make
    finally:
        cluster.network.link(OPERATOR)


def test_an_upgrade_over_a_poor_line(cluster: Hosts, operator: Operator, tarball: Path, poor: partial[None]) -> None:
    back = Timer(DOWN, poor)

    def pull() -> None:
        cluster.network.link(OPERATOR, plugged=False)
        back.start()

    with watching(cluster) as seen:
        ran = during(operator, "n2", "stage", pull, "--tarball", str(tarball), "--no-backup", "--yes")
    back.join()
    assert ran.status == 0, ran.stdout + ran.stderr
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(cluster) == [FIRST] * 3
    assert seen[0].held, seen[0]
