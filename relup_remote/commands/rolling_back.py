"""`rollback`: back to the release that a node booted before."""

from collections.abc import Iterator
from typing import Any

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.commands.rolling import Rolling, over_first, taken_up
from relup_remote.commands.wishes import AS_USUAL, Wishes
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.rollout.roll import Work
from relup_remote.rollout.survey import Survey, is_done

GATES = Gates(connections=None)
"""A restart drops every connection of a node, so they are counted only where that is asked for."""


@command
def rollback(
    _context: Context,
    purge: bool = False,
    no_boot_check: bool = False,
    check: bool = False,
    yes: bool = False,
    wishes: Wishes = AS_USUAL,
    resume: str = "",
    boot_timeout: str = "",
    events: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Restart nodes into the release that they ran before the upgrade, in waves, with gates after each."""
    with Invocation("rollback", host, inventory, json, quiet, events) as call:
        wishes.check()
        given = options.numbers(boot_timeout=boot_timeout)
        record = taken_up(call, resume, wishes) if resume else None
        with over_first(call):
            _ = call.selected
        before = Plan.from_json(record.plan) if record else None
        chosen: dict[str, Any] = {
            **(before.options if before else {}),
            **({"purge": True} if purge else {}),
            **({"no_boot_check": True} if no_boot_check else {}),
            **given,
        }
        Rolling(
            call=call,
            work=Work(call.order(options=chosen)),
            look="status",
            gates=GATES,
            wishes=wishes,
            parts={"target": None, "tarball": None, "hops": (), "helpers": (), "catalogue": None},
            record=record,
            yes=yes,
            quiet=quiet,
            check=check,
            said=lambda survey: list(_said(survey, bool(chosen.get("purge")))),
        ).roll()


def _said(survey: Survey, purge: bool) -> Iterator[str]:
    """What a rollback does and does not do, in plain words."""
    yield "Each node will be restarted into its base release; its marker will be removed."
    yield "All connections of a node will drop when it restarts."
    yield "Nothing else will be undone: data that callbacks of the hop changed stays changed."
    hosts: dict[str, list[str]] = {}
    for row in survey.rows:
        if row["facts"] and not is_done(row):
            backup = row["facts"].get("backup_of_base")
            hosts.setdefault(backup["name"] if backup else "", []).append(row["host"])
    for backup, names in hosts.items():
        if backup:
            restore = f"`inv restore --host {','.join(names)} --backup {backup}`"
            yield f"The data from before the upgrade can be restored: {restore}"
        else:
            why = "no complete backup of the base release"
            yield f"The data from before the upgrade can't be restored on {', '.join(names)}: {why}."
    if purge:
        yield "The deployed tree is removed too (--purge)."
