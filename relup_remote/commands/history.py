"""`logs` and `logs-clear`: the history that each host keeps, and the one that the relup plugin keeps in the node."""

from collections.abc import Iterable

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.rollout.rows import Row, none_on, succeeded
from relup_remote.summary.tables import history, history_table


@command
def logs(
    _context: Context,
    limit: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Show all attempts on all hosts, oldest first: ours, and those that the relup plugin recorded."""
    with Invocation("logs", host, inventory, json, quiet) as call:
        chosen = options.numbers(minimum=0, limit=limit)
        rows = call.ask_all(call.order(options=chosen))
        call.show(rows, lambda rows: history_table(history(rows, chosen.get("limit", 0))) or none_on(rows, "attempts"))


@command
def logs_clear(
    _context: Context,
    yes: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Delete the hosts' history of attempts: ours and the relup plugin's. Attempts under way are kept."""
    with Invocation("logs-clear", host, inventory, json, quiet) as call:
        rows = call.ask_all(call.order("logs", options={"dry_run": True}))
        if not all(map(succeeded, rows)):
            # Nobody is asked for what would be done on a part of the hosts.
            call.show(rows)
            return
        if all(row["facts"].get("clearable") == {"journal": 0, "plugin": 0} for row in rows):
            unchanged = [{**row, "outcome": "unchanged"} for row in rows]
            call.show(unchanged, lambda _rows: "There is no history of attempts to delete.")
            return
        confirm(intention(rows), "Delete it?", yes=yes, quiet=quiet)
        call.show(call.in_turn(call.order()))


def intention(rows: Iterable[Row]) -> str:
    """What is going to be deleted on the hosts whose history was asked for."""
    lines = [f"  {row['host']}: {_counts(row)}" for row in rows]
    return "\n".join(["This will delete the history of attempts for good. Attempts under way will be kept.", *lines])


def _counts(row: Row) -> str:
    counts = row["facts"].get("clearable")
    if counts is None:
        return "not known"
    of_host, of_node = _many(counts["journal"]), _many(counts["plugin"])
    return f"attempts in the host's journal: {of_host}; in the node's emqx_relup_log: {of_node}"


def _many(count: int | None) -> str:
    return "unknown" if count is None else str(count)
