"""Cleaning up: asked first, shown with sizes, refused while nodes are behind, and done on all hosts."""

from pathlib import Path

from lab.cluster import Lab
from tests.lab.cluster import BASE, FIRST, Ran, Tool, ours

HOSTS = ("n1", "n2", "n3")


def staged(lab: Lab, host: str) -> list[str]:
    folder = ours(lab, host) / "staging"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def error_of_all(ran: Ran) -> set[str]:
    return {row["error"]["err_type"] for row in ran.document["hosts"]}


def test_where_nothing_is_left_nothing_is_asked(relup: Tool) -> None:
    for words in (["cleanup"], ["cleanup", "--check"], ["cleanup", "--yes", "--trees"]):
        ran = relup.run(*words)
        assert (ran.status, {row["outcome"] for row in ran.document["hosts"]}) == (0, {"unchanged"})
    assert relup.run("cleanup", "--check", json=False).stdout == "nothing to remove\n"


def test_what_would_be_removed_is_shown_with_sizes_and_asked(lab: Lab, relup: Tool, tarball: Path) -> None:
    assert relup.run("stage", "--tarball", str(tarball), "--host", "n1,n2").status == 0
    partial = lab.root("n2") / "relup" / ".relup_remote-9.9.9-abc"
    partial.mkdir(parents=True)
    (partial / "beam").write_bytes(b"x" * 5000)
    before = {host: staged(lab, host) for host in HOSTS}
    checked = relup.run("cleanup", "--check")
    assert checked.status == 0
    sidecar = tarball.with_name(tarball.name + ".sha256").stat().st_size
    size = tarball.stat().st_size + sidecar
    facts = {host: checked.row(host)["facts"] for host in HOSTS}
    assert {host: found["bytes"] for host, found in facts.items()} == {"n1": size, "n2": size + 5000, "n3": 0}
    assert {"path": str(partial), "bytes": 5000} in facts["n2"]["would_remove"]
    shown = relup.run("cleanup", "--check", json=False).stdout
    assert str(ours(lab, "n1") / "staging" / tarball.name) in shown
    assert shown.splitlines()[-1].startswith("in all ")
    assert shown.splitlines()[-1].endswith(" on 2 hosts")
    unasked = relup.run("cleanup")
    assert (unasked.status, unasked.document["error"]["err_type"]) == (2, "no_terminal")
    assert "in all " in unasked.stderr
    assert {host: staged(lab, host) for host in HOSTS} == before
    ran = relup.run("cleanup", "--yes")
    assert (ran.status, [row["outcome"] for row in ran.document["hosts"]]) == (0, ["cleaned", "cleaned", "unchanged"])
    assert ran.row("n2")["steps"][0]["detail"]["bytes"] == size + 5000
    assert {host: staged(lab, host) for host in HOSTS} == {host: [] for host in HOSTS}
    assert not partial.exists()


def test_nodes_that_are_behind_are_named_and_nothing_is_removed(lab: Lab, relup: Tool, tarball: Path) -> None:
    assert relup.run("stage", "--tarball", str(tarball)).status == 0
    upgraded = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", "n1")
    assert upgraded.status == 0, upgraded.stdout
    ran = relup.run("cleanup", "--yes")
    assert ran.status == 3
    assert error_of_all(ran) == {"nodes_behind"}
    waiting = ran.error("n1")["detail"]["waiting_for"]
    assert waiting == [f"{lab.host(host).node} runs {BASE}" for host in ("n2", "n3")]
    assert all(staged(lab, host) for host in HOSTS)
    anyway = relup.run("cleanup", "--yes", "--anyway")
    assert (anyway.status, {row["outcome"] for row in anyway.document["hosts"]}) == (0, {"cleaned"})
    assert not any(staged(lab, host) for host in HOSTS)


def test_a_tree_is_spare_once_neither_the_next_boot_nor_the_vm_needs_it(lab: Lab, relup: Tool) -> None:
    """n1 runs the first target hot, as the test before has left it."""
    tree = lab.root("n1") / "relup" / FIRST
    asked = ("cleanup", "--check", "--anyway", "--trees", "--host", "n1")
    assert relup.run(*asked).row()["facts"]["trees"] == []
    lab.stop_node("n1")
    assert relup.run(*asked).row()["facts"]["trees"] == []
    lab.start_node("n1")
    assert relup.run(*asked).row()["facts"]["trees"] == []
    assert relup.run("rollback", "--host", "n1", "--yes").status == 0
    told = relup.run("cleanup", "--check").row()
    assert (told["outcome"], [found["path"] for found in told["facts"]["trees"]]) == ("unchanged", [str(tree)])
    assert told["facts"]["trees"][0]["bytes"] > 1 << 20
    kept = relup.run("cleanup", "--yes")
    assert (kept.status, kept.row()["outcome"]) == (0, "unchanged")
    assert "not needed; --trees removes it too" in relup.run("cleanup", "--check", json=False).stdout
    assert tree.is_dir()
    gone = relup.run("cleanup", "--yes", "--trees")
    assert gone.row()["steps"][0]["detail"]["removed"] == [str(tree)]
    assert not tree.exists()
    assert relup.run("verify").status == 0
