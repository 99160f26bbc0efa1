"""The history on a host."""

import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import relup_remote
from relup_remote.core import journal as module
from relup_remote.core.journal import FILE, SCHEMA, Journal
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


def test_a_row_ends_once(journal: Journal) -> None:
    row = attempt(journal)
    journal.finish(row, "success")
    journal.finish(row, "interrupted")
    assert [row["result"] for row in journal.rows()] == ["success"]


def test_a_row_does_not_end_before_it_began(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock does; nor do rows change places."""
    row = attempt(journal, "first")
    monkeypatch.setattr(module, "_now", lambda: 1000)
    journal.finish(row, "success")
    journal.finish(attempt(journal, "second"), "success", at=500)
    first, second = journal.rows()
    assert (first["run"], first["finished_at"]) == ("first", first["started_at"])
    assert (second["started_at"], second["finished_at"]) == (1000, 1000)


def test_what_is_written_has_to_be_mirrored_again(journal: Journal) -> None:
    row = attempt(journal)
    assert [row["mirrored"] for row in journal.rows()] == [False]
    journal.mark_mirrored(row)
    assert [row["mirrored"] for row in journal.rows()] == [True]
    journal.finish(row, "success")
    assert [row["mirrored"] for row in journal.rows()] == [False]


def old_file(path: Path) -> None:
    """A history as the first version of the schema had it."""
    columns = (
        "id INTEGER PRIMARY KEY, run TEXT NOT NULL, operator TEXT NOT NULL, started_at INTEGER NOT NULL,"
        " finished_at INTEGER, from_vsn TEXT, target_vsn TEXT, options TEXT NOT NULL, status TEXT NOT NULL,"
        " result TEXT, stage TEXT, details TEXT, extra TEXT NOT NULL"
    )
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(f"CREATE TABLE attempts ({columns})")
        values = (1, "old", "bob", 5, 6, "1.0", "1.1", "{}", "finished", "success", None, None, '{"changed": true}')
        old.execute(f"INSERT INTO attempts VALUES ({', '.join('?' * len(values))})", values)


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_file_of_an_older_version_goes_on(journal: Journal, tmp_path: Path) -> None:
    old_file(tmp_path / FILE)
    attempt(journal, "new")
    old, new = journal.rows()
    # What was over before there was anything to mirror to stays out of it.
    assert (old["run"], old["vm"], old["mirrored"]) == ("old", None, True)
    assert (new["run"], new["mirrored"]) == ("new", False)
    assert version(tmp_path / FILE) == SCHEMA
    assert [column for column in old if column != "source"] == [column for column in new if column != "source"]


def test_a_file_of_a_newer_version_is_left_alone(journal: Journal, tmp_path: Path) -> None:
    attempt(journal)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    content = (tmp_path / FILE).read_bytes()
    for call in CALLS.values():
        with pytest.raises(Failure, match="newer relup_remote"):
            call(journal)
    assert (tmp_path / FILE).read_bytes() == content


def test_two_that_bring_it_up_to_date_at_once(tmp_path: Path) -> None:
    old_file(tmp_path / FILE)
    code = (
        "import sys; from relup_remote.core.journal import Journal; sys.stdin.read();"
        "Journal(sys.argv[1]).begin(sys.argv[2], 'x', None, None, {})"
    )
    root = Path(relup_remote.__file__).parent.parent
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen([*command, run], cwd=root, stdin=subprocess.PIPE) for run in "abcd"]
    for process in started:
        assert process.stdin
        process.stdin.close()
    assert [process.wait(30) for process in started] == [0, 0, 0, 0]
    assert sorted(row["run"] for row in Journal(str(tmp_path)).rows()) == ["a", "b", "c", "d", "old"]


CALLS: dict[str, Callable[[Journal], Any]] = {
    "begin": attempt,
    "note": lambda journal: journal.note(1, {}),
    "finish": lambda journal: journal.finish(1, "success"),
    "rows": lambda journal: journal.rows(),
    "clear": lambda journal: journal.clear(),
    "mark_mirrored": lambda journal: journal.mark_mirrored(1),
    "check": lambda journal: journal.check(),
}


@pytest.mark.parametrize("damage", ["garbage", "folder", "other table", "link", "pipe", "open to others"])
@pytest.mark.parametrize("call", CALLS)
def test_a_history_that_can_not_be_used(journal: Journal, tmp_path: Path, call: str, damage: str) -> None:
    path = tmp_path / FILE
    if damage == "garbage":
        path.write_bytes(b"no database" * 500)
    elif damage == "folder":
        path.mkdir()
    elif damage == "link":
        attempt(Journal(str(tmp_path.parent)))
        path.symlink_to(tmp_path.parent / FILE)
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage == "open to others":
        attempt(journal)
        path.chmod(0o666)
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


def test_damage_anywhere_has_a_name(tmp_path: Path) -> None:
    """Of a file with some bytes overwritten, all is read, or it is said that it can't be."""
    journal, path = Journal(str(tmp_path)), tmp_path / FILE
    for number in range(40):
        row = journal.begin(f"run-{number}", "alice@desk", "5.10.4", "5.10.5", {"tarball": "x" * 200})
        journal.finish(row, "sha256_mismatch", "checksum", "It's not the one." * 20)
    whole, rows = path.read_bytes(), journal.rows()
    chance, unusable = random.Random(4200), 0
    for _ in range(150):
        damaged = bytearray(whole)
        at = chance.randrange(len(damaged) - 16)
        damaged[at : at + 16] = chance.randbytes(16)
        path.write_bytes(damaged)
        try:
            journal.check(writing=True)
            assert len(journal.rows()) <= len(rows)
        except Failure as failure:
            assert failure.err_type == "journal_unusable"
            assert str(path) in failure.message
            assert "moved away" in failure.hint
            unusable += 1
    assert unusable > 20


@pytest.mark.parametrize("statement", ["extra = '[]'", "options = '{'", "started_at = 'soon'", "run = x'ff'"])
def test_a_damaged_row_has_a_name(journal: Journal, tmp_path: Path, statement: str) -> None:
    attempt(journal)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute(f"UPDATE attempts SET {statement}")
    with pytest.raises(Failure, match="row 1 is damaged") as caught:
        journal.check()
    assert caught.value.err_type == "journal_unusable"


def test_looking_whether_it_can_be_written_changes_nothing(journal: Journal, tmp_path: Path) -> None:
    journal.check(writing=True)
    assert list(tmp_path.iterdir()) == []
    attempt(journal)
    content = (tmp_path / FILE).read_bytes()
    journal.check(writing=True)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_python_without_sqlite(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with pytest.raises(Failure, match="no sqlite3") as caught:
        attempt(journal)
    assert caught.value.err_type == "journal_unusable"
    # The file is as good as ever.
    assert "another Python" in caught.value.hint


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can come to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))"
READ_ONLY = "import os; os.geteuid() or os.seteuid(65534)"


