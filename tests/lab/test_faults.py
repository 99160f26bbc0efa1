"""Hosts and nodes that are down, cores that are killed, keys that are wrong, and two runs at once."""

import os
import signal
import subprocess
from pathlib import Path

from lab.cluster import Lab
from tests.lab.cluster import (
    BASE,
    FIRST,
    NOTHING,
    Tool,
    code_of,
    ended,
    foreign,
    gated,
    lock,
    ours,
    until,
)
from tests.lab.core import Core


def test_killed_core_does_not_stop_the_hop(lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str) -> None:
    gate = tmp_path / "gate"
    catalogue = gated(tmp_path / "catalogue", gate)
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    started = relup.start("upgrade", *options)
    until("the hop is under way", Path(f"{gate}.reached").exists)
    os.kill(until("the lock names its owner", lambda: lock(lab, spare))["pid"], signal.SIGKILL)
    killed = ended(started)
    assert killed.status == 1
    assert killed.error(spare)["err_type"] in ("core_failed", "connection_lost")
    assert relup.run("status", "--host", spare).row(spare)["facts"]["state"] == "in-progress"
    gate.touch()
    marker = lab.root(spare) / "relup" / "current"
    until("the VM has written the marker", marker.exists)
    until("the agent has left the VM", lambda: foreign(lab, spare) == NOTHING, timeout=90)
    status = relup.run("status", "--host", spare)
    assert status.row(spare)["facts"]["state"] == "hot-upgraded"
    row = relup.run("logs", "--host", spare).row(spare)["facts"]["history"][-1]
    assert (row["status"], row["result"]) == ("finished", "success")
    assert relup.run("verify", "--host", spare, "--target", FIRST).status == 0


def test_two_runs_at_once(lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str) -> None:
    gate = tmp_path / "gate"
    catalogue = gated(tmp_path / "catalogue", gate)
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    first = relup.start("upgrade", *options)
    until("the hop is under way", Path(f"{gate}.reached").exists)
    second = relup.run("upgrade", *options)
    assert second.status == 3
    # Nor does the core begin, whoever asks it.
    for error in (second.error(spare), Core(relup, spare).upgrade(tarball, catalogue)["error"]):
        assert error["err_type"] == "upgrade_in_progress"
        assert error["detail"]["operator"]
        assert error["detail"]["since"]
    gate.touch()
    done = ended(first)
    assert done.status == 0, done.stdout
    assert [row["result"] for row in relup.run("logs", "--host", spare).row(spare)["facts"]["history"]] == ["success"]


def test_failing_hop_is_taken_back(lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str) -> None:
    before = code_of(lab, spare)
    catalogue = gated(tmp_path / "catalogue", tmp_path / "gate")
    hop = catalogue / f"{BASE}-to-{FIRST}.relup"
    # The swap before it has been made when the second instruction fails: a beam that no VM can load.
    text = hop.read_text().split("code_changes =>")[0]
    hop.write_text(
        text
        + "code_changes => [{load_module, emqx_release}, {load_module, lab_gate}, {apply, lab_gate, wait, [1]}]}.\n"
    )
    (catalogue / "lab_gate.erl").write_text(
        "-module(lab_gate).\n-export([wait/1]).\n-on_load(refuse/0).\nrefuse() -> no.\nwait(_) -> ok.\n"
    )
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    ran = relup.run("upgrade", *options)
    error = ran.error(spare)
    assert error["err_type"] == "failed_to_load", error
    assert error["detail"]["undone"] is True
    assert code_of(lab, spare) == before
    assert not (lab.root(spare) / "relup" / "current").exists()
    assert foreign(lab, spare) == NOTHING


