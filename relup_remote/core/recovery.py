"""Payload, shipped to hosts (Python 3.6 and up, standard library only): finding what an earlier core left behind.

A core may die at any moment; a hop that it has begun goes on in the VM and writes its outcome down. Whoever comes next,
be it to upgrade, plan, verify, roll back or ask for the status, finishes the row of the history and says so:

========================================  ===========================  ==============================================
the attempt was                           and there is                 its row
========================================  ===========================  ==============================================
an upgrade                                its hop, still under way     stays open; an upgrade waits for the hop first
an upgrade                                an outcome that the VM       ends with that outcome, whatever became of the
                                          wrote                        VM since
an upgrade whose hop was about to begin   the target's marker, and no  success: the marker is a hop's last act
                                          node of another version
an upgrade whose hop was about to begin   none of these                hop_lost; the details say whether the VM is
                                                                       the same, has restarted, or is down
an upgrade, before that                   no outcome                   interrupted: the node was not changed
a rollback that had begun to restart      another VM, of the base      success
a rollback that had begun to restart      the same VM, or none         interrupted; the next rollback goes on
a rollback, before that                   anything                     interrupted: the node was not changed
========================================  ===========================  ==============================================

Each row is judged by its own: there may be several, where a hop outlived its core and the next core died as well.
"""

import os
from typing import Any, Dict, NamedTuple, Optional

from . import release
from .context import Context
from .erlang.term import Atom
from .files import remove_file, remove_tree
from .history import is_of_this_vm, last_change, mirror, succeeded
from .opening import names_in
from .protocol import ERRORS, Failure
from .site import await_node
from .steps.apply import follow, read_outcome
from .steps.restart import restart

UNFINISHED_CALLBACKS = ("post_upgrade_failed", "post_upgrade_module_not_loaded", "marker_failed")


class _Ending(NamedTuple):
    """How an attempt ended, as its row has it; `at` milliseconds since the epoch, None: now.

    `updated`: see `Context`.
    """

    result: str
    stage: Optional[str] = None
    details: Optional[str] = None
    changed: bool = False
    at: Optional[int] = None
    updated: Optional[Dict[str, Any]] = None


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


def finish_rows(context: Context, wait: bool) -> None:
    """Finishes the rows that dead cores left; with `wait`, after the hop under way. Each is in the result's facts.

    Must be called with the node's lock held.
    """
    pending = [row for row in context.journal.rows() if row["status"] == "in-progress"]
    waits = bool(pending) and hop_under_way(context)
    if waits and not wait:
        return
    told = _wait_for_hop(context, pending[-1]["run"]) if waits else None
    # What it came to is in its row, and a node that has to restart is up again, before the time of the request counts.
    with context.deadline.holding():
        if waits:
            _end_hop(context, told)
        for row in pending:
            # Where the disk is full the VM knows the outcome, and nobody else does.
            _finish(context, row, _ending(context, row, told if row is pending[-1] else None))
        if pending:
            remove_file(context.site.outcome)
    context.deadline.check()
    _remove_litter(context)
    mirror(context)


def note_unfinished(context: Context) -> None:
    """Sees whether the hop asked for was left half-way by an earlier attempt, and what that has done already.

    It is unfinished where the node reports the target already, but the attempt did not succeed and was not taken back.
    States of processes may have changed before that.
    """
    target = context.tarball["release"].get("version")
    last = last_change(context)
    if last is None or last["target_vsn"] != target or succeeded(last):
        return
    context.updated = last["extra"].get("updated", {})
    if context.result.running == target and release.marked_version(context.site.base) != target:
        context.unfinished = True
        context.resume = last["result"] in UNFINISHED_CALLBACKS
        context.result.from_vsn = last["from_vsn"]


def _wait_for_hop(context: Context, run: str) -> Optional[Dict[str, Any]]:
    """Waits for the hop under way; returns its outcome, None where none is known."""
    message = "A hop begun by run {} is under way; waiting for it.".format(run)
    context.emit({"event": "note", "message": message})
    return follow(context)


