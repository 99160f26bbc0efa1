"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the host's own history, in SQLite.

One row an attempt, written before it begins and finished whatever becomes of it. It lies under the data folder, so it
can be read with the node down, and outlives trees and tarballs.
"""

import json
import os
import time
from contextlib import closing, contextmanager
from typing import Any, Dict, Iterator, List, Optional

from .protocol import Failure

FILE = "journal.sqlite3"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS attempts (
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
    extra TEXT NOT NULL            -- JSON: hop, modules, seconds …
)
"""
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
)


class Journal:
    """The history below a folder of ours. Every method raises `Failure` journal_unusable."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)

    def begin(self, run: str, operator: str, from_vsn: Optional[str], target: Optional[str], options: Any) -> int:
        """Writes the row of an attempt that begins; returns its id."""
        return int(
            self._execute(
                "INSERT INTO attempts (run, operator, started_at, from_vsn, target_vsn, options, status, extra)"
                " VALUES (?, ?, ?, ?, ?, ?, 'in-progress', '{}')",
                (run, operator, _now(), from_vsn, target, json.dumps(options, sort_keys=True)),
            )
        )

    def note(self, row: int, extra: Dict[str, Any]) -> None:
        """Puts facts into the row of an attempt under way."""
        self._execute("UPDATE attempts SET extra = ? WHERE id = ?", (json.dumps(extra, sort_keys=True), row))

    def finish(self, row: int, result: str, stage: Optional[str] = None, details: Optional[str] = None) -> None:
        """Ends the row: `result` is ``success`` or an err_type."""
        self._execute(
            "UPDATE attempts SET finished_at = ?, status = 'finished', result = ?, stage = ?, details = ? WHERE id = ?",
            (_now(), result, stage, details, row),
        )

    def rows(self, limit: int = 0) -> List[Dict[str, Any]]:
        """The attempts, oldest first; with a `limit`, the newest so many."""
        if not os.path.exists(self.path):
            return []
        query = "SELECT {} FROM attempts ORDER BY id DESC LIMIT ?".format(", ".join(_COLUMNS))  # noqa: S608
        with self._connection() as connection:
            found = connection.execute(query, (limit if limit > 0 else -1,)).fetchall()
        return [_row(values) for values in reversed(found)]

    def clear(self) -> int:
        """Removes all rows but one under way; returns how many."""
        if not os.path.exists(self.path):
            return 0
        before = len(self.rows())
        self._execute("DELETE FROM attempts WHERE status = 'finished'", ())
        return before - len(self.rows())

    def _execute(self, statement: str, values: Any) -> int:
        with self._connection() as connection, connection:
            return int(connection.execute(statement, values).lastrowid or 0)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        # Late, for requests that leave the history alone.
        import sqlite3  # noqa: PLC0415

        try:
            with closing(sqlite3.connect(self.path, timeout=10)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                # Whoever made the file may have ended before it held a table.
                connection.execute(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise Failure("journal_unusable", "{}: {}.".format(self.path, error), detail={"path": self.path})


def _row(values: Any) -> Dict[str, Any]:
    row = dict(zip(_COLUMNS, values))
    row["options"] = json.loads(row["options"])
    row["extra"] = json.loads(row["extra"])
    row["source"] = "journal"
    return row


def _now() -> int:
    return int(time.time() * 1000)
