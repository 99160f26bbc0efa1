"""`backup`, `backup.list`, `backup.verify` and `restore`: copies of nodes, which stay on their hosts."""

from collections.abc import Iterator, Sequence
from typing import Any

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.rollout.rows import Row, succeeded
from relup_remote.rollout.run import AT_ONCE
from relup_remote.summary.backups import kept_table, made_table, verified_table
from relup_remote.summary.text import moment, size


@command
def backup(
    _context: Context,
    keep: str = "",
    parallel: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Copy the data and settings of each node, as of one moment, to a folder on its host."""
    with Invocation("backup", host, inventory, json, quiet) as call:
        chosen = options.numbers(minimum=0, keep=keep)
        limit = options.numbers(parallel=parallel).get("parallel", AT_ONCE)
        call.show(call.change_all(call.jobs(call.order(options=chosen)), limit), made_table)


@command
def backup_list(
    _context: Context,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """List the backups on the hosts, newest first, and whether they are complete."""
    with Invocation("backup.list", host, inventory, json, quiet) as call:
        call.show(call.ask_all(call.order("backups")), kept_table)


@command
def backup_verify(
    _context: Context,
    backup: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Read every file of a backup on each host, and compare it with what was written."""
    with Invocation("backup.verify", host, inventory, json, quiet) as call:
        call.show(call.ask_all(call.order("backup-verify", options={"backup": backup})), verified_table)


@command
def restore(
    _context: Context,
    backup: str = "",
    force: bool = False,
    yes: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Restore data and settings of stopped nodes from a backup, one host after the other."""
    with Invocation("restore", host, inventory, json, quiet) as call:
        chosen: dict[str, Any] = {"backup": backup, "restore_force": force}
        rows = call.ask_all(call.order(options={**chosen, "dry_run": True}))
        if not all(map(succeeded, rows)):
            # Nobody is asked for what would be refused.
            call.show(rows, made_table)
            return
        call.clear()
        confirm(intention(rows, backup, call.run), "Restore these backups?", yes=yes, quiet=quiet)
        done = call.in_turn(call.order(options=chosen))
        call.show(done, made_table, after=to_start(done))


def to_start(rows: Sequence[Row]) -> str:
    """What is left to do where a node was restored; empty where none was."""
    hosts = ", ".join(row["host"] for row in rows if row["outcome"] == "restored")
    return f"{hosts}: start the node on its host: `bin/emqx start`, or its service." if hosts else ""


def intention(rows: Sequence[Row], backup: str, run: str) -> str:
    """What a restore replaces on the hosts whose backups these are, in plain words."""
    lines = [
        "restore, one host after the other; the first that fails ends it:",
        *(f"  {row['host']}: {_chosen(row, backup)}" for row in rows),
        f"The present data and settings will stay on the host, in relup_before-{run} of their folders.",
        "The node will no longer use what was written since the backup.",
        "Tables that running nodes of the cluster have too will come from those nodes, not from the backup.",
        "The nodes must be stopped. They will not be started.",
    ]
    return "\n".join(lines)


def _chosen(row: Row, backup: str) -> str:
    """Which backup of a host is meant: as the host itself will choose it."""
    left = row["facts"].get("restore_left")
    if left and backup in ("", left):
        return f"{left}, whose restore was cut off: it goes on"
    found = next(_meant(row, backup), None)
    if found is None:
        return f"no backup {backup}".rstrip()
    node, made = found["node"] or "a node", moment(found["at"])
    return f"{found['name']}, of {node} as it was {made}: {found['version']}, {size(found['bytes'] or 0)}"


def _meant(row: Row, backup: str) -> Iterator[dict[str, Any]]:
    for found in row["facts"].get("backups", ()):
        if found["name"] == backup if backup else not (found["cut_short"] or found.get("ahead")):
            yield found
