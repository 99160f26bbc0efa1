"""Payload, shipped to hosts (Python 3.6 and up, standard library only): attempts at a node, and what they tell.

Rows are begun, noted and finished in the journal. Where the plugin's table is in the VM, `mirror` brings it up to date
with them: when a row begins, when it ends, and, if the VM could not be asked just then, at the next command.
"""

from typing import Any, Callable, Dict, List, Optional

from . import processes, wrapper
from .context import Context
from .erlang.term import Atom, Opaque
from .opening import of_kernel
from .plugin_log import PluginLog, run_of_ours
from .protocol import Failure

# ------------------------------------------------------------------------------------------------ writing


def begin(context: Context, options: Dict[str, Any]) -> None:
    """Writes the row of the attempt that this request makes. Raises `Failure` journal_unusable."""
    request, result = context.request, context.result
    answers = vm_answers(context)
    vm = vm_of(context) if answers else None
    context.row = context.journal.begin(
        request["run"], request["operator"], result.from_vsn, result.target, options, vm
    )
    context.note(command=request["command"])
    if context.site.node is not None:
        context.note(environment=wrapper.of_a_node(context.environment))
    if answers:
        mirror(context)


def finish(context: Context, outcome: str, stage: Optional[str] = None, details: Optional[str] = None) -> None:
    """Ends the row of this request's attempt: `outcome` is ``success`` or an err_type.

    A row that can't be written any more keeps nothing from having happened: it stays open, with a warning, and the next
    command ends it.
    """
    assert context.row is not None
    try:
        context.note(changed=context.changed)
        context.journal.finish(context.row, outcome, stage, details)
        mirror(context)
    except Failure as failure:
        warn(context, "The attempt's row could not be finished; the next command does it. " + failure.message)


def mirror(context: Context) -> None:
    """Writes into the plugin's table what it may lack of the journal. Must be called with the node's lock held.

    Raises `Failure` journal_unusable; what else keeps it from being written is a warning, and tried again later.
    """
    rows = [row for row in context.journal.rows() if not row["mirrored"]]
    if not rows or context.site.node is None:
        return
    try:
        log = _plugin_log(context)
        for row in rows:
            log.write(row)
    except Failure as failure:
        warn(context, "The attempt could not be written into the VM's table emqx_relup_log yet. " + failure.message)
        return
    for row in rows:
        context.journal.mark_mirrored(row["id"])


def clear(context: Context) -> Dict[str, int]:
    """Removes the finished attempts from the journal and the VM's table; how many, as {"journal", "plugin"}.

    Must be called with the node's lock held. Raises `Failure` journal_unusable.
    """
    context.journal.check(writing=True)
    removed = {"plugin": 0}
    try:
        removed["plugin"] = _plugin_log(context).clear()
    except Failure as failure:
        warn(context, "The VM's table emqx_relup_log could not be cleared. " + failure.message)
    removed["journal"] = context.journal.clear()
    return removed


def warn(context: Context, message: str) -> None:
    """Tells the operator at once, and in the result."""
    if _put(context, message):
        context.emit({"event": "note", "message": message})


def _put(context: Context, message: str) -> bool:
    """Puts a warning into the result, which tells it at the end; whether it is a new one."""
    warning = {"message": message}
    if warning in context.result.warnings:
        return False
    context.result.warnings.append(warning)
    return True


# ------------------------------------------------------------------------------------------------ reading


def attempts(context: Context) -> List[Dict[str, Any]]:
    """The rows of the journal; none where it can't be used, of which the result then has a warning."""
    return _read(context, "The history", context.journal.rows) or []


def merged(context: Context) -> List[Dict[str, Any]]:
    """The attempts of the journal and of the VM's table, oldest first, each once, with its ``source``.

    Where one of the two can't be read, the result has a warning. Its facts say how many rows `clear` would remove from
    each, None where that is not known.
    """
    found = {
        "journal": _read(context, "The history", context.journal.rows),
        "plugin": _read(context, "The VM's table emqx_relup_log", lambda: _plugin_log(context).rows()),
    }
    context.result.facts["clearable"] = {
        source: None if rows is None else sum(row["status"] == "finished" for row in rows)
        for source, rows in found.items()
    }
    rows = found["journal"] or []
    known = {row["run"] for row in rows}
    rows += [row for row in found["plugin"] or [] if run_of_ours(row) not in known]
    return sorted(rows, key=lambda row: int(row["started_at"]))


