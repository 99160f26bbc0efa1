"""`--check` shows what an upgrade or a rollback would do, and nothing is otherwise than before."""

import hashlib
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab.cluster import NOTHING, Tool, code_of, disk_of, foreign, ours


def all_of(lab: Lab, host: str) -> tuple[str, str, dict[str, str]]:
    """What is on a host's disk and in its node, the tool's own folder included."""
    folder = ours(lab, host)
    files = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    return disk_of(lab, host), code_of(lab, host), files


@pytest.mark.parametrize(
    ("words", "status"), [(("upgrade", "--tarball", "{tarball}", "--no-backup"), 0), (("rollback",), 0)]
)
def test_nothing_is_changed_anywhere(
    lab: Lab, tarball: Path, tmp_path: Path, words: tuple[str, ...], status: int
) -> None:
    tool = Tool(lab.inventory_path, tmp_path)
    before = {host: all_of(lab, host) for host in lab.hosts}
    command, *options = [word.format(tarball=tarball) for word in words]
    shown = tool.run(command, *options, "--check", json=False)
    # A rollback finds nothing to do here.
    assert shown.status == status
    assert shown.stdout.startswith("upgrade to") == (command == "upgrade")
    for host in lab.hosts:
        assert f"emqx{host[1:]}@127.0.0.1" in shown.stdout
        assert foreign(lab, host) == NOTHING
    assert {host: all_of(lab, host) for host in lab.hosts} == before
    # Nothing on this machine either: no run has begun.
    assert not list(tmp_path.rglob("*"))


def test_the_document_has_the_plan(lab: Lab, tarball: Path, tmp_path: Path) -> None:
    tool = Tool(lab.inventory_path, tmp_path)
    words = ("--tarball", str(tarball), "--no-backup", "--waves", "1,50%", "--parallel", "2", "--soak", "10m")
    document = tool.run("upgrade", *words, "--check").document
    plan = document["rollout"]["plan"]
    assert [len(wave) for wave in plan["waves"]] == [1, 2]
    assert (plan["parallel"], plan["gates"]["soak"], plan["target"]) == (2, 600, "5.10.5-lab")
    assert [row["outcome"] for row in document["hosts"]] == ["ready"] * 3
