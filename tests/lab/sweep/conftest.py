"""Two machines that can lose power, one after the other or both at once, and what they are judged by."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.cluster import Lab
from lab.layout import PROJECT
from relup_remote.host.bootstrap import compiled
from relup_remote.host.payload import payload
from tests.lab.cluster import BASE, FIRST, SECOND, Tool
from tests.lab.ports import free_ports
from tests.lab.quick import QuickLab
from tests.lab.sweep.machine import Machine
from tests.lab.sweep.scenarios import Releases

MACHINES = 2


@pytest.fixture(scope="package")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Nodes of the first release, each a cluster by itself."""
    core = tmp_path_factory.mktemp("core") / "core.pyz"
    core.write_bytes(compiled(payload().content))
    with ExitStack() as stack:
        found = []
        for _ in range(MACHINES):
            lab = QuickLab(tmp_path_factory.mktemp("machine"), nodes=1, ports=free_ports())
            stack.callback(lab.down)
            lab.up()
            keep_agent(lab)
            found.append(Machine(lab, core))
        yield found


def keep_agent(lab: Lab) -> None:
    """Look at the node as operators do before they upgrade it: all runs then find the compiled agent on the host."""
    tool = Tool(lab.inventory_path)
    assert tool.run("verify").status == 0
    assert tool.run("plan", "--tarball", str(lab.tarball(FIRST))).status == 0
    assert list((lab.host("n1").home / ".cache" / "relup_remote").glob("agent-*"))


@pytest.fixture(scope="package")
def releases(machines: list[Machine], tmp_path_factory: pytest.TempPathFactory) -> Releases:
    """All there is to know about the releases that are swept."""
    lab = machines[0].lab
    tarballs = {version: lab.tarball(version) for version in (BASE, FIRST, SECOND)}
    found = Releases(tarballs, tmp_path_factory.mktemp("releases"), PROJECT / "priv" / "relup")
    found.learn(machines[0])
    return found


@pytest.fixture(scope="package")
def lab(machines: list[Machine]) -> Lab:
    """The lab of the first machine, for tests by the command line."""
    return machines[0].lab


@pytest.fixture(scope="package")
def relup(lab: Lab) -> Tool:
    """The tool, on that lab's inventory."""
    return Tool(lab.inventory_path)
