"""`cleanup`: taking away what an upgrade leaves on the hosts."""

from collections.abc import Sequence
from typing import Any

from invoke.context import Context

from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.rollout.request import request
from relup_remote.rollout.rows import Row, succeeded
from relup_remote.rollout.run import Job
from relup_remote.summary.removals import removals


@command
def cleanup(
    _context: Context,
    trees: bool = False,
    anyway: bool = False,
    check: bool = False,
    yes: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Remove staged tarballs, and partial or unused trees, once every node of the cluster is on the target."""
    with Invocation("cleanup", host, inventory, json, quiet) as call:
        chosen = {"trees": trees, "clean_anyway": anyway}
        found = call.ask_all(call.order(options={**chosen, "dry_run": True}))
        if check or not all(map(succeeded, found)) or not any(map(_has_something, found)):
            call.show(found, removals)
            return
        call.clear()
        confirm(removals(found), "Remove this?", yes=yes, quiet=quiet)
        call.show(_removed(call, found, chosen))


def _has_something(row: Row) -> bool:
    return bool(row["outcome"] == "ready")


def _removed(call: Invocation, found: Sequence[Row], chosen: dict[str, Any]) -> list[Row]:
    """The rows of all hosts, once those that have something were asked to remove it, all at once."""
    order = call.order(options=chosen)
    full = {row["host"] for row in found if _has_something(row)}
    jobs = [Job(host, request(order, host)) for host in call.hosts if host.name in full]
    cleaned = {row["host"]: row for row in call.change_all(jobs)}
    return [cleaned.get(row["host"], row) for row in found]