def test_failed_callback_is_finished_by_the_next_run(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str
) -> None:
    catalogue = gated(tmp_path / "catalogue", tmp_path / "gate")
    (tmp_path / "gate").touch()
    helper = catalogue / f"emqx_post_upgrade_{FIRST}.erl"
    head = f"-module('emqx_post_upgrade_{FIRST}').\n-compile([export_all, nowarn_export_all]).\n"
    hop = catalogue / f"{BASE}-to-{FIRST}.relup"
    hop.write_text(hop.read_text().split("post_upgrade_callbacks")[0] + "post_upgrade_callbacks => [settle]}.\n")
    helper.write_text(head + "settle(_From) -> error(not_yet).\n")
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    failed = relup.run("upgrade", *options)
    assert failed.status == 1
    assert failed.error(spare)["err_type"] == "post_upgrade_failed"
    assert "not_yet" in failed.error(spare)["message"]
    assert not (lab.root(spare) / "relup" / "current").exists()
    assert relup.run("status", "--host", spare).row(spare)["facts"]["state"] == "half-done"
    helper.write_text(head + "settle(_From) -> ok.\n")
    finished = relup.run("upgrade", *options)
    assert finished.status == 0, finished.stdout
    assert (lab.root(spare) / "relup" / "current").read_text() == FIRST
    history = relup.run("logs", "--host", spare).row(spare)["facts"]["history"]
    assert [row["result"] for row in history] == ["post_upgrade_failed", "success"]


def test_controller_that_gives_up_waiting(lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str) -> None:
    gate = tmp_path / "gate"
    catalogue = gated(tmp_path / "catalogue", gate)
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    ran = relup.run("upgrade", *options, "--hop-timeout", "1")
    assert (ran.status, ran.error(spare)["err_type"]) == (1, "hop_timeout")
    assert relup.run("status", "--host", spare).row(spare)["facts"]["state"] == "in-progress"
    assert relup.run("plan", *options[:-1]).error(spare)["err_type"] == "upgrade_in_progress"
    # The hop goes on, so the run has left the lock of the cluster, and it stays unless the operator insists.
    left = relup.run("unlock", "--host", spare)
    assert (left.status, left.document["error"]["err_type"]) == (2, "run_in_progress")
    assert relup.run("unlock", "--force", "--host", spare).row(spare)["outcome"] == "unlocked"
    gate.touch()
    # The core waits for the hop that it finds under way, and then there is nothing left to do.
    again = Core(relup, spare).upgrade(tarball, catalogue)
    assert again["facts"]["nothing_to_do"]["err_type"] == "duplicate_pending_target"
    history = relup.run("logs", "--host", spare).row(spare)["facts"]["history"]
    assert [row["result"] for row in history] == ["success", "duplicate_pending_target"]
    assert relup.run("verify", "--host", spare, "--target", FIRST).status == 0
    assert relup.run("postcheck", "--host", spare).status == 0


def test_failure_past_undoing(lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, spare: str) -> None:
    """Left as it is, and said so, unless a restart is asked for: that boots the old release."""
    catalogue = gated(tmp_path / "catalogue", tmp_path / "gate")
    (tmp_path / "gate").touch()
    hop = catalogue / f"{BASE}-to-{FIRST}.relup"
    whole = hop.read_text()
    hop.write_text(whole.replace("{apply, emqx_dashboard, ready, []}", "{apply, erlang, error, [not_today]}"))
    options = ("--host", spare, "--tarball", str(tarball), "--catalogue", str(catalogue), "--yes")
    left = relup.run("upgrade", *options)
    error = left.error(spare)
    assert (left.status, error["err_type"], error["detail"]["undone"]) == (1, "apply_failed", False)
    assert "not_today" in error["message"]
    assert foreign(lab, spare) == NOTHING
    assert relup.run("status", "--host", spare).row(spare)["facts"]["state"] == "half-done"
    pid = lab.node_pid(spare)
    restarted = relup.run("upgrade", *options, "--on-failure", "restart")
    assert restarted.error(spare)["err_type"] == "apply_failed", restarted.stdout
    assert lab.node_pid(spare) != pid
    assert lab.eval(spare, "emqx_release:version()") == f'"{BASE}"'
    assert relup.run("status", "--host", spare).row(spare)["facts"]["state"] == "idle"
    hop.write_text(whole)
    assert relup.run("upgrade", *options).status == 0
    assert relup.run("verify", "--host", spare, "--target", FIRST).status == 0


