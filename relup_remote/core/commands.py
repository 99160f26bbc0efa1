"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what each command does, from its steps."""

import os
import time
from contextlib import contextmanager, suppress
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import boot, checks, cluster_lock, history, recovery, release, running_node
from .backup.store import backups, newest
from .context import Context
from .deadline import TimeIsUp
from .files import make_dirs
from .lock import Lock, held, holder, taken_over
from .protocol import COMMANDS, NOTHING_LEFT, Failure, Step
from .steps import apply, backup, checksum, cleanup, extract, patches, restore, rollback, stage, verify

_STEPS: Dict[str, Callable[[Context], Tuple[str, Dict[str, Any]]]] = {
    "stage": stage.run,
    "checksum": checksum.run,
    "patches": patches.run,
    "extract": extract.run,
    "apply": apply.run,
    "verify": verify.run,
    "cleanup": cleanup.run,
    "rollback": rollback.run,
    "backup": backup.run,
    "restore": restore.run,
}

WHOLE = ("apply", "rollback", "restore")
"""The steps that are not cut when the time of a request is over: half of one would leave a node half-way."""

_WHILE_HALFWAY = ("status", "logs", "backups", "backup-verify", "unlock", "restore")
"""The commands that a restore that was cut off does not keep from working: those that look, and the way out."""

_WITHOUT_ANSWER = ("rollback", "unlock", "restore", "backups", "backup-verify")
"""The commands for which the node need not answer: they may be what it needs, and read or remove only files."""

_UNWRITABLE = ("journal_unusable", "no_write_permission", "cannot_write_file", "cannot_create_dir", "disk_full")


def run(context: Context) -> None:
    """Carries out the request's command; the context's result says how it went. Raises `Failure`."""
    command = context.request["command"]
    if command in ("status", "plan"):
        _tell_of_host(context)
    if command not in _WHILE_HALFWAY:
        restore.refuse_halfway(context)
    if command not in ("logs", "logs-clear") and context.site.node is not None:
        context.result.node = context.site.node.name
        try:
            context.result.running = context.result.from_vsn = context.view.version()
        except Failure:
            goes_back = command == "status" and context.option("dry_run")
            if not (goes_back or command in _WITHOUT_ANSWER or context.option("lock_blind")):
                raise
    _COMMANDS[command](context)


def _tell_of_host(context: Context) -> None:
    """What is known whether the node answers or not."""
    site, facts = context.site, context.result.facts
    facts.update(marker=release.marked_version(site.base), cluster_lock=cluster_lock.read(site.ours), service=None)
    try:
        facts["service"] = context.service
    except Failure as failure:
        if failure.err_type != "service_unknown":
            raise
        # What has to restart the node refuses by itself.
        context.result.warnings.append(failure.to_json())


def _tell_of_node(context: Context, ask: Callable[[Context, Callable[[], Any]], Any]) -> None:
    view = context.view
    nodes = ask(context, view.nodes)
    context.result.facts.update(
        role=ask(context, view.role),
        nodes=nodes,
        cluster={"running": nodes, "stopped": ask(context, view.stopped_nodes)},
        connections=ask(context, view.connections),
    )


def _known(_context: Context, look: Callable[[], Any]) -> Any:
    """What the node says of itself, where nothing may be unknown. Raises `Failure` call_timeout."""
    return look()


def _known_or_not(context: Context, look: Callable[[], Any]) -> Any:
    """What the node says of itself; None, and a warning, where a process that it asks does not answer."""
    try:
        return look()
    except Failure as failure:
        if failure.err_type != "call_timeout":
            raise
        warning = failure.to_json()
        if warning not in context.result.warnings:
            context.result.warnings.append(warning)
        return None


def _steps(context: Context, names: Any) -> None:
    for name in names:
        context.deadline.check()
        context.emit({"event": "step", "step": name, "status": "start"})
        started = time.monotonic()
        try:
            status, detail = _run_step(context, name)
        except Failure as failure:
            failure.stage = failure.stage or name
            _done(context, Step(name, "failed", time.monotonic() - started, {"err_type": failure.err_type}))
            raise
        _done(context, Step(name, status, time.monotonic() - started, detail))