@pytest.mark.parametrize("obstacle", [FULL, READ_ONLY], ids=["full", "read-only"])
@pytest.mark.parametrize(
    "call", ["begin('r', 'x', None, None, {})", "finish(1, 'success')", "note(1, {'a': 'b'})", "check(writing=True)"]
)
def test_a_disk_that_takes_nothing(open_folder: Path, obstacle: str, call: str) -> None:
    """What can't be written is said, and nothing of it is there; reading goes on."""
    before = attempt(Journal(str(open_folder)))
    (open_folder / FILE).chmod(0o444)
    open_folder.chmod(0o555)
    code = (
        "import sqlite3, sys\n"
        "from relup_remote.core.journal import Journal\n"
        "from relup_remote.core.protocol import Failure\n"
        f"{obstacle}\n"
        "journal = Journal(sys.argv[1])\n"
        "journal.check()\n"
        f"try: journal.{call}\n"
        "except Failure as failure: print(failure.err_type, len(journal.rows()))\n"
    )
    root = Path(relup_remote.__file__).parent.parent
    command = [sys.executable, "-c", code, str(open_folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "journal_unusable 1\n"
    (row,) = Journal(str(open_folder)).rows()
    assert (row["id"], row["status"], row["extra"]) == (before, "in-progress", {})
