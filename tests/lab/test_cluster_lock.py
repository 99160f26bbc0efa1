"""One operator at a time in a cluster: what a lock by hand does, who may take it off, and two who lock at once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Lab
from relup_remote.core.cluster_lock import FILE
from tests.lab.cluster import Ran, Tool, disk_of, ended, ours

HOSTS = ("n1", "n2", "n3")
ROUNDS = 4


def locks(lab: Lab) -> dict[str, Any]:
    """The lock on each host that has one."""
    files = {host: ours(lab, host) / FILE for host in HOSTS}
    return {host: json.loads(path.read_text()) for host, path in files.items() if path.exists()}


@pytest.fixture(scope="module")
def tools(lab: Lab) -> dict[str, Tool]:
    """The tool of each operator."""
    with pytest.MonkeyPatch.context() as patch:
        made = {}
        for operator in ("alice", "bob"):
            patch.setenv("LOGNAME", operator)
            made[operator] = Tool(lab.inventory_path)
    return made


@pytest.fixture
def alice(tools: dict[str, Tool]) -> Tool:
    return tools["alice"]


@pytest.fixture
def bob(tools: dict[str, Tool]) -> Tool:
    return tools["bob"]


@pytest.fixture(autouse=True)
def without_locks(lab: Lab, alice: Tool) -> Iterator[None]:
    """Every test ends without a lock."""
    yield
    alice.run("unlock", "--force")
    assert locks(lab) == {}


def outcomes(ran: Ran) -> dict[str, str]:
    return {row["host"]: row["outcome"] for row in ran.document["hosts"]}


def test_a_lock_by_hand_keeps_everyone_out_until_it_is_taken_off(
    lab: Lab, alice: Tool, bob: Tool, tarball: Path
) -> None:
    assert alice.run("stage", "--tarball", str(tarball)).status == 0
    taken = alice.run("lock", "--why", "moving disks")
    assert (taken.status, outcomes(taken)) == (0, dict.fromkeys(HOSTS, "locked"))
    found = locks(lab)
    assert {(lock["operator"].partition("@")[0], lock["why"]) for lock in found.values()} == {("alice", "moving disks")}
    assert {lock["run"] for lock in found.values()} == {taken.document["run"]}
    disk = disk_of(lab, "n1")
    for words in (
        ["stage", "--tarball", str(tarball)],
        ["prepare", "--tarball", str(tarball)],
        ["upgrade", "--tarball", str(tarball), "--yes"],
        ["cleanup", "--yes", "--anyway"],
        ["plan", "--tarball", str(tarball)],
        # Refused before anybody is asked: there is no terminal here, which would be wrong use.
        ["cleanup", "--anyway"],
        ["logs-clear"],
    ):
        ran = alice.run(*words)
        assert ran.status == 3, f"{words}: {ran.stdout}"
        assert ran.error()["err_type"] == "cluster_locked", words
        assert "moving disks" in ran.error()["message"]
    assert disk_of(lab, "n1") == disk
    assert locks(lab) == found
    for command in ("hosts", "status"):
        shown = alice.run(command, json=False).stdout
        assert sum(found["n1"]["operator"] in line for line in shown.splitlines()) == len(HOSTS)
    refused = bob.run("unlock")
    assert (refused.status, refused.error()["err_type"]) == (3, "cluster_locked")
    assert locks(lab) == found
    freed = alice.run("unlock")
    assert (freed.status, outcomes(freed)) == (0, dict.fromkeys(HOSTS, "unlocked"))
    assert outcomes(alice.run("unlock")) == dict.fromkeys(HOSTS, "unchanged")
    assert outcomes(alice.run("cleanup", "--yes", "--anyway")) == dict.fromkeys(HOSTS, "cleaned")


def test_plan_and_status_tell_a_survey_all_it_asks_for(lab: Lab, alice: Tool, tarball: Path) -> None:
    alice.run("lock", "--host", "n1")
    facts = alice.run("plan", "--tarball", str(tarball)).row()["facts"]
    nodes = sorted(lab.host(host).node for host in HOSTS)
    assert facts["cluster"] == {"running": nodes, "stopped": []}
    assert facts["bytes_to_send"] == tarball.stat().st_size
    assert facts["cluster_lock"] == locks(lab)["n1"]
    assert {"marker", "role", "connections", "service", "nodes"} <= set(facts)
    status = alice.run("status").row()["facts"]
    assert {key: status[key] for key in ("cluster", "cluster_lock", "role", "service")} == {
        key: facts[key] for key in ("cluster", "cluster_lock", "role", "service")
    }


def test_all_hosts_or_none(lab: Lab, alice: Tool, bob: Tool) -> None:
    bob.run("lock", "--host", "n3", "--why", "mine")
    found = locks(lab)
    assert list(found) == ["n3"]
    for hosts in ("n1,n2,n3", "n1,n2", "n2"):
        ran = alice.run("lock", "--host", hosts)
        assert ran.status == 3, ran.stdout
        assert {row["error"]["err_type"] for row in ran.document["hosts"] if row["error"]} == {"cluster_locked"}
        assert locks(lab) == found
    seen = alice.run("lock", "--host", "n2").error("n2")
    assert seen["detail"] == {**found["n3"], "node": lab.host("n3").node}
    # No run holds it that could be resumed.
    assert "unlock --force" in seen["hint"]
    assert "--resume" not in seen["hint"]


def test_hosts_that_were_locked_in_vain_are_told_so(lab: Lab, alice: Tool) -> None:
    lab.stop_sshd("n2")
    try:
        ran = alice.run("lock")
    finally:
        lab.start_sshd("n2")
    assert (ran.status, outcomes(ran)) == (1, {"n1": "unchanged", "n2": "failed", "n3": "unchanged"})
    assert ran.row("n1")["warnings"] == [{"message": "Not locked, because other hosts could not be locked: n2."}]
    assert locks(lab) == {}


def test_a_host_whose_node_is_down_is_locked_too(lab: Lab, alice: Tool, spare: str) -> None:
    lab.stop_node(spare)
    assert outcomes(alice.run("lock")) == dict.fromkeys(HOSTS, "locked")
    facts = alice.run("status").row(spare)["facts"]
    assert facts["cluster_lock"] == locks(lab)[spare]
    assert alice.run("status").row("n2")["facts"]["cluster"]["stopped"] == [lab.host(spare).node]
    assert outcomes(alice.run("unlock")) == dict.fromkeys(HOSTS, "unlocked")


def test_two_operators_at_once_never_both_get_the_cluster(lab: Lab, tools: dict[str, Tool]) -> None:
    halves = {"alice": ("n1",), "bob": ("n2", "n3")}
    for _ in range(ROUNDS):
        started = [tools[operator].start("lock", "--host", ",".join(hosts)) for operator, hosts in halves.items()]
        done = [ended(process) for process in started]
        won = [hosts for ran, hosts in zip(done, halves.values(), strict=True) if ran.status == 0]
        assert len(won) <= 1, [ran.stdout for ran in done]
        assert {ran.status for ran in done} <= {0, 3}
        # Who did not get all of its half has nothing of it.
        assert set(locks(lab)) == {host for hosts in won for host in hosts}
        tools["alice"].run("unlock", "--force")
