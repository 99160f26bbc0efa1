"""A cluster of two for the fault matrix, of which one node is under test."""

from collections.abc import Iterator

import pytest

from lab import node as lab_node
from lab.cluster import Lab
from relup_remote.rollout import tarball
from tests.lab.cluster import BASE
from tests.lab.faults import release
from tests.lab.faults.node import Node
from tests.lab.ports import free_ports
from tests.lab.quick import QuickLab


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Not up yet: its roots are to hold a release of their own."""
    return QuickLab(tmp_path_factory.mktemp("faults"), nodes=2, ports=free_ports())


@pytest.fixture(scope="package")
def node(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node under test, as it is put back after each cell."""
    original = lab.tarball(BASE)
    base = release.base(original, tmp_path_factory.mktemp("base"))
    target = release.target(original, tmp_path_factory.mktemp("target"))
    for host in lab.layout.hosts:
        lab_node.unpack(host, base.tarball)
    try:
        lab.up()
        made = Node(lab, "n1", base, target, tarball.read(target.tarball))
        made.put_back()
        yield made
        made.close()
    finally:
        lab.down()


@pytest.fixture
def spare(node: Node) -> Iterator[Node]:
    """The node, put back afterwards."""
    yield node
    node.put_back()


@pytest.fixture(scope="package")
def ports(lab: Lab) -> dict[str, int]:
    """Where MQTT clients connect to."""
    return {host: lab.mqtt_port(host) for host in lab.hosts}
