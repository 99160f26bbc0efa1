"""A rollout with clients connected: one canary, then node by node, and nobody notices. In this order, on one lab."""

from pathlib import Path

from lab.browser import chromium
from lab.clients import Traffic
from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, NOTHING, foreign
from tests.lab.rollout.controller import Controller, applied, gates, is_event
from tests.lab.rollout.state import cluster_lock, successes
from tests.report_page import Look, assert_tells

ORDER = ["n5", "n6", "n1", "n2", "n3", "n4"]
"""Replicants first."""

GATES = ["verify", "cluster", "connections", "postcheck"]


def test_the_lab_has_four_cores_and_two_replicants(lab: Lab, controller: Controller) -> None:
    roles = {host: lab.eval(host, "mria_rlog:role()") for host in lab.hosts}
    assert roles == {**dict.fromkeys(ORDER[:2], "replicant"), **dict.fromkeys(ORDER[2:], "core")}
    status = controller.run("status")
    assert {row["host"]: row["facts"]["role"] for row in status.document["hosts"]} == roles


def test_check_shows_the_plan_and_changes_nothing(lab: Lab, controller: Controller, tarball: Path) -> None:
    shown = controller.run("upgrade", "--tarball", str(tarball), "--no-backup", "--check", json=False)
    assert shown.status == 0, shown.stderr
    places = [shown.stdout.index(host) for host in ORDER]
    assert places == sorted(places), shown.stdout
    assert controller.runs == []
    assert not any((lab.root(host) / "relup").exists() or cluster_lock(lab, host) for host in lab.hosts)


def test_nobody_notices(lab: Lab, controller: Controller, tarball: Path) -> None:
    pids = {host: lab.node_pid(host) for host in lab.hosts}
    before = {host: logins(lab, host) for host in lab.hosts}
    with Traffic({host: lab.mqtt_port(host) for host in lab.hosts}, clients=36) as traffic:
        ran = controller.run("upgrade", "--tarball", str(tarball), "--yes", "--no-backup")
        assert ran.status == 0, ran.stderr + ran.stdout
        evidence = traffic.stop()
    assert evidence.held, str(evidence)
    assert evidence.duplicated == 0
    assert [(row["host"], row["outcome"], row["running"]) for row in ran.document["hosts"]] == [
        (host, "upgraded", FIRST) for host in ORDER
    ]
    assert {host: lab.node_pid(host) for host in lab.hosts} == pids
    assert {host: logins(lab, host) - before[host] for host in lab.hosts} == dict.fromkeys(lab.hosts, 1)
    for host in lab.hosts:
        assert lab.eval(host, "emqx_release:version()") == f'"{FIRST}"'
        assert successes(lab, host) == [(BASE, FIRST)]
        assert cluster_lock(lab, host) is None
        assert foreign(lab, host) == NOTHING
        assert not list((lab.root(host) / "data" / "relup_remote" / "staging").iterdir())


def logins(lab: Lab, host: str) -> int:
    """How often somebody has logged in to a host."""
    return (lab.host(host).ssh_dir / "sshd.log").read_text().count("Accepted publickey")


def test_the_ledger_tells_all_of_it(controller: Controller, tarball: Path) -> None:
    (record,) = controller.runs
    request = record.request
    assert [host["host"] for host in request["hosts"]] == ORDER
    assert request["waves"] == [ORDER[:1], ORDER[1:]]
    assert request["tarball"]["sha256"] == tarball.with_name(tarball.name + ".sha256").read_text().split()[0]
    assert (request["target"], request["parallel"], request["max_failures"]) == (FIRST, 1, 0)
    assert applied(record) == ORDER
    assert [event["phase"] for event in record.events if event["event"] == "phase"] == [
        *("survey", "lock", "prepare", "waves", "cleanup")
    ]
    assert gates(record, "open") == [(wave, gate) for wave in (1, 2) for gate in GATES]
    assert gates(record, "closed") == []
    assert record.end is not None
    assert record.end["outcome"] == "done"
    assert {host: row["outcome"] for host, row in record.rows.items()} == dict.fromkeys(ORDER, "upgraded")
    times = [event["at"] for event in record.events]
    assert times == sorted(times)


def test_a_wave_asks_each_host_once_to_be_upgraded_and_once_for_its_gates(controller: Controller) -> None:
    asked: dict[str, list[str]] = {host: [] for host in ORDER}
    now = ""
    for event in controller.last.events:
        if event["event"] in ("phase", "gate", "wave"):
            now = event.get("gate") or event.get("phase") or "apply"
        elif event["event"] == "hello":
            asked[event["host"]].append(now)
    whole = ["survey", "lock", "prepare", "apply", "verify"]
    assert {host: said[: len(whole)] for host, said in asked.items()} == dict.fromkeys(ORDER, whole)
    # All that is left is the cleanup, where it had to wait for other hosts, and to give back the lock.
    assert [set(said[len(whole) :]) for said in asked.values()] == [{"cleanup"} for _ in ORDER]


def test_one_host_at_a_time(controller: Controller) -> None:
    of_hosts = [event for event in controller.last.events if is_event("host", phase="apply")(event)]
    assert [(event["host"], event["status"]) for event in of_hosts] == [
        (host, status) for host in ORDER for status in ("start", "end")
    ]
    # The rest waited for the canary's gates.
    events = controller.last.events
    opened = max(n for n, event in enumerate(events) if is_event("gate", wave=1, status="open")(event))
    second = next(n for n, event in enumerate(events) if is_event("host", phase="apply", host=ORDER[1])(event))
    assert opened < second


def test_runs_and_report_tell_of_it(controller: Controller, tmp_path: Path) -> None:
    run = controller.last.run
    listed = controller.run("runs", json=False)
    assert listed.status == 0
    assert run in listed.stdout
    page = tmp_path / "report.html"
    written = controller.run("report", run, "-o", str(page), json=False)
    assert written.status == 0, written.stderr
    text = page.read_text()
    assert all(host in text for host in (*ORDER, run, FIRST))


def test_the_page_of_the_report_shows_what_the_ledger_says(controller: Controller, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as driver:
        assert_tells(Look(driver, tmp_path), controller.last)