def _run_step(context: Context, name: str) -> Tuple[str, Dict[str, Any]]:
    if name not in WHOLE:
        return _STEPS[name](context)
    # It has limits of its own; what it came to is told before its time counts.
    with context.deadline.holding():
        return _STEPS[name](context)


def _done(context: Context, step: Step) -> None:
    context.result.steps.append(step)
    context.emit(dict(step.to_json(), event="step"))


@contextmanager
def _locked(context: Context) -> Iterator[None]:
    """Holds the node's lock; says so where whoever held it last is dead."""
    context.site.make_ours()
    owner = {key: context.request[key] for key in ("command", "operator", "run")}
    # A run that is taken up again may find its earlier core at work, and two of its hosts may lead to one node.
    with Lock(context.site.ours, owner, context.option("hop_timeout")) as lock:
        if lock.taken_over is not None:
            context.emit({"event": "note", "message": taken_over(lock.taken_over)})
        yield


@contextmanager
def changing(context: Context) -> Iterator[None]:
    """As `_locked`, for what changes the host: refused with cluster_locked while another run has locked the cluster."""
    with _locked(context):
        # Only now: who locks the cluster looks for the holder of the node's lock after he has written his own.
        cluster_lock.refuse(context)
        yield


# ------------------------------------------------------------------------------------------------ upgrade and its like


def _upgrade(context: Context) -> None:
    with changing(context):
        recovery.finish_rows(context, wait=True)
        recovery.refuse_during_hop(context)
        context.result.running = context.result.from_vsn = context.view.version()
        _count_connections(context)
        recovery.note_unfinished(context)
        facts = context.tarball["release"]
        context.result.target = facts.get("version")
        options = {name: context.option(name) for name in ("force", "backup_age")}
        with _attempt(context, dict(options, tarball=context.tarball["name"])):
            try:
                # Where the tree is there already the step looks at that, with all that is known of it.
                _refuse(context, at_hop=not extract.is_prepared(context))
                _steps(context, COMMANDS["upgrade"])
            finally:
                if context.changed:
                    context.result.running = _version_now(context)
    context.result.outcome = "upgraded"


def _count_connections(context: Context) -> None:
    """Tells how many clients are connected before anything is done that they could mind."""
    if context.site.node is not None:
        context.result.facts["connections_before"] = _known_or_not(context, context.view.connections)


@contextmanager
def _attempt(context: Context, options: Dict[str, Any]) -> Iterator[None]:
    """Keeps the history's row of what is done in its block."""
    history.begin(context, options)
    try:
        yield
    except Failure as failure:
        _finish(context, failure.err_type, failure.stage, failure.message)
        raise
    except TimeIsUp:
        _finish(context, "deadline_exceeded")
        raise
    except BaseException:
        _finish(context, "internal_error")
        raise
    _finish(context, "success")


def _finish(context: Context, result: str, stage: Optional[str] = None, details: Optional[str] = None) -> None:
    # While the hop goes on in the VM its row stays open: whoever comes next finishes it by the outcome.
    if not context.hop_runs:
        history.finish(context, result, stage, details)


def _version_now(context: Context) -> Any:
    try:
        return context.view.version()
    except Failure:
        return None


def _refuse(context: Context, at_hop: bool = True) -> None:
    """Raises the first of all the reasons there are not to begin an upgrade. The hop is looked at only `at_hop`."""
    problems = checks.refusals(context)
    if not problems and at_hop:
        for problem in apply.preflight(context, None):
            problem.stage = "apply"
            problems.append(problem)
    backup = checks.refusals(context, checks.OF_BACKUP)
    # Where nothing is left to do, nothing needs a backup.
    if not any(problem.err_type in NOTHING_LEFT for problem in problems):
        problems += backup
    _refuse_for(context, problems)


def _refuse_for(context: Context, problems: List[Failure]) -> None:
    """Raises the first of the problems; all of them are in the result."""
    context.result.problems = problems
    if problems:
        raise problems[0]


