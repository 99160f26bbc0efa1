"""A rollback stops the node, moves the marker, and starts the node; whatever fails, what is there is said truly."""

import socket
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.layout import LOOPBACK
from tests.lab.cluster import BASE, FIRST, Tool
from tests.lab.core import Core

HOST = "n1"


@pytest.fixture
def upgraded(lab: Lab, relup: Tool, tarball: Path) -> int:
    """The process of the host's node, which runs the first target hot."""
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", HOST)
    assert ran.status == 0, ran.stdout
    pid = lab.node_pid(HOST)
    assert pid is not None
    return pid


@pytest.fixture(autouse=True)
def whole(lab: Lab, spare: str) -> None:
    """The host is put back afterwards."""


class Conf:
    """The node's configuration, with lines added for the time of a block."""

    def __init__(self, lab: Lab) -> None:
        self._path = lab.root(HOST) / "etc" / "emqx.conf"

    def __enter__(self) -> "Conf":
        self._whole = self._path.read_text()
        return self

    def add(self, line: str) -> None:
        self._path.write_text(f"{self._path.read_text()}{line}\n")

    def __exit__(self, *_: object) -> None:
        self._path.write_text(self._whole)


def marker(lab: Lab) -> Path:
    return lab.root(HOST) / "relup" / "current"


def test_by_a_wrapper_without_restart(lab: Lab, relup: Tool, upgraded: int) -> None:
    ran = relup.run("rollback", "--host", HOST, "--yes")
    assert ran.status == 0, ran.stdout
    facts = ran.row()["facts"]
    assert (facts["restarted_by"], facts["stopped_by"]) == ("wrapper", "wrapper")
    assert not marker(lab).exists()
    assert lab.node_pid(HOST) != upgraded
    assert lab.eval(HOST, "{emqx_release:version(), code:root_dir()}") == f'{{"{BASE}","{lab.root(HOST)}"}}'


def test_a_node_that_can_not_be_stopped_goes_on_as_it_was(lab: Lab, relup: Tool, upgraded: int) -> None:
    core = Core(relup, HOST)
    lab.eval(HOST, "os:set_signal(sigterm, ignore)")
    with Conf(lab) as conf:
        conf.add("node.stop_timeout = 1")
        row = core.ask("rollback", stop_timeout=1)
    assert (row["outcome"], row["error"]["err_type"]) == ("refused", "restart_failed")
    assert f"runs on as process {upgraded}" in row["error"]["message"]
    assert "did not stop" in row["error"]["detail"]["said"]
    assert marker(lab).read_text() == FIRST
    assert lab.node_pid(HOST) == upgraded
    # Nothing was changed, so nothing is half done.
    assert relup.run("status", "--host", HOST).row()["facts"]["state"] == "hot-upgraded"
    assert relup.run("verify", "--host", HOST).status == 0
    lab.eval(HOST, "os:set_signal(sigterm, default)")
    assert relup.run("rollback", "--host", HOST, "--yes").status == 0


def test_a_node_that_does_not_start_is_said_to_be_down_and_finished_by_the_next_rollback(
    lab: Lab, relup: Tool, upgraded: int
) -> None:
    with socket.socket() as taken, Conf(lab) as conf:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        conf.add(f"listeners.tcp.default.bind = {LOOPBACK}:{taken.getsockname()[1]}")
        ran = relup.run("rollback", "--host", HOST, "--yes")
    assert (ran.status, ran.error()["err_type"]) == (1, "restart_failed")
    root = lab.root(HOST)
    assert f"The node is down; its next start boots {root}." in ran.error()["message"]
    assert f"{root}/bin/emqx start" in ran.error()["message"]
    detail = ran.error()["detail"]
    assert (detail["vm"], detail["marker"], detail["next_boot"]) == (None, None, str(root))
    assert "did not start" in detail["said"]
    assert not marker(lab).exists()
    history = relup.run("status", "--host", HOST).row()["facts"]["history"]
    assert [row["result"] for row in history] == ["restart_failed"]
    again = relup.run("rollback", "--host", HOST, "--yes")
    assert again.status == 0, again.stdout
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'
    assert lab.node_pid(HOST) != upgraded


def test_a_node_that_an_operator_has_stopped_is_not_started_by_a_rollback(lab: Lab, relup: Tool) -> None:
    lab.stop_node(HOST)
    refused = relup.run("rollback", "--host", HOST, "--yes")
    assert refused.error()["err_type"] == "nothing_to_roll_back"
    assert lab.node_pid(HOST) is None
