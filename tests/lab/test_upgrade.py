"""A cluster upgraded while clients are on it, then once more, booted, and rolled back: in this order, on one lab."""

from pathlib import Path

from lab.clients import Traffic
from lab.cluster import Lab
from relup_remote.core.protocol import STEPS
from tests.lab.cluster import BASE, FIRST, NOTHING, SECOND, Tool, foreign

HOSTS = ("n1", "n2", "n3")


def test_cluster_is_upgraded_and_nobody_notices(lab: Lab, relup: Tool, tarball: Path) -> None:
    pids = {host: lab.node_pid(host) for host in HOSTS}
    with Traffic({host: lab.mqtt_port(host) for host in HOSTS}, clients=30) as traffic:
        plan = relup.run("plan", "--tarball", str(tarball))
        assert plan.status == 0, plan.stderr + plan.stdout
        assert {row["outcome"] for row in plan.document["hosts"]} == {"ready"}
        upgrade = relup.run("upgrade", "--tarball", str(tarball), "--yes")
        assert upgrade.status == 0, upgrade.stderr + upgrade.stdout
        evidence = traffic.stop()
    assert evidence.held, str(evidence)
    assert [row["outcome"] for row in upgrade.document["hosts"]] == ["upgraded"] * 3
    for row in upgrade.document["hosts"]:
        assert [step["step"] for step in row["steps"]] == list(STEPS)
        assert (row["from"], row["target"], row["running"]) == (BASE, FIRST, FIRST)
        assert row["facts"]["link"] == "distribution"
        assert {each["status"] for each in row["facts"]["hop"]["instructions"]} == {"done"}
        assert row["facts"]["connections_before"] > 0
    # The clean-up waits for the last node, and then happens everywhere.
    assert {row["steps"][-1]["status"] for row in upgrade.document["hosts"]} == {"ok"}
    assert {host: lab.node_pid(host) for host in HOSTS} == pids
    for host in HOSTS:
        assert lab.eval(host, "emqx_release:version()") == f'"{FIRST}"'
        assert (lab.root(host) / "relup" / "current").read_text() == FIRST
        assert not list((lab.root(host) / "data" / "relup_remote" / "staging").iterdir())
        assert foreign(lab, host) == NOTHING


def test_all_that_looks_at_it_agrees(relup: Tool) -> None:
    assert relup.run("verify", "--target", FIRST).status == 0
    wrong = relup.run("verify", "--target", SECOND)
    assert wrong.status == 1
    assert wrong.error("n1")["err_type"] == "verify_failed"
    assert set(wrong.error("n1")["detail"]["signals"]) >= {"running version", "marker"}
    status = relup.run("status")
    assert [row["facts"]["state"] for row in status.document["hosts"]] == ["hot-upgraded"] * 3
    logs = relup.run("logs")
    for row in logs.document["hosts"]:
        last = row["facts"]["history"][-1]
        assert (last["from_vsn"], last["target_vsn"], last["result"]) == (BASE, FIRST, "success")
        assert last["finished_at"] >= last["started_at"]
    checked = relup.run("postcheck")
    assert checked.status == 0, checked.stdout


def test_where_the_target_is_pending_nothing_is_to_do(relup: Tool, tarball: Path) -> None:
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", "n1")
    assert (ran.status, ran.nothing_to_do()) == (0, "duplicate_pending_target")


def test_second_hop_without_and_with_a_restart_between(lab: Lab, relup: Tool, second_tarball: Path) -> None:
    lab.stop_node("n2")
    lab.start_node("n2")
    root = lab.root("n2")
    assert lab.eval("n2", "emqx_release:version()") == f'"{FIRST}"'
    assert lab.eval("n2", "code:root_dir()") == f'"{root}/relup/{FIRST}"'
    ran = relup.run("upgrade", "--tarball", str(second_tarball), "--yes")
    assert ran.status == 0, ran.stdout
    for host in HOSTS:
        trees = sorted(path.name for path in (lab.root(host) / "relup").iterdir())
        assert trees == [FIRST, SECOND, "current"]
        assert not (lab.root(host) / "relup" / FIRST / "relup").exists()
        assert lab.eval(host, "emqx_release:version()") == f'"{SECOND}"'
        assert foreign(lab, host) == NOTHING
    # Once booted, all of the code is the target's, hopped from or not.
    for host in ("n1", "n2"):
        lab.stop_node(host)
        lab.start_node(host)
        assert lab.eval(host, "code:root_dir()") == f'"{lab.root(host)}/relup/{SECOND}"'
    assert relup.run("verify", "--target", SECOND).status == 0
    assert relup.run("postcheck").status == 0


def test_rollback_says_what_it_is_and_boots_the_base(lab: Lab, relup: Tool) -> None:
    silent = relup.run("rollback", "--host", "n3", json=False)
    assert silent.status == 2
    assert "restart" in silent.stderr + silent.stdout
    before = lab.node_pid("n3")
    ran = relup.run("rollback", "--host", "n3", "--purge", "--yes")
    assert ran.status == 0, ran.stdout
    assert ran.row("n3")["outcome"] == "rolled back"
    assert lab.node_pid("n3") != before
    assert lab.eval("n3", "emqx_release:version()") == f'"{BASE}"'
    assert not (lab.root("n3") / "relup" / "current").exists()
    assert not (lab.root("n3") / "relup" / SECOND).exists()
    again = relup.run("rollback", "--host", "n3", "--yes")
    assert (again.status, again.nothing_to_do()) == (0, "nothing_to_roll_back")


def test_logs_are_cleared_only_when_asked_for(relup: Tool) -> None:
    assert relup.run("logs-clear", "--host", "n3", json=False).status == 2
    assert relup.run("logs", "--host", "n3").row("n3")["facts"]["history"]
    assert relup.run("logs-clear", "--host", "n3", "--yes").status == 0
    assert relup.run("logs", "--host", "n3").row("n3")["facts"]["history"] == []