def _refuse_where_others_work(context: Context) -> None:
    by = holder(context.site.ours)
    if by is not None:
        raise held(by)


def _plan(context: Context) -> None:
    context.result.facts["bytes_to_send"] = stage.bytes_to_send(context)
    _tell_of_node(context, _known)
    _refuse_where_others_work(context)
    _finish_rows(context)
    context.result.facts["history"] = history.attempts(context)[-1:]
    recovery.refuse_during_hop(context)
    context.result.target = context.tarball["release"].get("version")
    recovery.note_unfinished(context)
    _refuse(context)
    context.result.facts["prepared"] = extract.is_prepared(context)
    context.result.outcome = "ready"


def _stage(context: Context) -> None:
    context.result.target = context.tarball["release"].get("version")
    _refuse_for(context, checks.refusals(context, checks.OF_STAGING))
    with changing(context):
        _steps(context, COMMANDS["stage"])
    context.result.outcome = "unchanged" if context.result.steps[0].status == "unchanged" else "staged"


def _prepare(context: Context) -> None:
    """All of an upgrade that changes no node. What can be seen without the tree is refused before a byte is sent."""
    stage.tell_if_there(context)
    with changing(context):
        recovery.finish_rows(context, wait=True)
        recovery.refuse_during_hop(context)
        context.result.running = context.result.from_vsn = context.view.version()
        recovery.note_unfinished(context)
        context.result.target = context.tarball["release"].get("version")
        _refuse(context, at_hop=not extract.is_prepared(context))
        _steps(context, COMMANDS["prepare"])
        try:
            apply.check(context)
        except Failure as failure:
            failure.stage = failure.stage or "apply"
            raise
    # Also where it was before: `unchanged` is the word for a host on which nothing is left to do.
    context.result.outcome = "prepared"
    # The gates after its wave verify the node. What they need is compiled now, while nobody waits for it. Where that
    # fails, or the time is over, it is compiled then.
    with suppress(Failure, TimeIsUp):
        context.agent.prepare_looks()


def _cleanup(context: Context) -> None:
    if context.option("dry_run"):
        _refuse_where_others_work(context)
        cluster_lock.refuse(context)
        # No step is told of: none is taken.
        status, _ = cleanup.run(context)
        context.result.outcome = "ready" if status == "ok" else status
        return
    with changing(context):
        _steps(context, COMMANDS["cleanup"])
    status = context.result.steps[-1].status
    context.result.outcome = "cleaned" if status == "ok" else status


def _rollback(context: Context) -> None:
    with changing(context):
        if history.vm_answers(context):
            recovery.finish_rows(context, wait=False)
            recovery.refuse_during_hop(context)
            _count_connections(context)
        context.result.target = release.read_tree(context.site.base).version
        with _attempt(context, {"rollback": True, "purge": context.option("purge")}):
            _steps(context, COMMANDS["rollback"])
    context.result.outcome = "rolled back"


def _rollback_dry(context: Context) -> None:
    """Raises `Failure` for what a rollback would refuse, or because there is nothing to roll back."""
    try:
        restore.refuse_halfway(context)
        _refuse_where_others_work(context)
        if history.vm_answers(context):
            recovery.refuse_during_hop(context)
        rollback.refuse(context)
    except Failure as failure:
        failure.stage = failure.stage or "rollback"
        raise


def _lock(context: Context) -> None:
    context.result.outcome = "locked" if _telling_lock(context, cluster_lock.take) else "unchanged"


def _unlock(context: Context) -> None:
    context.result.outcome = "unlocked" if _telling_lock(context, cluster_lock.release) else "unchanged"


def _telling_lock(context: Context, act: Callable[[Context], bool]) -> bool:
    """Does something about the cluster's lock; the result's facts say what it is after that."""
    try:
        return act(context)
    finally:
        context.result.facts["cluster_lock"] = cluster_lock.read(context.site.ours)


# ------------------------------------------------------------------------------------------------ backups