def test_node_that_is_down(lab: Lab, relup: Tool, tarball: Path, spare: str) -> None:
    lab.stop_node(spare)
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", spare)
    assert (ran.status, ran.error(spare)["err_type"]) == (3, "node_not_running")
    assert relup.run("plan", "--tarball", str(tarball), "--host", spare).error(spare)["err_type"] == "node_not_running"
    # A node that is down may need the tarball yet.
    waiting = relup.run("cleanup", "--host", "n2")
    assert (waiting.status, waiting.error("n2")["err_type"]) == (3, "nodes_behind")
    assert any(lab.host(spare).node in each for each in waiting.error("n2")["detail"]["waiting_for"])
    status = relup.run("status")
    assert status.row(spare)["facts"]["state"] == "stopped"
    assert status.row("n2")["facts"]["state"] == "idle"
    assert relup.run("logs", "--host", spare).status == 0
    checked = relup.run("postcheck")
    assert checked.status == 1
    assert checked.row(spare)["outcome"] == "failed"


def test_host_that_is_down_keeps_the_rollout_from_beginning(lab: Lab, relup: Tool, tarball: Path, spare: str) -> None:
    lab.stop_sshd(spare)
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes")
    assert ran.status == 3
    assert ran.error(spare)["err_type"] == "host_unreachable"
    assert [row["outcome"] for row in ran.document["hosts"]] == ["failed", "skipped", "skipped"]
    assert ran.document["rollout"]["err_type"] == "cluster_not_whole"
    assert lab.eval("n2", "emqx_release:version()") == f'"{BASE}"'
    table = relup.run("hosts", json=False)
    assert table.status == 1
    assert "host_unreachable" in table.stdout
    assert "Traceback" not in table.stdout + table.stderr


def test_keys_that_are_wrong(lab: Lab, relup: Tool, tmp_path: Path) -> None:
    text = lab.inventory_path.read_text()
    empty, changed = tmp_path / "empty", tmp_path / "changed"
    empty.write_text("")
    known = lab.layout.known_hosts.read_text().splitlines()
    other = tmp_path / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    stranger = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    changed.write_text("".join(f"{line.split()[0]} {stranger}\n" for line in known if line.strip()))
    for known_hosts, err_type in ((empty, "host_key_unknown"), (changed, "host_key_changed")):
        inventory = tmp_path / f"{err_type}.yml"
        inventory.write_text(text.replace(str(lab.layout.known_hosts), str(known_hosts)))
        ran = Tool(inventory).run("hosts")
        assert ran.status == 1
        assert {row["error"]["err_type"] for row in ran.document["hosts"]} == {err_type}
        assert "SHA256:" in ran.stdout
    inventory = tmp_path / "login.yml"
    inventory.write_text(text.replace(str(lab.layout.client_key), str(other)))
    assert Tool(inventory).run("hosts").error()["err_type"] == "auth_failed"


def test_interrupted_staging_is_gone_on_from(lab: Lab, relup: Tool, tarball: Path, spare: str) -> None:
    staging = ours(lab, spare) / "staging"
    staging.mkdir(parents=True, mode=0o700)
    ours(lab, spare).chmod(0o700)
    half = tarball.read_bytes()[: 5 << 20]
    (staging / f"{tarball.name}.part").write_bytes(half)
    ran = relup.run("stage", "--tarball", str(tarball), "--host", spare)
    assert ran.status == 0, ran.stdout
    detail = ran.row(spare)["steps"][0]["detail"]
    assert detail["received"] == tarball.stat().st_size - len(half)
    again = relup.run("stage", "--tarball", str(tarball), "--host", spare)
    assert again.row(spare)["outcome"] == "unchanged"
    (staging / tarball.name).unlink()
    (staging / f"{tarball.name}.part").write_bytes(b"x" * (5 << 20))
    wrong = relup.run("stage", "--tarball", str(tarball), "--host", spare)
    assert wrong.status == 0, wrong.stdout
    assert (staging / tarball.name).read_bytes() == tarball.read_bytes()


def test_planted_folder_is_not_trusted(lab: Lab, relup: Tool, tarball: Path, spare: str) -> None:
    ours(lab, spare).mkdir(mode=0o777)
    ours(lab, spare).chmod(0o777)
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", spare)
    assert ran.error(spare)["err_type"] == "untrusted_dir"
    assert ran.status == 3
