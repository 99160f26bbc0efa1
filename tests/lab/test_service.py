"""A node that a service runs is restarted by that. There is no systemd here: a stand-in notes how it is called."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Tool, gated, upgrade

HOST = "n1"
UNIT = "emqx.service"

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"{calls}"
[ "$1" = restart ] || exit 1
{restart}
"""

RESTART = """
"{wrapper}" pid >"{calls}.pid" && "{wrapper}" stop
exec "{wrapper}" start
"""


class Service:
    """The stand-in, in front of the PATH of the host's sessions."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._calls = folder / "calls"
        session = lab.host(HOST).ssh_dir / "session"
        shell, rest = session.read_text().split("\n", 1)
        session.write_text(f"{shell}\nPATH='{folder}':$PATH; export PATH\n{rest}")
        self.restarts(RESTART)

    def restarts(self, how: str) -> None:
        """What `systemctl restart` does."""
        wrapper = self._lab.host(HOST).wrapper
        path = self._folder / "systemctl"
        path.write_text(SYSTEMCTL.format(calls=self._calls, restart=how.format(wrapper=wrapper, calls=self._calls)))
        path.chmod(0o755)

    def calls(self) -> list[str]:
        """How it was called since it was last asked."""
        found = self._calls.read_text().splitlines() if self._calls.exists() else []
        self._calls.unlink(missing_ok=True)
        return found


@pytest.fixture(scope="module")
def service(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The stand-in; the host is as it was afterwards."""
    session = lab.host(HOST).ssh_dir / "session"
    whole = session.read_text()
    yield Service(lab, tmp_path_factory.mktemp("systemd"))
    session.write_text(whole)


@pytest.fixture(scope="module")
def relup(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """The tool, on an inventory in which the host's node is restarted by the service."""
    inventory = yaml.safe_load(lab.inventory_path.read_text())
    inventory["hosts"][HOST]["restart"] = "service:emqx"
    path = lab.inventory_path.with_name("by-service.yml")
    path.write_text(yaml.safe_dump(inventory))
    return Tool(path)


def test_a_rollback_restarts_the_service(lab: Lab, relup: Tool, service: Service, tarball: Path) -> None:
    pid = upgrade(lab, relup, tarball, HOST)
    assert relup.run("status", "--host", HOST).row()["facts"]["service"] == UNIT
    assert service.calls() == []
    ran = relup.run("rollback", "--host", HOST, "--yes")
    assert ran.status == 0, ran.stdout
    assert ran.row()["steps"][0]["detail"]["restarted_by"] == UNIT
    assert service.calls() == [f"restart {UNIT}"]
    assert lab.node_pid(HOST) != pid
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'


def test_a_node_that_is_down_is_started_by_the_service(lab: Lab, relup: Tool, service: Service, tarball: Path) -> None:
    upgrade(lab, relup, tarball, HOST)
    lab.stop_node(HOST)
    ran = relup.run("rollback", "--host", HOST, "--yes")
    assert ran.status == 0, ran.stdout
    assert service.calls() == [f"restart {UNIT}"]
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'


def test_a_service_that_restarts_something_else_is_found_out(
    lab: Lab, relup: Tool, service: Service, tarball: Path
) -> None:
    pid = upgrade(lab, relup, tarball, HOST)
    service.restarts("exit 0")
    ran = relup.run("rollback", "--host", HOST, "--yes")
    assert (ran.status, ran.error()["err_type"]) == (1, "restart_failed")
    assert f"Process {pid} still runs the node" in ran.error()["message"]
    service.restarts("echo 'Job for emqx.service failed.' >&2; exit 1")
    again = relup.run("rollback", "--host", HOST, "--yes")
    assert again.error()["detail"]["said"] == "Job for emqx.service failed.\n"
    assert lab.node_pid(HOST) == pid
    # Whatever it was, the next rollback goes on.
    service.restarts(RESTART)
    assert relup.run("rollback", "--host", HOST, "--yes").status == 0
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'


def test_after_a_failed_hop_too(lab: Lab, relup: Tool, service: Service, tarball: Path, tmp_path: Path) -> None:
    catalogue = gated(tmp_path / "catalogue", tmp_path / "gate")
    (tmp_path / "gate").touch()
    hop = catalogue / f"{BASE}-to-{FIRST}.relup"
    hop.write_text(hop.read_text().replace("{apply, emqx_dashboard, ready, []}", "{apply, erlang, error, [not_today]}"))
    pid = lab.node_pid(HOST)
    service.calls()
    words = ("--host", HOST, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    ran = relup.run("upgrade", *words, "--on-failure", "restart")
    assert ran.error()["err_type"] == "apply_failed", ran.stdout
    assert ran.row()["facts"]["restarted_by"] == UNIT
    assert service.calls() == [f"restart {UNIT}"]
    assert lab.node_pid(HOST) != pid
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'


def test_a_wrapper_is_what_restarts_a_node_that_no_service_runs(lab: Lab, service: Service, tarball: Path) -> None:
    tool = Tool(lab.inventory_path)
    upgrade(lab, tool, tarball, HOST)
    assert tool.run("status", "--host", HOST).row()["facts"]["service"] is None
    ran = tool.run("rollback", "--host", HOST, "--yes")
    assert ran.row()["steps"][0]["detail"]["restarted_by"] == "wrapper"
    assert not any(call.startswith("restart") for call in service.calls())
