"""`logs` and `logs-clear`: the history that each host keeps."""

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
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
    """Show the attempts of all hosts in one table, oldest first."""
    with Invocation("logs", host, inventory, json, quiet) as call:
        chosen = options.numbers(minimum=0, limit=limit)
        rows = call.ask_all(call.order(options=chosen))
        call.show(rows, lambda rows: history_table(history(rows, chosen.get("limit", 0))) or "no attempts")


@command
def logs_clear(
    _context: Context,
    yes: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Delete the hosts' history of attempts."""
    with Invocation("logs-clear", host, inventory, json, quiet) as call:
        names = ", ".join(host.name for host in call.hosts)
        confirm(f"the history of attempts is deleted, for good, on: {names}", "delete it?", yes=yes, quiet=quiet)
        call.show(call.in_turn(call.order()))
