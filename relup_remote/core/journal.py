"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the host's own history, in SQLite.

One row an attempt, written before it begins and finished whatever becomes of it. It lies under the data folder, so it
can be read with the node down, and outlives trees and tarballs. An attempt is an upgrade or a rollback that holds the
node's lock and has found the node, so one that is refused after that has a row too. A command that was turned away
before, because another one works on the node or there is no node, has none.

The file's schema is numbered, by SQLite's ``user_version``: an older file is brought up to date when it is opened, a
newer one is left alone.
"""

import json
import os
import stat
import time
from contextlib import closing, contextmanager
from typing import Any, Dict, Iterator, List, Optional

from .protocol import Failure

FILE = "journal.sqlite3"
SCHEMA = 1
"""The number of the schema below; 0 was the same without its last two columns."""

_SCHEMA = """
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,             -- the run of the controller it belongs to
    operator TEXT NOT NULL,        -- who, as the controller says
    started_at INTEGER NOT NULL,   -- milliseconds since the epoch
    finished_at INTEGER,
    from_vsn TEXT,
    target_vsn TEXT,
    options TEXT NOT NULL,         -- JSON
    status TEXT NOT NULL,          -- in-progress | finished
    result TEXT,                   -- success, or an err_type
    stage TEXT,
    details TEXT,
    extra TEXT NOT NULL,           -- JSON: command, hop, modules, changed …
    vm TEXT,                       -- the VM it began with (see history.py), empty: none ran, NULL: not known
    mirrored INTEGER NOT NULL      -- whether the plugin's table in the VM has all of it, as far as there is one
)
"""
_FROM_0 = (
    "ALTER TABLE attempts ADD COLUMN vm TEXT",
    "ALTER TABLE attempts ADD COLUMN mirrored INTEGER NOT NULL DEFAULT 1",
)
_COLUMNS = (
    "id",
    "run",
    "operator",
    "started_at",
    "finished_at",
    "from_vsn",
    "target_vsn",
    "options",
    "status",
    "result",
    "stage",
    "details",
    "extra",
    "vm",
    "mirrored",
)
_HINT = "Check the file named. One that is damaged can be moved away: the history then begins anew."


class Journal:
    """The history below a folder of ours. Every method raises `Failure` journal_unusable, disk_full."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)

    def begin(
        self,
        run: str,
        operator: str,
        from_vsn: Optional[str],
        target: Optional[str],
        options: Any,
        vm: Optional[str] = None,
    ) -> int:
        """Writes the row of an attempt that begins; returns its id."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO attempts (run, operator, started_at, from_vsn, target_vsn, options, vm,"
                " status, extra, mirrored) VALUES (?, ?, ?, ?, ?, ?, ?, 'in-progress', '{}', 0)",
                (run, operator, _now(), from_vsn, target, json.dumps(options, sort_keys=True), vm),
            )
            return int(cursor.lastrowid)

    def note(self, row: int, extra: Dict[str, Any]) -> None:
        """Puts facts into the row of an attempt under way."""
        with self._transaction() as connection:
            connection.execute("UPDATE attempts SET extra = ? WHERE id = ?", (json.dumps(extra, sort_keys=True), row))

    def finish(
        self,
        row: int,
        result: str,
        stage: Optional[str] = None,
        details: Optional[str] = None,
        at: Optional[int] = None,
    ) -> None:
        """Ends the row: `result` is ``success`` or an err_type. A row that has ended already stays as it is.

        `at` says when the attempt ended, in milliseconds since the epoch, where that was not just now.
        """
        with self._transaction() as connection:
            connection.execute(
                # A clock that was set back must not make an attempt end before it began.
                "UPDATE attempts SET finished_at = max(started_at, ?), status = 'finished', result = ?, stage = ?,"
                " details = ?, mirrored = 0 WHERE id = ? AND status = 'in-progress'",
                (_now() if at is None else at, result, stage, details, row),
            )

    def amend(self, row: int, extra: Dict[str, Any]) -> None:
        """Makes a row that had ended in its verification a success."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE attempts SET result = 'success', stage = NULL, details = NULL, extra = ?, mirrored = 0"
                " WHERE id = ? AND status = 'finished' AND stage = 'verify'",
                (json.dumps(extra, sort_keys=True), row),
            )

    def mark_mirrored(self, row: int) -> None:
        """Notes that nothing of the row, as it is, is left to be written into the plugin's table."""
        with self._transaction() as connection:
            connection.execute("UPDATE attempts SET mirrored = 1 WHERE id = ?", (row,))

    def rows(self, limit: int = 0) -> List[Dict[str, Any]]:
        """The attempts, in the order in which they began; with a `limit`, the newest so many."""
        if not os.path.lexists(self.path):
            return []
        query = "SELECT {} FROM attempts ORDER BY id DESC LIMIT ?".format(", ".join(_COLUMNS))  # noqa: S608
        with self._connection() as connection:
            found = connection.execute(query, (limit if limit > 0 else -1,)).fetchall()
        return [self._row(values) for values in reversed(found)]

    def clear(self) -> int:
        """Removes all rows but those under way; returns how many."""
        if not os.path.lexists(self.path):
            return 0
        with self._transaction() as connection:
            return int(connection.execute("DELETE FROM attempts WHERE status = 'finished'").rowcount)

    def check(self, writing: bool = False) -> None:
        """Sees whether the whole history can be read, and, with `writing`, added to. Changes no row."""
        if not os.path.lexists(self.path):
            return
        with self._connection() as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise self._unusable(str(found))
            if writing:
                # A file that can't be written is met by the first write, not by the transaction it is in.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("PRAGMA user_version = {}".format(SCHEMA))
                connection.rollback()
        self.rows()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        # Late, for requests that leave the history alone.
        try:
            import sqlite3  # noqa: PLC0415
        except ImportError:
            raise self._unusable("the host's Python has no sqlite3", _NO_SQLITE)
        self._refuse_others()
        try:
            # No transactions but our own.
            with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                # Kept, not removed and made anew: when a hop has ended there may be no inode left to end its row with.
                connection.execute("PRAGMA journal_mode = PERSIST")
                self._update(connection)
                yield connection
        # Damage may show as text that is none: SQLite gives the words of its complaint from the file.
        except (sqlite3.Error, OSError, UnicodeError) as error:
            if "disk is full" in str(error):
                raise Failure("disk_full", "No space is left for {}.".format(self.path), detail={"path": self.path})
            raise self._unusable(str(error))

    def _refuse_others(self) -> None:
        """Raises `Failure` unless the file, where there is one, is a regular file of ours alone."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(str(error.strerror))
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
            raise self._unusable("it is not a file of ours alone")

    def _update(self, connection: Any) -> None:
        """Brings the file's schema up to date; makes it where there is none yet."""
        if _version(connection) == SCHEMA:
            return
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            version = _version(connection)
            if version not in (0, SCHEMA):
                raise self._unusable("a newer relup_remote has written it (schema {})".format(version))
            if version == 0:
                columns = tuple(column[1] for column in connection.execute("PRAGMA table_info(attempts)"))
                # Whoever made the file may have ended before it held a table.
                for statement in _FROM_0 if columns == _COLUMNS[:-2] else (_SCHEMA,):
                    connection.execute(statement)
                connection.execute("PRAGMA user_version = {}".format(SCHEMA))

    def _row(self, values: Any) -> Dict[str, Any]:
        row = dict(zip(_COLUMNS, values))
        try:
            row["options"] = json.loads(row["options"])
            row["extra"] = json.loads(row["extra"])
            for name, kinds in _KINDS.items():
                if not isinstance(row[name], kinds):
                    raise ValueError(name)
        except (TypeError, ValueError) as error:
            raise self._unusable("row {} is damaged ({})".format(row["id"], error))
        row["mirrored"] = bool(row["mirrored"])
        row["source"] = "journal"
        return row

    def _unusable(self, reason: str, hint: Optional[str] = None) -> Failure:
        message = "{}: {}.".format(self.path, reason)
        return Failure("journal_unusable", message, detail={"path": self.path}, hint=hint or _HINT)


_NO_SQLITE = "Install the module sqlite3 for it, or name another Python with `python` in the inventory."


_NULL = type(None)
_KINDS: Dict[str, Any] = {
    "run": str,
    "operator": str,
    "started_at": int,
    "finished_at": (int, _NULL),
    "from_vsn": (str, _NULL),
    "target_vsn": (str, _NULL),
    "options": dict,
    "status": str,
    "result": (str, _NULL),
    "stage": (str, _NULL),
    "details": (str, _NULL),
    "extra": dict,
    "vm": (str, _NULL),
}


def _version(connection: Any) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _now() -> int:
    return int(time.time() * 1000)
