"""The runs in a few facts each, as `inv runs` lists them.

A run that has ended does not change, but it has events by the thousand. So its facts are kept beside them, with the
size of the events that they were made from: as long as that is the size, nothing else of the run is read.

To read a file for each of ten thousand runs takes a second too. So what is kept of all of them is also in one file.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from relup_remote.boundary import MAYBE_COUNT, MAYBE_MOMENT, MAYBE_TEXT, TEXT
from relup_remote.core.protocol import Failure
from relup_remote.files import read_bytes, write_private
from relup_remote.rollout.ledger import EVENTS, OVERVIEW, Record, paths_of_runs, record, runs_folder
from relup_remote.rollout.roll import done_before
from relup_remote.rollout.worked import seconds_between, seconds_worked
from relup_remote.schema import COUNT, MOMENT, SIZE, Number, Unfit, parsed
from relup_remote.schema import Record as Fields

ALL = "overviews.json"
"""The file of all runs, beside their folder: what each one's `OVERVIEW` says, by its name, after a digest of that."""

NEW = 100
"""Runs that `ALL` may lack before it is written anew."""

UNREADABLE = "unreadable"
"""Outcome of a run that can't be read."""

Overview = Mapping[str, Any]
Kept = Mapping[str, Any]
"""An overview and the size of the events that it was made from, see `KEPT`."""

KEPT = Fields(
    {
        "events_size": SIZE,
        "overview": Fields(
            {
                "run": TEXT,
                "started_at": MOMENT,
                "ended_at": MAYBE_MOMENT,
                "outcome": TEXT,
                **dict.fromkeys(("command", "operator", "target", "reason"), MAYBE_TEXT),
                **dict.fromkeys(("hosts", "done"), MAYBE_COUNT),
                "resumed": COUNT,
                **dict.fromkeys(("seconds", "seconds_between"), Number()),
            }
        ),
    }
)
"""What is kept of a run that has ended. Anything else is not relied on, and is made anew."""


def overviews(folder: Path | None = None) -> list[Overview]:
    """All runs, the oldest first. One that can't be read is there as well, with the reason.

    Raises `UsageError` (``ledger_unusable``).
    """
    where = folder or runs_folder()
    known = _read_all(where.parent / ALL)
    found: list[Overview] = []
    ended: dict[str, Kept] = {}
    new = 0
    for path in paths_of_runs(where):
        kept = known.get(path.name)
        if kept is None or kept["events_size"] != _events_size(path):
            kept = _kept(path)
            new += kept is not None
        if kept is None:
            found += _of(path)
        else:
            found.append(kept["overview"])
            ended[path.name] = kept
    if new >= NEW:
        # It only saves time.
        with suppress(OSError, Failure):
            _write_all(where.parent / ALL, ended)
    return sorted(found, key=lambda overview: (overview["started_at"], overview["run"]))


def keep(record: Record) -> None:
    """Keep the facts of a run, if it has ended. Raises `Failure`, OSError."""
    if not record.trouble and record.end is not None:
        size = (record.path / EVENTS).stat().st_size
        write_private(record.path / OVERVIEW, json.dumps({"events_size": size, "overview": overview(record)}) + "\n")


def overview(record: Record) -> Overview:
    """A run in a few facts. ``outcome`` is that of its end, ``under way``, ``left`` where its controller died.

    ``seconds`` is its time, see `relup_remote.rollout.worked`; ``resumed`` says how often that was done, and
    ``seconds_between`` for how long no controller worked on it.
    """
    if record.trouble:
        names = ("command", "operator", "ended_at", "target", "hosts", "done", "seconds", "resumed", "seconds_between")
        about = dict.fromkeys(names)
        return {
            "run": record.run,
            "started_at": record.began,
            **about,
            "outcome": UNREADABLE,
            "reason": record.trouble,
        }
    end = record.end
    there_already = {host for host, row in record.rows.items() if row["outcome"] == "nothing to do"}
    return {
        "run": record.run,
        "command": record.request["command"],
        "operator": record.request["operator"],
        # As `relup_remote.rollout.ledger.runs` sorts them: the last one in the list is `last`.
        "started_at": record.began,
        "seconds": seconds_worked(record.events),
        "resumed": sum(event["event"] == "run" and event.get("status") == "resume" for event in record.events),
        "seconds_between": seconds_between(record.events),
        "ended_at": end["at"] if end else None,
        "target": record.request["target"] or _targets(record),
        "hosts": len(record.request["hosts"]),
        "done": len(done_before(record).keys() | there_already),
        "outcome": end["outcome"] if end else "under way" if record.is_under_way else "left",
        "reason": end["reason"] if end else None,
    }


def _targets(record: Record) -> str | None:
    """Where a rollback leads to, as far as its hosts have said so."""
    return ", ".join(dict.fromkeys(row["target"] for row in record.rows.values() if row.get("target"))) or None


def _of(path: Path) -> Iterator[Overview]:
    found = record(path)
    if found is not None:
        yield overview(found)


def _kept(path: Path) -> Kept | None:
    """What was kept of a run, if it still holds."""
    try:
        said = parsed(read_bytes(path / OVERVIEW))
        KEPT.check(said)
        is_whole = said["events_size"] == _events_size(path) and said["overview"]["run"] == path.name
        return said if is_whole else None
    except (OSError, Unfit):
        return None


def _events_size(path: Path) -> int | None:
    try:
        return (path / EVENTS).stat().st_size
    except OSError:
        return None


def _read_all(path: Path) -> Mapping[str, Kept]:
    """What is kept of all runs. A file that is not as this program writes it counts as none."""
    try:
        digest, _, said = read_bytes(path).partition(b"\n")
        return json.loads(said) if digest == _digest(said) else {}
    except OSError:
        return {}


def _write_all(path: Path, kept: Mapping[str, Kept]) -> None:
    said = json.dumps(kept)
    write_private(path, f"{_digest(said.encode()).decode()}\n{said}")


def _digest(said: bytes) -> bytes:
    """A digest of what is kept, and of how: another version of this program may keep other facts."""
    return hashlib.sha256(repr(KEPT).encode() + said).hexdigest().encode()
