"""`lock` and `unlock`: keeping everyone from changing a cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

from invoke.context import Context

from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.rollout import ledger
from relup_remote.rollout.request import request
from relup_remote.rollout.rows import Row, is_unheard, succeeded
from relup_remote.rollout.run import Job
from relup_remote.summary.tables import how_locked, locks_table
from relup_remote.usage import UsageError


@command
def lock(
    _context: Context,
    why: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Lock the cluster: until it is unlocked, nobody can change its hosts, not even you. It locks all hosts or none."""
    with Invocation("lock", host, inventory, json, quiet) as call:
        jobs = call.jobs(call.order(options={"why": why, "by_hand": True}))
        left: list[str] = []
        with call.stopping():
            rows = call.change_all(jobs)
            if not all(map(succeeded, rows)):
                rows, left = _given_back(call, rows)
        call.show(rows, locks_table, after=_may_be_locked(left) if left else "")


@command
def unlock(
    _context: Context,
    force: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Unlock the cluster: remove your own locks from its hosts; with --force, all locks."""
    with Invocation("unlock", host, inventory, json, quiet) as call:
        if not force:
            rows = call.ask_all(call.order("status"))
            _refuse_while_under_way(rows)
            if not all(map(_is_known, rows)):
                call.show(rows, locks_table, after=_not_unlocked(rows), status=1)
                return
        chosen: dict[str, Any] = {"unlock_by": "operator", "lock_force": force}
        call.show(call.change_all(call.jobs(call.order(options=chosen))), locks_table)


def _refuse_while_under_way(looks: Sequence[Row]) -> None:
    """Raises `UsageError` (``run_in_progress``) where a lock is of a run that goes on, as far as the ``looks`` tell.

    Either a controller of this machine works on it, or a host is at work: then the controller may be anywhere.
    """
    records = {record.run: record for record in ledger.runs()}
    rows = [row for row in looks if row["facts"].get("cluster_lock")]
    locks = {row["facts"]["cluster_lock"].get("run"): row["facts"]["cluster_lock"] for row in rows}
    ours = [records[run] for run in sorted(locks.keys() & records)]
    held = [record.run for record in ours if record.is_under_way]
    if held:
        message = f"the cluster is locked by {', '.join(held)}, which is still running on this machine"
        raise UsageError("run_in_progress", message, f"Wait until it ends, or end it with Ctrl-C there. {_BY_FORCE}")
    working = [row["host"] for row in rows if row["facts"].get("state") == "in-progress"]
    if working:
        holders = " and ".join(
            f"{lock.get('operator') or 'someone unknown'}, {how_locked(lock)}" for lock in locks.values()
        )
        gone = "; the command that worked on it, on this machine, has ended" if ours and len(ours) == len(locks) else ""
        message = (
            f"the cluster is locked by {holders}{gone}; a hop or another change is at work on {', '.join(working)}"
        )
        raise UsageError("run_in_progress", message, f"{_to_wait(ours, list(locks.values()))} {_BY_FORCE}")


_BY_FORCE = (
    "`inv unlock --force` removes the lock at once. Then another run could change a node on which something is still "
    "at work."
)


def _to_wait(ours: Sequence[ledger.Record], locks: Sequence[Mapping[str, Any]]) -> str:
    commands = {record.run: record.request.get("command") for record in ours}
    resumed = [f"`inv {command} --resume {run}`" for run, command in commands.items() if command]
    elsewhere = "unlock again" if all(lock.get("by_hand") for lock in locks) else _UNKNOWN_HOLDER
    then = f"{' and '.join(resumed)} goes on" if resumed else elsewhere
    return f"Wait until `inv status` shows no node in progress. Then {then}."


# There may be several locks, and one of an earlier version does not say whether it was taken by hand.
_UNKNOWN_HOLDER = (
    "unlock again if it was locked by `inv lock`; if by a run, resume it on the machine where it was begun"
)


def _is_known(look: Row) -> bool:
    """Whether a host said what goes on there. The `status` of a node that is down fails, and says it all the same."""
    return bool(look["facts"].get("state"))


def _not_unlocked(looks: Sequence[Row]) -> str:
    """Why no host was unlocked after these looks, and how some or all can be."""
    unknown = ", ".join(row["host"] for row in looks if not _is_known(row))
    known = ",".join(row["host"] for row in looks if _is_known(row))
    others = f" `inv unlock --host {known}` unlocks the other hosts." if known else ""
    return f"No host was unlocked: it is not known whether something is at work on {unknown}.{others} {_BY_FORCE}"


def _may_be_locked(hosts: Sequence[str]) -> str:
    return f"May still be locked: {', '.join(hosts)}. `inv unlock --host {','.join(hosts)}` removes your lock there."


def _given_back(call: Invocation, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """The rows of hosts of which not all could be locked, once those that were are as before.

    With them the hosts that may be locked all the same.
    """
    # One whose connection broke may be locked all the same.
    taken = {row["host"] for row in rows if row["outcome"] in ("locked", "failed")}
    unlock_again = call.order("unlock")
    jobs = [Job(host, request(unlock_again, host)) for host in call.hosts if host.name in taken]
    back = {row["host"]: row for row in call.give_back(jobs)}
    others = ", ".join(row["host"] for row in rows if not succeeded(row))
    message = f"Not locked, because other hosts could not be locked: {others}."
    left = [
        row["host"]
        for row in rows
        if (row["outcome"] == "locked" or is_unheard(row)) and not succeeded(back[row["host"]])
    ]
    told = [_as_before(row, back[row["host"]], message) if row["outcome"] == "locked" else row for row in rows]
    return told, left


def _as_before(row: Row, back: Row, message: str) -> Row:
    if back["outcome"] == "skipped":
        # The operator has left before it was unlocked again.
        return row
    if not succeeded(back):
        return back
    return {**row, "outcome": "unchanged", "facts": back["facts"], "warnings": [*row["warnings"], {"message": message}]}
