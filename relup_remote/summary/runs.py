"""The ledger as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.summary.layout import table
from relup_remote.summary.text import moment


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
            None if run["hosts"] is None else f"{run['done']} of {run['hosts']}",
            run["outcome"],
            run["reason"],
        ]
        for run in runs
    ]
    return table(headers, lines, spare=("operator",))
