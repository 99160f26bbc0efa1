"""Hops that hosts miss because their files can't be read: the host knows only that there is none."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import Failure
from relup_remote.hops.catalogue import Malformed
from relup_remote.rollout.rows import Row


def told(rows: Sequence[Row], malformed: Iterable[Malformed]) -> list[Row]:
    """``rows``, in which ``no_relup_entry`` becomes ``malformed_hop`` where the one missed can't be read.

    That is one whose name is ``<from>-to-<target>.relup``; the place and the reason are told.
    """
    files = {bad.file: bad for bad in malformed}
    return [_told(row, files.get(f"{row['from']}-to-{row['target']}.relup")) for row in rows]


def _told(row: Row, bad: Malformed | None) -> Row:
    if bad is None:
        return row
    problems = [_named(problem, bad) for problem in row["problems"]]
    return {**row, "error": row["error"] and _named(row["error"], bad), "problems": problems}


def _named(error: Mapping[str, Any], bad: Malformed) -> Mapping[str, Any]:
    if error["err_type"] != "no_relup_entry":
        return error
    detail = {"file": bad.file, "line": bad.line, "column": bad.column}
    return Failure(
        "malformed_hop", f"{bad.file}, {bad.place}{bad.reason}.", stage=error["stage"], detail=detail
    ).to_json()
