"""`rollback`: back to the release that a node booted before."""

from collections.abc import Sequence

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.inventory import HostSettings


@command
def rollback(
    _context: Context,
    purge: bool = False,
    yes: bool = False,
    boot_timeout: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Put nodes back on the release they booted before, by a restart: the boot path only."""
    with Invocation("rollback", host, inventory, json, quiet) as call:
        chosen = {"purge": purge, **options.numbers(boot_timeout=boot_timeout)}
        confirm(intention(call.hosts, purge), "roll these hosts back?", yes=yes, quiet=quiet)
        call.show(call.in_turn(call.order(options=chosen)))


def intention(hosts: Sequence[HostSettings], purge: bool) -> str:
    """What a rollback does and does not do, in plain words."""
    lines = [
        f"roll back, one host after the other: {', '.join(host.name for host in hosts)}",
        "  this is the boot path only: the marker is removed and the node is restarted into its base release",
        "  every connection of a node drops as it restarts",
        "  nothing else is brought back: state of running processes, and data that callbacks of the hop changed",
    ]
    if purge:
        lines.append("  the deployed tree is removed too (--purge)")
    return "\n".join(lines)
