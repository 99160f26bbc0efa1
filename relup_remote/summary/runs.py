"""The ledger as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.rollout.ledger import Record
from relup_remote.rollout.roll import done_before
from relup_remote.rollout.rows import lets_others_go_on, succeeded
from relup_remote.summary.tables import table
from relup_remote.summary.text import moment


def summary(record: Record) -> dict[str, Any]:
    """A run in a few facts. ``outcome`` is that of its end, ``under way``, or ``left`` where its controller died."""
    end = record.end
    there_already = {host for host, row in record.rows.items() if not succeeded(row) and lets_others_go_on(row)}
    return {
        "run": record.run,
        "command": record.request["command"],
        "operator": record.request["operator"],
        "started_at": record.request["started_at"],
        "ended_at": end["at"] if end else None,
        "target": record.request["target"],
        "hosts": len(record.request["hosts"]),
        "done": len(done_before(record).keys() | there_already),
        "outcome": end["outcome"] if end else "under way" if record.is_under_way else "left",
        "reason": end["reason"] if end else None,
    }


def runs_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a run."""
    headers = ["run", "began (UTC)", "command", "target", "operator", "hosts", "outcome", "why"]
    lines = [
        [
            run["run"],
            moment(run["started_at"]),
            run["command"],
            run["target"],
            run["operator"],
            f"{run['done']} of {run['hosts']}",
            run["outcome"],
            run["reason"],
        ]
        for run in runs
    ]
    return table(headers, lines)