def _read(context: Context, what: str, read: Callable[[], List[Dict[str, Any]]]) -> Optional[List[Dict[str, Any]]]:
    try:
        return read()
    except Failure as failure:
        _put(context, "{} could not be read. {}".format(what, failure.message))
        return None


def last_change(context: Context) -> Optional[Dict[str, Any]]:
    """The last attempt that changed the VM which runs now; None where there is none, or the VM has started since."""
    changing = _changing(context)
    return changing[-1] if changing and is_of_this_vm(context, changing[-1]) else None


def environment(context: Context) -> List[str]:
    """The names of settings that the node had in its environment when an attempt last found it running."""
    noted = [row["extra"]["environment"] for row in attempts(context) if "environment" in row["extra"]]
    return list(noted[-1]) if noted else []


def _changing(context: Context) -> List[Dict[str, Any]]:
    return [row for row in attempts(context) if row["extra"].get("changed")]


def succeeded(row: Dict[str, Any]) -> bool:
    """Whether the hop of an attempt did all it had to; what comes after, verification and clean-up, can be repeated."""
    return row["result"] == "success" or row["stage"] in ("verify", "cleanup")


def amend(context: Context, target: str) -> None:
    """Calls the last upgrade to `target` a success if only its verification had failed; a later look was good.

    What the row said before stays in its ``extra``, as ``amended``.
    """
    changing = _changing(context)
    if not changing or (changing[-1]["stage"], changing[-1]["target_vsn"]) != ("verify", target):
        return
    row = changing[-1]
    said = {key: row[key] for key in ("result", "stage", "details")}
    try:
        context.journal.amend(row["id"], dict(row["extra"], amended=dict(said, run=context.request["run"])))
    except Failure as failure:
        warn(context, "The row of the upgrade could not be amended. " + failure.message)


def half_done(context: Context) -> bool:
    """Whether the VM that runs is between two releases: its last change neither succeeded nor was undone."""
    row = last_change(context)
    return row is not None and row["status"] == "finished" and not succeeded(row)


# ------------------------------------------------------------------------------------------------ the VM of an attempt


def vm_of(context: Context) -> Optional[str]:
    """What tells the VM that runs from every other one, whatever the clock says; empty where none runs.

    It is made of the machine's boot, the OS process, and a process that a restart inside the VM starts anew. None where
    the VM does not answer.
    """
    node = context.site.node
    if node is None:
        return ""
    boot = of_kernel("/proc/sys/kernel/random/boot_id")
    started = processes.started("/proc/{}".format(node.os_pid))
    if boot is None or not started:
        return None
    try:
        controller = context.link.call("erlang", "whereis", [Atom("application_controller")])
    except Failure:
        return None
    if not isinstance(controller, Opaque):
        # The VM is booting.
        return None
    parts = [boot.decode("ascii").strip(), str(node.os_pid), started, controller.raw.hex()]
    return "/".join(parts)


def vm_answers(context: Context) -> bool:
    """Whether the VM told its version when the command began, or none runs. One that hangs is not asked once more."""
    return context.site.node is None or context.result.running is not None


def is_of_this_vm(context: Context, row: Dict[str, Any]) -> bool:
    """Whether an attempt began with the VM that runs now; also where none runs."""
    if context.site.node is None:
        return True
    vm = vm_of(context)
    if row["vm"] is not None and vm is not None:
        return bool(row["vm"] == vm)
    return bool(row["started_at"] >= context.view.started_at())


def _plugin_log(context: Context) -> PluginLog:
    """The table in the VM. Raises `Failure` where the VM can't be asked."""
    log = PluginLog(context.link)
    if log.state == "other":
        warn(context, "The VM's table emqx_relup_log is not as the plugin makes it: it was left alone.")
    return log
