"""`cleanup`: taking away what an upgrade leaves on the hosts."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command


@command
def cleanup(
    _context: Context,
    anyway: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Remove staged tarballs and partial trees, once every node of the cluster is on the target."""
    with Invocation("cleanup", host, inventory, json, quiet) as call:
        call.show(call.in_turn(call.order(options={"clean_anyway": anyway})))
