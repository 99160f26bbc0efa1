"""`runs`: the runs that this machine's ledger knows."""

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.rollout import overview
from relup_remote.summary.runs import runs_table


@command
def runs(
    _context: Context,
    limit: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """List the upgrades and rollbacks that were run from this machine, oldest first, and how each ended."""
    with Invocation("runs", host, inventory, json, quiet) as call:
        call.goes_to_no_host()
        chosen = options.numbers(minimum=0, limit=limit)
        found = overview.overviews()[-chosen.get("limit", 0) :]
        call.show_document({"runs": found}, runs_table(found) or "no runs")
