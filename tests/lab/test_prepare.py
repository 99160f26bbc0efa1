"""Preparing hosts ahead: what it leaves, that nothing takes it for a deployed release, and what becomes of it."""

from pathlib import Path

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Ran, Tool, code_of, ours
from tests.lab.core import Core

HOSTS = ("n1", "n2", "n3")


def outcomes(ran: Ran) -> dict[str, str]:
    return {row["host"]: row["outcome"] for row in ran.document["hosts"]}


def steps(ran: Ran, host: str) -> dict[str, str]:
    return {step["step"]: step["status"] for step in ran.row(host)["steps"]}


def trees(lab: Lab) -> dict[str, list[str]]:
    return {host: sorted(path.name for path in (lab.root(host) / "relup").glob("*")) for host in HOSTS}


def test_preparing_changes_no_node(lab: Lab, relup: Tool, tarball: Path) -> None:
    before = {host: (lab.node_pid(host), code_of(lab, host)) for host in HOSTS}
    ran = relup.run("prepare", "--tarball", str(tarball), "--parallel", "2")
    assert (ran.status, outcomes(ran)) == (0, dict.fromkeys(HOSTS, "prepared")), ran.stdout
    done = {"stage": "ok", "checksum": "ok", "patches": "ok", "extract": "ok"}
    assert {host: steps(ran, host) for host in HOSTS} == dict.fromkeys(HOSTS, done)
    assert trees(lab) == {host: [FIRST] for host in HOSTS}
    for row in ran.document["hosts"]:
        # What is told of its boot must not say that it is booted.
        assert row["facts"]["boot"]["said"][-1].startswith(f"The wrapper of relup/{FIRST} can read the configuration")
    assert {host: (lab.node_pid(host), code_of(lab, host)) for host in HOSTS} == before
    assert not [row for host in HOSTS for row in relup.run("logs", "--host", host).row(host)["facts"]["history"]]


def test_nothing_takes_the_tree_for_a_deployed_one(lab: Lab, relup: Tool) -> None:
    for row in relup.run("status").document["hosts"]:
        assert (row["running"], row["facts"]["marker"], row["facts"]["state"]) == (BASE, None, "idle")
        assert row["facts"]["boot_root"] == str(lab.root(row["host"]))
    assert outcomes(relup.run("verify")) == dict.fromkeys(HOSTS, "verified")
    assert relup.run("rollback", "--host", "n1", "--yes").nothing_to_do() == "nothing_to_roll_back"
    lab.stop_node("n1")
    lab.start_node("n1")
    assert relup.run("status", "--host", "n1").row()["running"] == BASE


def test_what_is_prepared_is_found_and_what_was_changed_since_is_done_again(
    lab: Lab, relup: Tool, tarball: Path
) -> None:
    beam = next((lab.root("n2") / "relup" / FIRST / "lib").glob("*/ebin/emqx_stats.beam"))
    content = beam.read_bytes()
    beam.write_bytes(content[::-1])
    found = relup.run("plan", "--tarball", str(tarball)).document["hosts"]
    assert {row["host"]: row["facts"]["prepared"] for row in found} == {"n1": True, "n2": False, "n3": True}
    shown = relup.run("upgrade", "--tarball", str(tarball), "--check", json=False).stdout
    assert "before the first wave all hosts will be prepared, at most 16 at once" in shown
    ran = relup.run("prepare", "--tarball", str(tarball))
    assert outcomes(ran) == dict.fromkeys(HOSTS, "prepared")
    assert {host: steps(ran, host)["extract"] for host in HOSTS} == {"n1": "unchanged", "n2": "ok", "n3": "unchanged"}
    assert beam.read_bytes() == content
    again = relup.run("upgrade", "--tarball", str(tarball), "--check", json=False).stdout
    assert "all hosts are prepared; before the first wave that will be checked again" in again


def test_a_host_that_has_the_tarball_says_so_before_it_checks_anything(relup: Tool, tarball: Path) -> None:
    core = Core(relup, "n1")
    assert core.upgrade(tarball, command="prepare")["outcome"] == "prepared"
    assert [event["event"] for event in core.heard[:2]] == ["hello", "has"]


def test_cleanup_removes_what_was_prepared(lab: Lab, relup: Tool, tarball: Path) -> None:
    ran = relup.run("cleanup", "--yes", "--host", "n3")
    assert outcomes(ran) == {"n3": "cleaned"}
    assert not list((lab.root("n3") / "relup").iterdir())
    assert not list((ours(lab, "n3") / "staging").iterdir())
    # A host that would be refused gets nothing; the others are prepared.
    patches = lab.root("n3") / "data" / "patches"
    patches.mkdir(exist_ok=True)
    (patches / "emqx_stats.beam").touch()
    refused = relup.run("prepare", "--tarball", str(tarball))
    (patches / "emqx_stats.beam").unlink()
    assert (refused.status, outcomes(refused)) == (1, {"n1": "prepared", "n2": "prepared", "n3": "refused"})
    assert refused.error("n3")["err_type"] == "patches_dir_not_empty"
    assert trees(lab) == {"n1": [FIRST], "n2": [FIRST], "n3": []}


def test_an_upgrade_uses_it_and_a_cleanup_leaves_what_is_used(lab: Lab, relup: Tool, tarball: Path) -> None:
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", "n1,n2")
    assert ran.status == 0, ran.stdout + ran.stderr
    assert steps(ran, "n1") == {
        "stage": "unchanged",
        "checksum": "ok",
        "patches": "ok",
        "extract": "unchanged",
        "apply": "ok",
        "verify": "ok",
        "cleanup": "skipped",
    }
    prepared = relup.run("prepare", "--tarball", str(tarball))
    assert outcomes(prepared) == {"n1": "nothing to do", "n2": "nothing to do", "n3": "prepared"}
    assert relup.run("cleanup", "--yes", "--anyway").status == 0
    assert trees(lab) == {"n1": [FIRST, "current"], "n2": [FIRST, "current"], "n3": []}
