"""`postcheck`: the testinfra checks of `relup_remote.postchecks`."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command


@command
def postcheck(
    _context: Context,
    target: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check nodes from outside, over SSH alone: process, marker, tree, version, history, leftovers."""
    with Invocation("postcheck", host, inventory, json, quiet) as call:
        # pytest and testinfra are a second to import.
        from relup_remote.postchecks.run import run  # noqa: PLC0415

        call.show(run(call.hosts, target or None, call.watch))
