"""`postcheck`: the testinfra checks of `relup_remote.postchecks`."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.commands.watch import patience, show_looks


@command
def postcheck(
    _context: Context,
    target: str = "",
    watch: bool = False,
    stable: str = "",
    timeout: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check nodes from outside, over SSH alone: process, marker, tree, boot, version, history, leftovers."""
    with Invocation("postcheck", host, inventory, json, quiet or watch) as call:
        asked = patience(watch, stable, timeout)
        hosts = call.hosts
        # pytest and testinfra are a second to import.
        from relup_remote.postchecks.run import run  # noqa: PLC0415

        show_looks(call, lambda: run(hosts, target or None, call.watch, call.deadline), asked, quiet=quiet)