def _backup(context: Context) -> None:
    if not os.path.isdir(context.site.data_dir):
        # There is no place for a lock either.
        raise Failure("backup_incomplete", "{} is not there.".format(context.site.data_dir), stage="backup")
    with _locked(context):
        recovery.refuse_during_hop(context)
        _refuse_for(context, checks.refusals(context, backup.CHECKS))
        _steps(context, COMMANDS["backup"])
    context.result.outcome = "backed up"


def _backups(context: Context) -> None:
    found = backups(context.site.backups)
    context.result.facts["backups"] = [each.facts() for each in reversed(found)]
    try:
        context.result.facts["restore_left"] = restore.left_half_way(context)
    except Failure as failure:
        # Of which backup can't be told.
        history.warn(context, "{} {}".format(failure.message, failure.hint))


def _backup_verify(context: Context) -> None:
    found = restore.chosen(context)
    context.result.facts["backup"] = found.facts()
    restore.checked(context, found)
    context.result.outcome = "verified"


def _restore(context: Context) -> None:
    if context.option("dry_run"):
        _restore_dry(context)
        return
    # Where the data folder is gone our own has no place yet; to make one is no change to a node.
    make_dirs(context.site.data_dir, 0o755)
    with changing(context):
        goes_on = restore.left_over(context) is not None
        _refuse_for(context, checks.refusals(context, restore.CHECKS_TO_GO_ON if goes_on else restore.CHECKS))
        _steps(context, COMMANDS["restore"])
    context.result.outcome = "restored"


def _restore_dry(context: Context) -> None:
    """All that a restore would refuse, but for what only reading the complete backup tells."""
    _backups(context)
    goes_on = restore.left_over(context) is not None
    wanted = restore.CHECKS_TO_GO_ON if goes_on else restore.QUICK_CHECKS
    others = (("restore", _refuse_where_others_work), ("restore", cluster_lock.refuse))
    _refuse_for(context, checks.refusals(context, others + wanted))
    context.result.outcome = "ready"


# ------------------------------------------------------------------------------------------------ looking


def _verify(context: Context) -> None:
    _finish_rows(context)
    context.result.target = context.request.get("target")
    if context.site.node is not None:
        # The gates between two waves want to know this of the same moment, and ask once. Whether the code is right does
        # not depend on it.
        _tell_of_node(context, _known_or_not)
    _steps(context, COMMANDS["verify"])
    context.result.outcome = "verified"


def _finish_rows(context: Context) -> None:
    """Where a dead core left a row, finishes it; while another one works, leaves all to that.

    A disk that can't be written keeps nobody from looking: it is a warning.
    """
    if all(row["status"] == "finished" and row["mirrored"] for row in history.attempts(context)):
        return
    try:
        with _locked(context):
            recovery.finish_rows(context, wait=False)
    except Failure as failure:
        if failure.err_type in _UNWRITABLE:
            history.warn(context, "The history could not be brought up to date. " + failure.message)
        elif failure.err_type != "upgrade_in_progress":
            raise


def _status(context: Context) -> None:
    try:
        _tell_status(context)
    except Failure:
        # A node that does not answer may be what has to be rolled back.
        if context.option("dry_run"):
            _rollback_dry(context)
        raise
    if context.option("dry_run"):
        _rollback_dry(context)
    if context.site.node is None:
        raise Failure("node_not_running", "No node runs from {}.".format(context.site.base))


def _tell_status(context: Context) -> None:
    facts = context.result.facts
    site = context.site
    facts.update(
        base_root=site.base,
        data_dir=site.data_dir,
        boot_root=site.booted_by_marker(),
        partial_trees=site.partial_trees(),
        patches=len(checks.patch_names(site.data_dir)),
    )
    _tell_backups(context)
    by = holder(site.ours)
    _finish_rows(context)
    if site.node is not None:
        facts.update(
            running_root=site.node.root,
            os_pid=site.node.os_pid,
            otp=context.view.otp_major(),
            ready=_known_or_not(context, context.view.is_ready),
        )
        _tell_of_node(context, _known_or_not)
    context.result.target = facts["marker"]
    facts["history"] = history.attempts(context)[-1:]
    _tell_boot(context)
    facts["state"], facts["state_text"] = _state(context, by)


