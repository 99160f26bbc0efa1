"""The history on a host."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import relup_remote
from relup_remote.core.journal import FILE, Journal
from relup_remote.core.protocol import Failure


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path))


def attempt(journal: Journal, run: str = "run-1") -> int:
    return journal.begin(run, "alice@desk", "5.10.4", "5.10.5", {"force": True})


def test_no_history_yet(journal: Journal, tmp_path: Path) -> None:
    assert journal.rows() == []
    assert journal.clear() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_row_from_beginning_to_end(journal: Journal) -> None:
    before = int(time.time() * 1000)
    row = attempt(journal)
    (begun,) = journal.rows()
    assert before <= begun.pop("started_at") <= int(time.time() * 1000)
    assert begun == {
        "id": row,
        "run": "run-1",
        "operator": "alice@desk",
        "finished_at": None,
        "from_vsn": "5.10.4",
        "target_vsn": "5.10.5",
        "options": {"force": True},
        "status": "in-progress",
        "result": None,
        "stage": None,
        "details": None,
        "extra": {},
        "vm": None,
        "mirrored": False,
        "source": "journal",
    }
    journal.note(row, {"hop": "ü.relup", "seconds": 1.5})
    journal.finish(row, "sha256_mismatch", "checksum", "It's not the one.")
    (finished,) = journal.rows()
    assert finished["finished_at"] >= finished["started_at"]
    assert finished["extra"] == {"hop": "ü.relup", "seconds": 1.5}
    assert (finished["status"], finished["result"], finished["stage"], finished["details"]) == (
        "finished",
        "sha256_mismatch",
        "checksum",
        "It's not the one.",
    )


def test_versions_may_be_unknown(journal: Journal) -> None:
    journal.begin("run", "bob", None, None, {})
    (row,) = journal.rows()
    assert (row["from_vsn"], row["target_vsn"]) == (None, None)


@pytest.mark.parametrize(
    ("limit", "runs"), [(0, "abcde"), (1, "e"), (3, "cde"), (5, "abcde"), (9, "abcde"), (-1, "abcde")]
)
def test_a_limit_keeps_the_newest_oldest_first(journal: Journal, limit: int, runs: str) -> None:
    for run in "abcde":
        attempt(journal, run)
    assert [row["run"] for row in journal.rows(limit)] == list(runs)


def test_clearing_keeps_what_is_under_way(journal: Journal) -> None:
    for run in ("a", "b"):
        journal.finish(attempt(journal, run), "success")
    attempt(journal, "c")
    assert journal.clear() == 2
    assert [row["run"] for row in journal.rows()] == ["c"]
    assert journal.clear() == 0


def test_a_row_outlives_whoever_wrote_it(journal: Journal, tmp_path: Path) -> None:
    code = (
        "import os, sys; from relup_remote.core.journal import Journal;"
        "Journal(sys.argv[1]).begin('run', 'x', None, None, {}); os.kill(os.getpid(), 9)"
    )
    root = Path(relup_remote.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, check=False)
    assert done.returncode == -9
    (row,) = journal.rows()
    assert row["status"] == "in-progress"


def test_a_file_left_empty_is_an_empty_history(journal: Journal, tmp_path: Path) -> None:
    """What a core leaves that ends between making the file and its first row."""
    (tmp_path / FILE).touch()
    assert journal.rows() == []
    assert journal.clear() == 0
    attempt(journal)
    assert len(journal.rows()) == 1


CALLS: dict[str, Callable[[Journal], Any]] = {
    "begin": attempt,
    "note": lambda journal: journal.note(1, {}),
    "finish": lambda journal: journal.finish(1, "success"),
    "rows": lambda journal: journal.rows(),
    "clear": lambda journal: journal.clear(),
}


@pytest.mark.parametrize("damage", ["garbage", "folder", "other table"])
@pytest.mark.parametrize("call", CALLS)
def test_a_history_that_can_not_be_used(journal: Journal, tmp_path: Path, call: str, damage: str) -> None:
    path = tmp_path / FILE
    if damage == "garbage":
        path.write_bytes(b"no database" * 500)
    elif damage == "folder":
        path.mkdir()
    else:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE attempts (something TEXT)")
        other.commit()
        other.close()
    with pytest.raises(Failure) as caught:
        CALLS[call](journal)
    assert caught.value.err_type == "journal_unusable"
    assert caught.value.detail == {"path": str(path)}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        attempt(Journal(str(tmp_path / "absent")))
    assert caught.value.err_type == "journal_unusable"
