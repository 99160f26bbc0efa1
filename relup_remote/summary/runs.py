"""The ledger as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.summary.layout import table
from relup_remote.summary.text import moment, worked


def runs_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line a run."""
    headers = ["run", "began (UTC)", "command", "target", "operator", "hosts", "time", "outcome", "why"]
    lines = [
        [
            run["run"],
            moment(run["started_at"]),
            run["command"],
            run["target"],
            run["operator"],
            None if run["hosts"] is None else f"{run['done']} of {run['hosts']}",
            None if run["seconds"] is None else worked(run["seconds"], run["resumed"], run["seconds_between"]),
            run["outcome"],
            run["reason"],
        ]
        for run in runs
    ]
    return table(headers, lines, spare=("operator", "time"))
