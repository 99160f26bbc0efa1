"""Three machines that are a cluster, for all tests of this folder, as they are after whatever test came before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import room
from lab.hosts.image import BOOKWORM
from lab.hosts.lab import Hosts
from lab.hosts.network import OPERATOR
from tests.hosts.operator import Operator
from tests.hosts.steps import GATE
from tests.lab.cluster import BASE, FIRST, gated


@pytest.fixture(scope="session", autouse=True)
def _can_be() -> None:
    """Where there can be no machines, each test says why it is skipped."""
    reason = room.why_not()
    if reason is None and not BOOKWORM.is_ready:
        reason = "There is no image. Make it with `inv lab.hosts.image`."
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="package")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """The machines, up."""
    made = Hosts(tmp_path_factory.mktemp("machines"))
    try:
        made.up()
        yield made
    finally:
        made.forget()


@pytest.fixture
def operator(machines: Hosts, tmp_path: Path) -> Operator:
    """An operator at whose hands no run has been before."""
    return Operator(machines, tmp_path / "state")


@pytest.fixture
def cluster(machines: Hosts, operator: Operator) -> Hosts:
    """The machines, with all nodes on the first release when the test begins."""
    all_back(machines, operator)
    return machines


def all_back(machines: Hosts, operator: Operator) -> None:
    """Put whatever an earlier test has left back to the first release."""
    for name in (OPERATOR, *(machine.name for machine in machines.nodes)):
        machines.network.link(name)
    machines.up()
    # A test that failed may have left a run's lock.
    operator.good("unlock", "--force")
    if any(row.running != BASE for row in machines.status()):
        operator.good("rollback", "--yes", "--gates", "none")


@pytest.fixture(scope="session")
def tarball() -> Path:
    """The target."""
    return BOOKWORM.tarball(FIRST)


@pytest.fixture
def slow(tmp_path: Path, tarball: Path) -> tuple[str, ...]:
    """Options for a hop that waits for `GATE`."""
    catalogue = gated(tmp_path / "catalogue", Path(GATE))
    return ("--tarball", str(tarball), "--catalogue", str(catalogue), "--no-backup", "--yes")
