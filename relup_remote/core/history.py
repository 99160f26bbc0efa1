"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what the history says of the VM that runs."""

from typing import Any, Dict, Optional

from .context import Context


def last_change(context: Context) -> Optional[Dict[str, Any]]:
    """The last attempt that changed the VM which runs now; None where there is none, or the VM has started since."""
    changing = [row for row in context.journal.rows() if row["extra"].get("changed")]
    if not changing:
        return None
    started_at = None if context.site.node is None else context.view.started_at()
    return changing[-1] if started_at is None or changing[-1]["started_at"] >= started_at else None


def succeeded(row: Dict[str, Any]) -> bool:
    """Whether the hop of an attempt did all it had to; what comes after, verification and clean-up, can be repeated."""
    return row["result"] == "success" or row["stage"] in ("verify", "cleanup")


def half_done(context: Context) -> bool:
    """Whether the VM that runs is between two releases: its last change neither succeeded nor was undone."""
    row = last_change(context)
    return row is not None and row["status"] == "finished" and not succeeded(row)
