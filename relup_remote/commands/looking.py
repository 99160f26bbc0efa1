"""`hosts`, `status` and `verify`: how things stand. Nothing is changed, and every host is asked."""

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.commands.watch import patience, show_looks
from relup_remote.summary.tables import hosts_table, status_table


@command
def hosts(
    _context: Context,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """List the hosts of the inventory, whether they can be reached, and what runs there."""
    with Invocation("hosts", host, inventory, json, quiet) as call:
        call.show(call.ask_all(call.order("status")), lambda rows: hosts_table(call.hosts, rows))


@command
def status(
    _context: Context,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Show the state of each node: idle, in progress, hot-upgraded, or booted into an upgrade."""
    with Invocation("status", host, inventory, json, quiet) as call:
        call.show(call.ask_all(call.order()), status_table)


@command
def verify(
    _context: Context,
    target: str = "",
    watch: bool = False,
    stable: str = "",
    timeout: str = "",
    strict: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check that each node is what it should be after an upgrade: version, marker, tree, modules, processes."""
    with Invocation("verify", host, inventory, json, quiet or watch) as call:
        asked = patience(watch, stable, timeout)
        # Who watches looks again anyway.
        patient = {"look_for": 0} if watch else {}
        order = call.order(target=target or None, options={"strict": strict, **patient})
        show_looks(call, lambda: call.ask_all(order), asked, quiet=quiet)
