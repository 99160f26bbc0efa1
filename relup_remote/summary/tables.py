"""Tables of what commands came to: a row a host, or a row an attempt for the history. Text only; nothing is printed."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.core.protocol import STEPS
from relup_remote.inventory import HostSettings
from relup_remote.rollout.rows import Row, step
from relup_remote.summary.layout import table
from relup_remote.summary.text import many, moment, seconds, within

QUICK = 1.0
"""Seconds within which a step that went well is nothing to tell of where there is little room."""


def steps_table(rows: Sequence[Row], width: int | None = None) -> str:
    """The table of a command that goes through steps: versions, outcome, each step's time, and the total.

    What is running is left out where it is the target on every host. If all of it is wider than ``width``, the nodes
    are left out as well, then the steps that went well on every host within `QUICK` seconds.
    """
    names = _step_names(rows)
    telling = [name for name in names if any(_tells(step(row, name)) for row in rows)]
    for has_nodes, steps in ((True, names), (False, names), (False, telling)):
        with within(None):
            shown = _steps_table(rows, steps, has_nodes=has_nodes)
        if width is None or max(map(len, shown.splitlines())) <= width:
            return shown
    with within(width):
        return _steps_table(rows, telling, has_nodes=False)


def _tells(done: Mapping[str, Any] | None) -> bool:
    return done is not None and (done["status"] not in ("ok", "unchanged") or done["seconds"] >= QUICK)


def _steps_table(rows: Sequence[Row], names: Sequence[str], *, has_nodes: bool) -> str:
    is_off = any(row["running"] != row["target"] for row in rows)
    headers = ["host", "node", "from", "target", "running", "outcome", *names, "total"]
    lines = [
        [
            row["host"],
            row["node"] if has_nodes else None,
            row["from"],
            row["target"],
            row["running"] if is_off else None,
            row["outcome"],
            *(_step_cell(row, name) for name in names),
            seconds(row["seconds"]) if row["seconds"] else "",
        ]
        for row in rows
    ]
    return table(headers, lines)


def hosts_table(hosts: Sequence[HostSettings], rows: Sequence[Row]) -> str:
    """The inventory, with what was found out about each host."""
    headers = ["host", "address", "node", "running", "marker", "role", "locked by", "reachable"]
    lines = [
        [
            host.name,
            host.address if host.port is None else f"{host.address}:{host.port}",
            row["node"] or host.node,
            row["running"],
            row["facts"].get("marker"),
            row["facts"].get("role") or host.role,
            locked_by(row),
            "yes" if is_reachable(row) else "no",
        ]
        for host, row in zip(hosts, rows, strict=True)
    ]
    return table(headers, lines, keep=("running", "marker"), spare=("node",))


def is_reachable(row: Row) -> bool:
    """Whether the core ran there."""
    return not (row["outcome"] == "skipped" or (row["error"] and row["error"]["stage"] == "connect"))


def status_table(rows: Sequence[Row]) -> str:
    """Where each node stands between two releases."""
    headers = ["host", "node", "running", "state", "marker", "OTP", "connections", "cluster", "locked by", "link"]
    return table(headers, [_status_line(row) for row in rows], keep=("state",), spare=("OTP", "cluster"))


def locks_table(rows: Sequence[Row]) -> str:
    """Which hosts are locked, and by whom."""
    headers = ["host", "node", "outcome", "locked by", "since (UTC)", "run", "why"]
    lines = [[row["host"], row["node"], row["outcome"], *_lock_cells(row)] for row in rows]
    return table(headers, lines, spare=("node", "run"))


def _lock_cells(row: Row) -> list[object]:
    lock = row["facts"].get("cluster_lock") or {}
    return [lock.get("operator"), moment(lock.get("since")), lock.get("run"), lock.get("why")]


def how_locked(lock: Mapping[str, Any]) -> str:
    """By what a lock was put there: by a run, or by hand."""
    return "with `inv lock`" if lock.get("by_hand") else f"run {lock.get('run') or 'unknown'}"


def locked_by(row: Row) -> str | None:
    """Who has locked the host's cluster, and since when."""
    lock = row["facts"].get("cluster_lock")
    return None if lock is None else f"{lock['operator'] or 'unknown'} since {moment(lock['since'])}"


def _status_line(row: Row) -> list[object]:
    facts = row["facts"]
    state = facts.get("state_text") or facts.get("state") or (row["outcome"] if row["error"] else "")
    nodes = facts.get("nodes")
    return [
        row["host"],
        row["node"],
        row["running"],
        state,
        facts.get("marker"),
        facts.get("otp"),
        facts.get("connections"),
        many(len(nodes), "node") if nodes else None,
        locked_by(row),
        # Only where a node is not asked directly is there something to tell.
        None if facts.get("link") == "distribution" else facts.get("link"),
    ]


def history(rows: Sequence[Row], limit: int = 0) -> list[dict[str, Any]]:
    """The attempts of all hosts, each with its ``host``, oldest first; with a ``limit``, the newest so many."""
    attempts = [{"host": row["host"], **attempt} for row in rows for attempt in row["facts"].get("history", ())]
    attempts.sort(key=lambda attempt: attempt["started_at"])
    return attempts[-limit:] if limit else attempts


def history_table(attempts: Sequence[Mapping[str, Any]]) -> str:
    """A line an attempt."""
    headers = ["started (UTC)", "host", "command", "from", "target", "result", "seconds", "operator", "run", "source"]
    return table(
        headers, [_history_line(attempt) for attempt in attempts], spare=("source", "operator", "seconds", "run")
    )


def _history_line(attempt: Mapping[str, Any]) -> list[object]:
    started, finished = attempt["started_at"], attempt.get("finished_at")
    return [
        moment(started),
        attempt["host"],
        (attempt.get("extra") or {}).get("command"),
        attempt.get("from_vsn"),
        attempt.get("target_vsn"),
        "restored" if "restore" in attempt.get("options", ()) else attempt.get("result") or attempt.get("status"),
        None if finished is None else f"{(finished - started) / 1000:.1f}",
        attempt.get("operator"),
        attempt.get("run"),
        attempt.get("source"),
    ]


def _step_names(rows: Sequence[Row]) -> list[str]:
    """The steps that any host went through: an upgrade's in their order, then others as they come."""
    seen = dict.fromkeys(step["step"] for row in rows for step in row["steps"])
    return [*(name for name in STEPS if name in seen), *(name for name in seen if name not in STEPS)]


def _step_cell(row: Row, name: str) -> str:
    found = step(row, name)
    if found is None:
        return ""
    if found["status"] == "ok":
        return seconds(found["seconds"])
    if found["status"] == "failed":
        return "refused" if row["outcome"] == "refused" else "FAILED"
    return str(found["status"])