def _tell_boot(context: Context) -> None:
    """Whether the next start would find the node's files, as far as that is to be seen without running anything."""
    try:
        told = boot.look(context.site.booted_by_marker(), context.site)
    except Failure as failure:
        history.warn(context, failure.message)
        return
    # What is lacking there has been set by nobody.
    context.result.facts["boot"] = dict(told, said=[])
    if told["problems"]:
        context.result.warnings.append(boot.would_not_boot(told).to_json())


def _tell_backups(context: Context) -> None:
    """The newest complete backup, and the newest that is of the release which a rollback goes back to."""
    kept, name = backups(context.site.backups), context.result.node
    # Where that can't be told, a backup of it could not have been made.
    base = release.version_of(context.site.base) or ""
    for fact, wanted in (("backup", None), ("backup_of_base", base)):
        found = newest(kept, name, wanted)
        context.result.facts[fact] = None if found is None else found.facts()


def _state(context: Context, by: Any) -> Tuple[str, str]:
    facts = context.result.facts
    if by is not None:
        return "in-progress", held(by).message
    try:
        restore.refuse_halfway(context)
    except Failure as failure:
        return "half-restored", "{} {}".format(failure.message, failure.hint)
    if context.site.node is None:
        return "stopped", "stopped; the next start boots {}".format(facts["boot_root"])
    if recovery.hop_under_way(context):
        return "in-progress", "a hop is under way in the VM"
    if history.half_done(context):
        last = history.last_change(context) or {}
        what = "rollback" if last["options"].get("rollback") else "upgrade"
        return "half-done", "half-way to {target_vsn}: {result}; run the {} again to finish it".format(what, **last)
    return _state_of_boot(context)


def _state_of_boot(context: Context) -> Tuple[str, str]:
    """How what runs and what the next restart boots go together."""
    facts, running = context.result.facts, context.result.running
    lost = release.lost_tree(context.site.base)
    if lost is not None:
        return "unbootable", "the marker names {}, but its tree {} is missing: a restart would fail".format(*lost)
    boots = release.version_of(facts["boot_root"])
    if running_node.is_same(facts["running_root"], facts["boot_root"]):
        if running in (None, boots):
            return "idle", "idle; booted into {}".format(facts["marker"]) if facts["marker"] else "idle"
    elif facts["marker"] is not None and running in (None, boots):
        return "hot-upgraded", "running {}; the next restart boots it from its own tree".format(facts["marker"])
    what = "the marker names {}".format(facts["marker"]) if facts["marker"] else "there is no marker"
    text = "runs {} from {}, but {}: the next restart boots {} from {}"
    return "restart-differs", text.format(running or "", facts["running_root"], what, boots or "", facts["boot_root"])


def _logs(context: Context) -> None:
    if context.option("dry_run"):
        try:
            _refuse_where_others_work(context)
            cluster_lock.refuse(context)
        except Failure as failure:
            failure.stage = "logs-clear"
            raise
    rows, limit = history.merged(context), context.option("limit")
    context.result.facts["history"] = rows[-limit:] if limit > 0 else rows


def _logs_clear(context: Context) -> None:
    with changing(context):
        removed = context.result.facts["removed"] = history.clear(context)
    context.result.outcome = "cleaned" if any(removed.values()) else "unchanged"


_COMMANDS: Dict[str, Callable[[Context], None]] = {
    "status": _status,
    "plan": _plan,
    "stage": _stage,
    "prepare": _prepare,
    "upgrade": _upgrade,
    "verify": _verify,
    "cleanup": _cleanup,
    "rollback": _rollback,
    "logs": _logs,
    "logs-clear": _logs_clear,
    "backup": _backup,
    "backups": _backups,
    "backup-verify": _backup_verify,
    "restore": _restore,
    "lock": _lock,
    "unlock": _unlock,
}
