"""Applications: those that the hop restarts, and those that the target has otherwise."""

from collections.abc import Iterator

from relup_remote.hops.check.case import NAMED, Case, counted, named
from relup_remote.hops.check.course import NOT_RESTARTABLE
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.compare import App, Application
from relup_remote.hops.hop import Instruction


def restarts(case: Case) -> Iterator[Finding]:
    """Restarts that can't be done."""
    for step, name in case.of_kind("restart_application"):
        app = case.new.apps.get(name)
        if name in NOT_RESTARTABLE:
            yield case.finding("error", "app_not_restartable", step, f"{name} can't be restarted in a hop.")
        elif name in case.new.broken_apps:
            message = f"The .app file of {name} {case.new.broken_apps[name]}."
            yield case.finding("error", "app_not_found", step, message)
        elif app is None:
            yield case.finding("error", "app_not_found", step, f"The target has no application {name}.")
        else:
            yield from _dependencies(case, step, app)


def _dependencies(case: Case, step: Instruction, app: App) -> Iterator[Finding]:
    piece = case.course.piece_of(step)
    for needed in app.applications:
        if needed in app.optional:
            continue
        if needed not in case.new.apps:
            message = f"{app.name} needs {needed}, which is not in the target."
            yield case.finding("error", "app_dependency_missing", step, message)
        elif case.course.is_known_before(piece):
            yield from _started(case, step, app, needed, _runs_before(case, needed, piece))


def _started(case: Case, step: Instruction, app: App, needed: str, runs: bool | None) -> Iterator[Finding]:
    if runs is False:
        message = f"{app.name} needs {needed}, which neither {case.old.version} nor the hop starts before this."
        yield case.finding("error", "app_dependency_not_started", step, message)
    elif runs is None:
        message = f"{app.name} needs {needed}. Only a node can tell whether that runs."
        yield case.finding("note", "only_the_node_can_tell", step, message)


def _runs_before(case: Case, name: str, piece: int) -> bool | None:
    running = case.old.apps.get(name)
    if any(turn.piece < piece and app == name for app, turn in case.course.restarted.items()):
        return True
    return running.runs if running is not None else False


def uses(case: Case) -> Iterator[Finding]:
    """Applications that an apply needs once they are restarted."""
    for step, module in case.of_kind("apply"):
        found = case.new.modules.get(module)
        turn = case.course.restarted.get(found.app) if found else None
        if found and turn and turn.piece < case.course.piece_of(step):
            message = f"It calls {module}:{step.function} after instruction {turn.step.n} has restarted {found.app}."
            yield case.finding("note", "used_after_restart", step, message)


def others(case: Case) -> Iterator[Finding]:
    """Applications that are new, gone, or otherwise than before, and that the hop does not restart."""
    if not case.course.is_known:
        return
    untouched = {name: app for name, app in case.difference.kept_apps.items() if name not in case.course.restarted}
    for app in case.difference.added_apps.values():
        if app.name not in case.course.restarted:
            yield from _added(case, app)
    for name, app in case.difference.removed_apps.items():
        # A library has nothing that runs; its modules are told of as such.
        if app.runs and not app.is_library:
            yield case.finding("warning", "app_removed", None, f"{name} is not in the target, and keeps running.")
    for name, both in untouched.items():
        yield from _needs_more(case, both)
        if both.is_configured_otherwise:
            message = f"{name} has a different environment or start module, and the hop does not restart it."
            yield case.finding("warning", "configured_otherwise", None, message)


def _added(case: Case, app: App) -> Iterator[Finding]:
    """A new application that the hop does not restart. One that is only code is there once its modules are."""
    missing = [name for name in app.modules if name not in case.course.loaded and name not in case.old.modules]
    if app.runs and not app.is_library:
        yield case.finding("warning", "app_added", None, f"{app.name} is new, and the hop does not start it.")
    elif app.started is not None and missing:
        all_of_them = counted(len(app.modules), "module", "modules")
        message = (
            f"{app.name} is new, and the hop does not load {len(missing):,} of its {all_of_them}: {named(missing)}."
        )
        yield case.finding("warning", "app_added", None, message, count=len(missing), modules=missing[:NAMED])
    elif app.runs is None and not app.is_library:
        message = (
            f"{app.name} is new, has the start type load, and the hop does not start it. Does anything else start it?"
        )
        yield case.finding("note", "app_added", None, message)


def _needs_more(case: Case, both: Application) -> Iterator[Finding]:
    """What an application needs only now, unless that runs by itself or is not needed to run."""
    runs = {name: _runs_before(case, name, case.course.pieces) for name in both.needs_more}
    absent = [name for name, is_running in runs.items() if is_running is False and name not in both.new.optional]
    unclear = [name for name, is_running in runs.items() if is_running is None and name not in both.new.optional]
    if absent:
        name = both.new.name
        message = f"{name} now needs {named(absent)}, which does not run, and the hop does not restart {name}."
        yield case.finding("warning", "dependencies_changed", None, message)
    if unclear:
        message = f"{both.new.name} now needs {named(unclear)}. Only a node can tell whether that runs."
        yield case.finding("note", "dependencies_changed", None, message)


RULES = (restarts, uses, others)
