"""Applications: those that the hop restarts, and those that the target has otherwise."""

from collections.abc import Iterator

from relup_remote.hops.check.case import Case, named
from relup_remote.hops.check.course import NOT_RESTARTABLE
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.compare import App
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
        elif case.course.is_known_before(piece) and not _runs_before(case, needed, piece):
            message = f"{app.name} needs {needed}, which {case.old.version} does not start, nor the hop before this."
            yield case.finding("error", "app_dependency_not_started", step, message)


def _runs_before(case: Case, name: str, piece: int) -> bool:
    running = case.old.apps.get(name)
    return (running is not None and running.runs) or any(
        turn.piece < piece and app == name for app, turn in case.course.restarted.items()
    )


def uses(case: Case) -> Iterator[Finding]:
    """Applications that an apply needs once they are restarted."""
    for step, module in case.of_kind("apply"):
        found = case.new.modules.get(module)
        turn = case.course.restarted.get(found.app) if found else None
        if found and turn and turn.piece < case.course.piece_of(step):
            message = f"It calls {module}:{step.function}, and instruction {turn.step.n} restarts {found.app}."
            yield case.finding("note", "used_after_restart", step, message)


def others(case: Case) -> Iterator[Finding]:
    """Applications that are new, gone, or otherwise than before, and that the hop does not restart."""
    if not case.course.is_known:
        return
    untouched = {name: app for name, app in case.difference.kept_apps.items() if name not in case.course.restarted}
    for name, app in case.difference.added_apps.items():
        if app.runs and name not in case.course.restarted:
            yield case.finding("warning", "app_added", None, f"{name} is new, and the hop does not start it.")
    for name, app in case.difference.removed_apps.items():
        if app.runs:
            yield case.finding("warning", "app_removed", None, f"{name} is not in the target, and goes on running.")
    for name, both in untouched.items():
        if both.needs_more:
            message = f"{name} needs {named(both.needs_more)} now, and the hop does not restart it."
            yield case.finding("warning", "dependencies_changed", None, message)
        if both.is_configured_otherwise:
            message = f"{name} has another environment or start module, and the hop does not restart it."
            yield case.finding("warning", "configured_otherwise", None, message)


RULES = (restarts, uses, others)
