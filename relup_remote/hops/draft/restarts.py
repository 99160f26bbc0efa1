"""Which applications have to be restarted: those that loads can't bring to where they should be.

One that takes connections is left running all the same, for a restart would drop them: its author decides.
"""

from collections.abc import Iterator, Mapping

from relup_remote.hops.check.course import NOT_RESTARTABLE
from relup_remote.hops.compare import App, Application, Difference, Module
from relup_remote.hops.draft.words import atoms
from relup_remote.hops.reading.writing import atom

_LISTENING = frozenset(
    {
        ("gen_tcp", "listen"),
        ("ssl", "listen"),
        ("socket", "listen"),
        ("esockd", "open"),
        ("ranch", "start_listener"),
        ("cowboy", "start_clear"),
        ("cowboy", "start_tls"),
        ("quicer", "listen"),
        ("quicer", "spawn_listener"),
    }
)


def is_supervisor(module: Module) -> bool:
    """Whether a module says what children a supervisor has."""
    return "supervisor" in module.behaviours


def restarts(difference: Difference) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The applications to be restarted, or started for the first time; and those spared. Each with the reasons."""
    apps = difference.new.apps
    reasons = {name: list(_reasons(app, difference)) for name, app in difference.kept_apps.items()}
    reasons |= {name: ["new"] for name in difference.added_apps}
    reasons = _with_parts(reasons, apps)
    wanted = {name: told for name, told in reasons.items() if told and apps[name].runs and name not in NOT_RESTARTABLE}
    spared = {name: told for name, told in wanted.items() if _runs(name, difference) and listeners(name, difference)}
    found = {name: told for name, told in wanted.items() if name not in spared}
    waiting = list(wanted)
    for name in waiting:
        for needed in sorted({*apps[name].applications} - {*apps[name].optional, *NOT_RESTARTABLE} - found.keys()):
            if needed in apps and _is_stopped(needed, difference):
                found[needed] = [f"{atom(name)} needs it, and it does not run"]
                waiting.append(needed)
    return found, spared


def _with_parts(reasons: dict[str, list[str]], apps: Mapping[str, App]) -> dict[str, list[str]]:
    """The reasons, where those of an application that another one includes are that one's: it can't run by itself."""
    outer = {part: name for name, app in apps.items() for part in app.included if part != name}
    found = {name: list(told) for name, told in reasons.items() if name not in outer}
    for part, told in reasons.items():
        if part in outer:
            whole, seen = outer[part], {part}
            while whole in outer and whole not in seen:
                seen.add(whole)
                whole = outer[whole]
            found.setdefault(whole, []).extend(f"{atom(part)} is a part of it: {reason}" for reason in told)
    return found


def listeners(app: str, difference: Difference) -> list[str]:
    """The modules of an application that open ports for connections."""
    return [
        module.name
        for module in difference.new.modules.values()
        if module.app == app and any((called, function) in _LISTENING for called, function, _ in module.imports)
    ]


def needs_of(app: str, difference: Difference) -> set[str]:
    """The applications that one of the new release needs, those that these need, and so on."""
    apps = difference.new.apps
    found: set[str] = set()
    waiting = [app]
    while waiting:
        name = waiting.pop()
        new = {*apps[name].applications} - found if name in apps else set()
        found |= new
        waiting += new
    return found - {app}


def _runs(app: str, difference: Difference) -> bool:
    before = difference.old.apps.get(app)
    return before is not None and before.runs is True


def _is_stopped(app: str, difference: Difference) -> bool:
    """Whether an application surely does not run on a node of the old release."""
    before = difference.old.apps.get(app)
    return before is None or before.runs is False


def _reasons(app: Application, difference: Difference) -> Iterator[str]:
    changed = [difference.changed[name] for name in app.new.modules if name in difference.changed]
    supervisors = [module.name for module in changed if is_supervisor(module)]
    if supervisors and app.new.start:
        yield f"its supervisor{'s' if len(supervisors) > 1 else ''} {atoms(supervisors)} changed"
    if app.has_another_start:
        yield "another module starts it"
    if app.has_another_environment:
        yield "its environment changed"
    needed = [name for name in app.needs_more if name not in app.new.optional and _is_stopped(name, difference)]
    if needed:
        yield f"it needs {atoms(needed)} now"
    if app.old.runs is False:
        yield "the release starts it now"
