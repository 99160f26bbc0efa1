"""Tables of backups: those just made or put back, those that hosts keep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from relup_remote.rollout.rows import Row, none_on
from relup_remote.summary.layout import table
from relup_remote.summary.text import moment, seconds, size


def made_table(rows: Sequence[Row]) -> str:
    """A line for each host on which a backup was made or put back."""
    headers = ["host", "node", "outcome", "backup", "version", "size", "files", "put aside", "removed", "total"]
    return table(headers, [_made_line(row) for row in rows], keep=["host", "outcome"], spare=("node",))


def kept_table(rows: Sequence[Row]) -> str:
    """A line for each backup of each host."""
    headers = ["host", "backup", "made", "node", "version", "size", "state"]
    lines = [line for row in rows for line in _kept_lines(row)]
    return table(headers, lines, keep=["host", "backup"], spare=("node",)) if lines else none_on(rows, "backups")


def verified_table(rows: Sequence[Row]) -> str:
    """A line for each host, with the backup that was read there."""
    headers = ["host", "backup", "made", "node", "version", "size", "outcome"]
    lines = [[row["host"], *_told(row["facts"].get("backup")), row["outcome"]] for row in rows]
    return table(headers, lines, keep=["host", "outcome"], spare=("node",))


def _made_line(row: Row) -> list[object]:
    facts = row["facts"].get("backup") or row["facts"].get("restored") or {}
    done: Mapping[str, Any] = row["steps"][-1]["detail"] if row["steps"] else {}
    return [
        row["host"],
        row["node"] or facts.get("node"),
        row["outcome"],
        facts.get("name"),
        facts.get("version"),
        size(facts["bytes"]) if facts.get("bytes") is not None else None,
        done.get("files"),
        "\n".join(done.get("aside", ())),
        "\n".join(done.get("removed", ())),
        seconds(row["seconds"]) if row["seconds"] else None,
    ]


def _kept_lines(row: Row) -> Iterator[list[object]]:
    for backup in row["facts"].get("backups", ()):
        damaged = backup["why"] if backup.get("cut_short") else f"damaged: {backup['why']}"
        state = "complete" if backup["whole"] else damaged
        yield [row["host"], *_told(backup), f"{state}, dated in the future" if backup.get("ahead") else state]


def _told(backup: Mapping[str, Any] | None) -> list[object]:
    if backup is None:
        return [None] * 5
    counted = None if backup["bytes"] is None else size(backup["bytes"])
    return [backup["name"], moment(backup["at"]), backup["node"], backup["version"], counted]