def _end_hop(context: Context, told: Optional[Dict[str, Any]]) -> None:
    """Lets go of a hop that has ended, and restarts the VM where that is its outcome."""
    outcome = told or {}
    if not outcome.get("restart"):
        context.agent.release()
    elif _agent_waits(context):
        restart(context)
    else:
        # The hop failed before we came, with its core gone: the VM restarts itself, and two restarts would be in each
        # other's way.
        context.leave_vm()
        context.site = await_node(context.request["node"], context.option("boot_timeout"), context.option("settle"))


def _agent_waits(context: Context) -> bool:
    """Whether the agent that told the outcome leaves the rest to us."""
    try:
        return hop_under_way(context)
    except Failure:
        return False


def _finish(context: Context, row: Dict[str, Any], ending: _Ending) -> None:
    known = {} if ending.updated is None else {"updated": ending.updated}
    context.journal.note(row["id"], dict(row["extra"], changed=ending.changed, **known))
    context.journal.finish(row["id"], ending.result, ending.stage, ending.details, ending.at)
    what = "rollback" if row["options"].get("rollback") else "upgrade"
    versions = [row[name] or "an unknown version" for name in ("from_vsn", "target_vsn")]
    text = "The {} from {} to {} by {operator} (run {run}) was left unfinished; the history now says {}."
    message = text.format(what, *versions, ending.result, **row)
    recovered = {key: row[key] for key in ("run", "operator", "started_at", "from_vsn", "target_vsn")}
    recovered.update(result=ending.result, stage=ending.stage, details=ending.details, message=message)
    context.result.facts.setdefault("recovered", []).append(recovered)
    context.emit({"event": "note", "message": message})


def _ending(context: Context, row: Dict[str, Any], told: Optional[Dict[str, Any]] = None) -> _Ending:
    """How an attempt ended; `told` is the outcome that the VM told just now, where it did."""
    if row["options"].get("rollback"):
        return _ending_of_rollback(context, row)
    outcome = read_outcome(context.site, row["run"])
    if outcome is not None:
        return _ending_by(outcome, int(os.stat(context.site.outcome).st_mtime * 1000))
    if told is not None:
        return _ending_by(told, None)
    if not row["extra"].get("changed"):
        return _Ending("interrupted")
    reported = context.view.version() if context.site.node is not None else None
    if release.marked_version(context.site.base) == row["target_vsn"] and reported in (None, row["target_vsn"]):
        return _Ending("success", changed=True)
    return _Ending("hop_lost", "apply", _whereabouts(context, row), changed=True)


def _ending_by(outcome: Dict[str, Any], at: Optional[int]) -> _Ending:
    result, changed = outcome["result"], not outcome.get("undone")
    if result == "success":
        return _Ending(result, changed=changed, at=at)
    err_type, updated = result if result in ERRORS else "internal_error", outcome.get("updated")
    return _Ending(err_type, "apply", outcome.get("message"), changed, at, updated)


def _ending_of_rollback(context: Context, row: Dict[str, Any]) -> _Ending:
    if not row["extra"].get("changed"):
        return _Ending("interrupted")
    is_up_again = context.site.node is not None and not is_of_this_vm(context, row)
    if is_up_again and context.view.version() == row["target_vsn"]:
        return _Ending("success", changed=True)
    marker = release.marker(context.site.base)
    said = "The marker is removed. " if marker is None else "The marker still names {}. ".format(marker)
    return _Ending("interrupted", "rollback", said + _whereabouts(context, row), changed=True)


def _whereabouts(context: Context, row: Dict[str, Any]) -> str:
    """What has become of the VM that an attempt began with."""
    if context.site.node is None:
        return "No node runs; the next boot is from {}.".format(context.site.booted_by_marker())
    if is_of_this_vm(context, row):
        return "The VM has not been restarted since; it reports {}.".format(context.view.version())
    return "The VM has started since; it runs from {}.".format(context.site.node.root)


def _remove_litter(context: Context) -> None:
    # Only who holds the lock makes partial trees; work folders may belong to a core that only looks.
    for tree in context.site.partial_trees():
        remove_tree(tree)
    # What a VM that died was about to write; no hop runs now.
    for path in (context.site.outcome, os.path.join(context.site.base, release.MARKER)):
        remove_file(path + ".tmp")
    for name in names_in(context.site.work):
        pid = name.rpartition("-")[2]
        if pid.isdigit() and not os.path.exists("/proc/" + pid):
            remove_tree(os.path.join(context.site.work, name))
