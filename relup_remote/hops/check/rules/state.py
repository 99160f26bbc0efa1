"""Modules whose processes keep a state, or children, from before."""

from collections.abc import Iterator

from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import Finding, Severity
from relup_remote.hops.hop import Instruction

STATEFUL = ("gen_server", "gen_statem", "gen_event", "gen_fsm")
_CODE_CHANGE = {("code_change", 3), ("code_change", 4)}
_SUPERVISORS: dict[str, tuple[Severity, str]] = {
    "load_module": ("warning", "keeps its children"),
    "update": ("note", "takes the new child specifications, but starts no child"),
}


def states(case: Case) -> Iterator[Finding]:
    """Modules with a state that are loaded and not updated."""
    for step, name in case.of_kind("load_module"):
        kinds = _behaviours(case, name, STATEFUL)
        if not (kinds and _is_changed_by(case, step, name)):
            continue
        gained = _CODE_CHANGE & case.difference.gained.get(name, frozenset())
        if gained:
            message = f"{name}, a {kinds[0]}, now exports code_change, and the hop does not update it."
            yield case.finding("warning", "state_not_updated", step, message)
        else:
            message = f"{name}, a {kinds[0]}, is loaded: its processes keep their old state."
            yield case.finding("note", "state_not_updated", step, message)


def supervisors(case: Case) -> Iterator[Finding]:
    """Supervisors whose children may be others."""
    for step, name in (*case.of_kind("load_module"), *case.of_kind("update")):
        module = case.new.modules.get(name)
        if module is None or not _is_changed_by(case, step, name) or module.app in case.course.restarted:
            continue
        if _behaviours(case, name, ("supervisor",)):
            severity, does = _SUPERVISORS[step.kind]
            yield case.finding(severity, "supervisor_changed", step, f"{name} is a supervisor. A running one {does}.")


def _is_changed_by(case: Case, step: Instruction, name: str) -> bool:
    turn = case.course.moved.get(name)
    return name in case.difference.changed and turn is not None and turn.step is step


def _behaviours(case: Case, name: str, wanted: tuple[str, ...]) -> list[str]:
    found = {
        behaviour
        for release in (case.old, case.new)
        if name in release.modules
        for behaviour in release.modules[name].behaviours
    }
    return [behaviour for behaviour in wanted if behaviour in found]


RULES = (states, supervisors)
