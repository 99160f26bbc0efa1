"""One command at a time on a node: who is in the way is named, unless it is dead."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from relup_remote.core.lock import FILE, Lock
from relup_remote.rollout.rows import Row
from tests.lab.cluster import Tool, lock, ours
from tests.lab.core import Core

HOST = "n2"
DEAD = {"operator": "bob@desk", "run": "run-1", "command": "upgrade", "pid": 1 << 22, "since": 1_000}

CHANGING = {
    "stage": ("staged", None),
    "cleanup": ("cleaned", None),
    "rollback": ("nothing to do", None),
    "upgrade": ("refused", "no_relup_entry"),
}
"""Commands that take the lock, and how each ends on a node where nothing of an upgrade is, without a catalogue."""


@pytest.fixture
def folder(lab: Lab) -> Iterator[Path]:
    """Our folder on the host."""
    path = ours(lab, HOST)
    path.mkdir(mode=0o700, exist_ok=True)
    yield path
    shutil.rmtree(path)


def carried_out(relup: Tool, command: str, tarball: Path, empty: Path) -> tuple[Row, str]:
    """The row of a command that changes as little of the node as it can, and what the operator was told."""
    if command in ("upgrade", "rollback"):
        # By the command line they would be refused after a look that takes no lock.
        core = Core(relup, HOST)
        row = core.upgrade(tarball, empty) if command == "upgrade" else core.ask(command)
        return row, "\n".join(core.notes)
    given = {"stage": ["--tarball", str(tarball)], "cleanup": ["--anyway", "--yes"]}
    ran = relup.run(command, "--host", HOST, *given[command])
    return ran.row(HOST), ran.stderr


@pytest.mark.parametrize("command", CHANGING)
def test_who_holds_the_lock_is_named(relup: Tool, tarball: Path, tmp_path: Path, folder: Path, command: str) -> None:
    with Lock(str(folder), {"operator": "bob@desk", "run": "run-1", "command": "upgrade"}):
        held = json.loads((folder / FILE).read_text())
        row, _said = carried_out(relup, command, tarball, tmp_path)
        error = row["error"]
        assert (row["outcome"], error["err_type"]) == ("refused", "upgrade_in_progress")
        assert error["detail"] == held
        assert error["message"].startswith("upgrade of bob@desk works on this node since 20")
        assert json.loads((folder / FILE).read_text()) == held


@pytest.mark.parametrize("command", CHANGING)
def test_the_lock_of_a_dead_owner_is_taken_over_and_told(
    lab: Lab, relup: Tool, tarball: Path, tmp_path: Path, folder: Path, command: str
) -> None:
    (folder / FILE).write_text(json.dumps(DEAD))
    (folder / "staging").mkdir(mode=0o700)
    (folder / "staging" / "emqx.tar.gz.part").touch()
    row, told = carried_out(relup, command, tarball, tmp_path)
    outcome, err_type = CHANGING[command]
    assert (row["outcome"], (row["error"] or {}).get("err_type")) == (outcome, err_type), told
    said = "The lock that upgrade of bob@desk held since 1970-01-01 00:00:01 UTC was taken over: its owner is dead."
    assert told.count(said) == 1
    assert lock(lab, HOST) is None
