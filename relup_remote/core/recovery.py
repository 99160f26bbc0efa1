"""Payload, shipped to hosts (Python 3.6 and up, standard library only): finding what an earlier core left behind.

A core may die at any moment; a hop that it has begun goes on in the VM and writes its outcome down. Whoever comes next
finishes the row of the history:

=====================================  ====================================
of the attempt there is                its row ends with
=====================================  ====================================
a hop still under way in the VM        (it is waited for, or reported)
an outcome, written by the VM          that outcome
the marker, and the node reports it    success
no more than that the hop had begun    hop_lost
nothing in the VM                      interrupted
=====================================  ====================================
"""

import os
from typing import Any, Dict, Optional

from . import release
from .context import Context
from .erlang.term import Atom
from .files import remove_file, remove_tree
from .history import last_change, succeeded
from .protocol import Failure
from .steps.apply import follow, read_outcome

UNFINISHED_CALLBACKS = ("post_upgrade_failed", "post_upgrade_module_not_loaded", "marker_failed")


def hop_under_way(context: Context) -> bool:
    """Whether the VM is in the middle of a hop."""
    if context.site.node is None:
        return False
    # An agent that has ended stays only while it could not write its outcome down.
    return bool(context.link.call("erlang", "whereis", [Atom("relup_remote_agent")]) != "undefined")


def refuse_during_hop(context: Context) -> None:
    """Raises `Failure` upgrade_in_progress while the VM is in the middle of a hop."""
    if hop_under_way(context):
        raise Failure("upgrade_in_progress", "A hop is under way in the VM.")


def finish_rows(context: Context, wait: bool) -> Optional[Dict[str, Any]]:
    """Finishes the row that a dead core left; with `wait`, after the hop under way. Returns that row, or None.

    Must be called with the node's lock held.
    """
    pending = [row for row in context.journal.rows() if row["status"] == "in-progress"]
    if not pending:
        _remove_dead_work(context)
        return None
    row = pending[-1]
    if hop_under_way(context):
        if not wait:
            return row
        context.emit(
            {"event": "note", "message": "A hop begun by run {} is under way; waiting for it.".format(row["run"])}
        )
        follow(context)
        context.agent.release()
    for each in pending:
        result, stage, details, changed = _ending(context, each)
        context.journal.note(each["id"], dict(each["extra"], changed=changed))
        context.journal.finish(each["id"], result, stage, details)
        message = "The attempt of run {} was left unfinished; its row now says {}.".format(each["run"], result)
        context.emit({"event": "note", "message": message})
    remove_file(context.site.outcome)
    _remove_dead_work(context)
    return next(each for each in context.journal.rows() if each["id"] == row["id"])


def _ending(context: Context, row: Dict[str, Any]) -> Any:
    outcome = read_outcome(context.site, row["run"])
    if outcome is not None:
        return outcome["result"], "apply", outcome.get("message"), not outcome.get("undone")
    if not row["extra"].get("changed"):
        return "interrupted", None, None, False
    reported = context.view.version() if context.site.node is not None else None
    if release.marked_version(context.site.base) == row["target_vsn"] and reported in (None, row["target_vsn"]):
        return "success", None, None, True
    return "hop_lost", "apply", None, True


def note_unfinished(context: Context) -> None:
    """Sees whether the hop asked for was left half-way by an earlier attempt: the node reports the target already, but
    the attempt did not succeed and was not taken back."""
    target = context.tarball["release"].get("version")
    if context.result.running != target or release.marked_version(context.site.base) == target:
        return
    last = last_change(context)
    if last is not None and last["target_vsn"] == target and not succeeded(last):
        context.unfinished = True
        context.resume = last["result"] in UNFINISHED_CALLBACKS
        context.result.from_vsn = last["from_vsn"]


def _remove_dead_work(context: Context) -> None:
    names = os.listdir(context.site.work) if os.path.isdir(context.site.work) else []
    for name in names:
        pid = name.rpartition("-")[2]
        if pid.isdigit() and not os.path.exists("/proc/" + pid):
            remove_tree(os.path.join(context.site.work, name))
