"""A rollback stops the node, moves the marker, and starts the node; whatever fails, what is there is said truly."""

import re
import socket
import subprocess
from pathlib import Path

import pytest

from lab.cluster import Lab
from lab.layout import LOOPBACK
from relup_remote.core.emqx_vars import LAST_LINES
from relup_remote.core.site import STAMP
from tests.lab.cluster import BASE, FIRST, Tool, upgrade
from tests.lab.core import Core

HOST = "n1"


# The host is put back after each test.
pytestmark = pytest.mark.usefixtures("spare")


@pytest.fixture
def upgraded(lab: Lab, relup: Tool, tarball: Path, spare: str) -> int:
    """The process of the host's node, which runs the first target hot."""
    return upgrade(lab, relup, tarball, spare)


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
    row = core.ask("rollback", stop_timeout=1)
    assert (row["outcome"], row["error"]["err_type"]) == ("refused", "restart_failed")
    assert f"It still runs, as process {upgraded}" in row["error"]["message"]
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
    ended = relup.run("rollback", "--host", HOST, "--yes")
    assert ended.nothing_to_do() == "nothing_to_roll_back"
    assert lab.node_pid(HOST) is None
    assert relup.run("rollback", "--host", HOST).status == 0, "nobody is asked where nothing is to do"


def as_the_vendor_leaves_it(lab: Lab) -> Path:
    """Take out of the deployed tree what was set for it to find the base's folders; the file."""
    path = lab.root(HOST) / "relup" / FIRST / "releases" / "emqx_vars"
    path.write_text(path.read_text().partition(LAST_LINES)[0] + LAST_LINES + "\n")
    (path.parents[1] / STAMP).unlink()
    return path


def test_a_tree_that_would_not_boot_is_told_by_all_that_look_and_put_right_as_they_say(
    lab: Lab, relup: Tool, upgraded: int
) -> None:
    assert relup.run("verify", "--host", HOST).row()["facts"]["boot"]["problems"] == []
    path = as_the_vendor_leaves_it(lab)
    verified = relup.run("verify", "--host", HOST)
    assert verified.error()["err_type"] == "verify_failed"
    said = verified.error()["detail"]["signals"]["boot"]
    assert f"EMQX_ETC_DIR is {path.parents[1]}/etc: it leads to a folder of the tree" in said
    (warning,) = relup.run("status", "--host", HOST).row()["warnings"]
    assert warning["err_type"] == "would_not_boot"
    checked = relup.run("postcheck", "--host", HOST)
    assert "boot" in checked.error()["detail"]
    command = warning["hint"].partition(": ")[2]
    assert said.endswith(command)
    subprocess.run(["sh", "-c", command], check=True)
    assert relup.run("verify", "--host", HOST).status == 0
    assert relup.run("status", "--host", HOST).row()["warnings"] == []
    lab.stop_node(HOST)
    lab.start_node(HOST)
    assert lab.eval(HOST, "code:root_dir()") == f'"{path.parents[1]}"'
    assert lab.node_pid(HOST) != upgraded


def test_back_from_a_tree_whose_wrapper_can_not_even_stop_the_node(lab: Lab, relup: Tool, upgraded: int) -> None:
    as_the_vendor_leaves_it(lab)
    ran = relup.run("rollback", "--host", HOST, "--yes")
    assert ran.status == 0, ran.stdout
    assert ran.row()["facts"]["stopped_by"] == "signal"
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'
    assert lab.node_pid(HOST) != upgraded


def test_no_way_back_to_a_release_that_can_not_read_the_configuration(lab: Lab, relup: Tool, upgraded: int) -> None:
    with Conf(lab) as conf:
        conf.add("node.of_the_new_release = 1")
        refused = relup.run("rollback", "--host", HOST, "--yes")
        assert (refused.row()["outcome"], refused.error()["err_type"]) == ("refused", "would_not_boot")
        assert "unknown key node.of_the_new_release" in refused.error()["message"]
        # Before anybody is asked: there is no terminal to ask on here.
        unasked = relup.run("rollback", "--host", HOST)
        assert (unasked.status, unasked.error()["err_type"]) == (3, "would_not_boot")
        assert not (lab.root(HOST) / "data" / "relup_remote" / "work").exists()
        assert marker(lab).read_text() == FIRST
        assert lab.node_pid(HOST) == upgraded
        assert relup.run("rollback", "--host", HOST, "--yes", "--no-boot-check").status == 0
    assert lab.node_pid(HOST) != upgraded


def test_an_upgrade_stops_before_the_hop_where_the_target_can_not_read_the_configuration(
    lab: Lab, relup: Tool, tarball: Path
) -> None:
    pid = lab.node_pid(HOST)
    words = ("--tarball", str(tarball), "--yes", "--host", HOST)
    with Conf(lab) as conf:
        conf.add("node.of_the_old_release = 1")
        failed = relup.run("upgrade", *words)
    assert (failed.error()["err_type"], failed.error()["stage"]) == ("would_not_boot", "extract")
    assert "unknown key node.of_the_old_release" in failed.error()["message"]
    assert not (lab.root(HOST) / "relup" / FIRST).exists()
    assert lab.eval(HOST, "emqx_release:version()") == f'"{BASE}"'
    ran = relup.run("upgrade", *words)
    assert ran.status == 0, ran.stdout
    boot = ran.row()["facts"]["boot"]
    assert {each["name"] for each in boot["set"]} == {"EMQX_ETC_DIR", "EMQX_LOG_DIR", "EMQX_PLUGINS_DIR"}
    assert boot["configuration"]["checked"]
    assert any("can read the configuration" in sentence for sentence in boot["said"])
    assert lab.node_pid(HOST) == pid


def test_the_plan_says_what_will_be_set_and_why(relup: Tool, tarball: Path) -> None:
    words = ("--tarball", str(tarball), "--host", HOST)
    (row,) = relup.run("plan", *words).document["hosts"]
    assert row["outcome"] == "ready"
    assert "boot_not_proven" not in {warning["err_type"] for warning in row["warnings"]}
    # It is set where the tree is deployed already.
    said = re.compile("EMQX_ETC_DIR (will be|is) set to")
    assert said.search(row["facts"]["boot"]["said"][0])
    assert said.search(" ".join(relup.run("plan", *words, json=False).stdout.split()))
