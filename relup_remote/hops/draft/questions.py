"""What a draft asks its author: all that decides about a hop and is in no release."""

from collections.abc import Iterator

from relup_remote.hops.check.course import STICKY
from relup_remote.hops.compare import Module
from relup_remote.hops.draft.order import Kind, Step
from relup_remote.hops.draft.restarts import is_supervisor, listeners
from relup_remote.hops.draft.steps import Steps, changes_state, has_state
from relup_remote.hops.draft.words import atoms, listed
from relup_remote.hops.reading.writing import atom

CALLBACKS = "emqx_post_upgrade"
"""The module of a release whose functions hops may call when all code is new."""


def of_step(step: Step, steps: Steps) -> list[str]:
    """The questions about one instruction."""
    about = _of_restart(step.app, steps) if step.kind is Kind.RESTART else _of_module(step, steps)
    return [*about, *_of_callers(step, steps)]


def of_group(group: list[Step]) -> list[str]:
    """The questions about steps that need each other."""
    if len(group) == 1 or all(step.kind in (Kind.LOAD, Kind.RELEASE) for step in group):
        return []
    names = [step.name for step in group]
    return [
        f"{atoms(names, most=len(names))} call functions of each other that are new or gone, and they can't be "
        "replaced at once. Which of them can go first?"
    ]


def _of_module(step: Step, steps: Steps) -> Iterator[str]:
    name = atom(step.module)
    module = steps.difference.new.modules[step.module]
    is_changed = step.module in steps.difference.changed
    if is_changed and is_supervisor(module):
        yield f"Did the children of {name} change? An update does not start or stop any."
    elif step.kind is Kind.UPDATE:
        yield (
            f"Does the state of {name} change its shape, and does code_change need more than []? "
            f"If it does not change, {{load_module, {name}}} will do."
        )
        if "gen_event" in module.behaviours:
            yield f"Do all event managers with the handler {name} have modules => dynamic? Others are not found."
    elif is_changed and changes_state(module) and not steps.has_processes(module):
        yield (
            f"Who starts the processes of {name}? No supervisor names it, so an update would find none of them, "
            "and they would keep their old state."
        )
    elif is_changed and has_state(module):
        yield f"Does the state of {name} change its shape? It exports no code_change, so an update is not possible."
    if module.loads_nif:
        yield f"Can the native code of {name} be loaded a second time, beside the old one?"
    elif module.on_load:
        yield f"Can on_load of {name} run in a running node?"
    app = steps.difference.new.apps.get(module.app)
    if is_changed and app and app.runs and _starts(app.start, step.module):
        yield f"Does {name} start anything new? The hop does not call its start/2: {_restart(app.name)} would."


def _starts(start: object, module: str) -> bool:
    return isinstance(start, tuple) and bool(start) and start[0] == module


def _of_callers(step: Step, steps: Steps) -> Iterator[str]:
    for called, callers in steps.stranded.get(step, {}).items():
        yield f"Are these calls ever made? {atoms(callers)} will still call what {atom(called)} no longer has."


def _of_restart(app: str, steps: Steps) -> Iterator[str]:
    both = steps.difference.kept_apps.get(app)
    if both is None:
        return
    running = [name for name, other in steps.difference.old.apps.items() if other.runs]
    dependents = [name for name in running if app in steps.difference.old.apps[name].applications]
    if dependents and not both.old.is_library:
        verb = "need" if len(dependents) > 1 else "needs"
        yield f"May {atom(app)} stop for a moment? {atoms(dependents)} {verb} it."
    if both.has_another_environment:
        yield f"Was anything in the environment of {atom(app)} set at run time? The restart forgets it."


def of_release(steps: Steps, callbacks: bool) -> Iterator[str]:
    """The questions about the hop as a whole; ``callbacks`` says whether it has any."""
    old, new = steps.difference.old, steps.difference.new
    if (old.otp, old.erts) != (new.otp, new.erts):
        yield (
            f"Does the new code work on Erlang/OTP {old.otp} (ERTS {old.erts})? The node keeps it until the next boot, "
            f"which brings {new.otp} (ERTS {new.erts})."
        )
    for name, reasons in steps.spared.items():
        yield (
            f"May the connections of {atom(name)} be dropped? The draft does not restart it, to keep them, although "
            f"{' and '.join(reasons)} ({atoms(listeners(name, steps.difference))} listens). {_restart(name)} would."
        )
    kept = [
        name for name in sorted({**steps.difference.changed, **steps.difference.added}) if name not in steps.of_module
    ]
    if kept:
        yield f"Can {atoms(kept)} wait for the next boot? No node lets modules of {atoms(STICKY)} be replaced."
    broken = sorted([*new.broken_modules, *new.broken_apps])
    if broken:
        yield f"Is the tarball whole? {atoms(broken)} can't be read."
    for name, app in steps.difference.removed_apps.items():
        if app.runs and not app.is_library:
            stop = f"{{apply, application, stop, [{atom(name)}]}} stops it."
            yield f"Should {atom(name)} stop? It is gone from the release, and runs until the next boot. {stop}"
    for name, app in steps.difference.added_apps.items():
        if app.runs is None and not app.is_library:
            yield f"Does anything start {atom(name)}? It is new, with the start type load. {_restart(name)} starts it."
    running = [name for name, module in steps.difference.removed.items() if _stays(module, steps)]
    if running:
        yield f"Who stops the processes of {atoms(running)}? They run until the next boot, without the module's file."
    offered = [f"{atom(name)}/{arity}" for name, arity in sorted(steps.difference.gained.get(CALLBACKS, ())) if arity]
    if offered and not callbacks:
        yield f"Must anything be called once all code is new? {CALLBACKS} has {listed(offered)} only in the target."


def _stays(module: Module, steps: Steps) -> bool:
    """Whether a module that is gone from the release has processes that go on."""
    stops = module.name in steps.of_module or module.app in steps.difference.removed_apps
    return (changes_state(module) or has_state(module)) and not stops


def _restart(app: str) -> str:
    return f"{{restart_application, {atom(app)}}}"
