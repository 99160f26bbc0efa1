"""What each instruction says: whether it can be done at all."""

from collections.abc import Iterator

from relup_remote.hops.check.case import Case
from relup_remote.hops.check.course import NOT_RESTARTABLE, STICKY, is_open
from relup_remote.hops.check.findings import Finding, Severity
from relup_remote.hops.check.rules.state import STATEFUL
from relup_remote.hops.compare import Module
from relup_remote.hops.helpers import atoms_in
from relup_remote.hops.hop import Callback, Instruction


def form(case: Case) -> Iterator[Finding]:
    """Instructions that are none."""
    for step in (*case.hop.changes, *case.hop.callbacks):
        if isinstance(step, Instruction | Callback) and step.problem is not None:
            yield case.finding("error", "invalid_instr", step, f"Not an instruction: {step.text}: {step.problem}.")


def dynamic(case: Case) -> Iterator[Finding]:
    """What is left to the node."""
    for step in (*case.hop.changes, *case.hop.callbacks):
        if is_open(step):
            text = " ".join(step.span.of(case.hop.text).split())
            message = f"Only a node can evaluate this: {text[:80]}{' …' if len(text) > 80 else ''}"
            yield case.finding("note", "only_the_node_can_tell", step, message)


def modules(case: Case) -> Iterator[Finding]:
    """Modules that can't be loaded."""
    for step, name in (*case.of_kind("load_module"), *case.of_kind("update")):
        yield from _module(case, step, name)
    for step, name in case.of_kind("restart_application"):
        app = case.new.apps.get(name)
        for module in app.modules if app and name not in NOT_RESTARTABLE else ():
            yield from _module(case, step, module)


def _module(case: Case, step: Instruction, name: str) -> Iterator[Finding]:
    if name in case.new.broken_modules:
        yield case.finding("error", "bad_beam", step, f"{name} of the target {case.new.broken_modules[name]}.")
    elif name in case.new.modules:
        yield from _target_module(case, step, case.new.modules[name])
    elif name not in case.helpers:
        message = f"{name} is neither in the target nor a helper of the catalogue."
        yield case.finding("error", "module_not_found", step, message)


def _target_module(case: Case, step: Instruction, module: Module) -> Iterator[Finding]:
    if case.difference.is_unchanged(module.name):
        return
    if module.app in STICKY:
        yield case.finding("error", "sticky_module", step, f"{module.name} is in the sticky directory of {module.app}.")
    if module.max_op > case.old.max_op:
        message = (
            f"{module.name} has instructions up to number {module.max_op}, and the modules of {case.old.version} up to "
            f"{case.old.max_op}: it was compiled for a newer version of OTP."
        )
        yield case.finding("error", "bad_beam", step, message)


def updates(case: Case) -> Iterator[Finding]:
    """Updates that can change no state."""
    for step, name in case.of_kind("update"):
        module = case.new.modules.get(name)
        if module is None or case.difference.is_unchanged(name):
            continue
        changes = {("code_change", 3), ("code_change", 4), ("system_code_change", 4)} & set(module.exports)
        # A supervisor changes its state by init/1. Of a module that is no server, processes may run another one.
        if not changes and "supervisor" not in module.behaviours:
            severity: Severity = "warning" if set(STATEFUL).isdisjoint(module.behaviours) else "error"
            yield case.finding(severity, "function_not_exported", step, f"The new {name} exports no code_change.")
        if not case.old.has_module(name):
            message = f"{name} is new, so no process uses it. The update only loads it."
            yield case.finding("warning", "no_process", step, message)


def without_effect(case: Case) -> Iterator[Finding]:
    """Modules replaced by what they are already."""
    again = {id(step): earlier for step, earlier in case.course.again}
    for step, name in (*case.of_kind("load_module"), *case.of_kind("update")):
        if id(step) in again:
            by = again[id(step)]
            message = f"{name} has been replaced by instruction {by.n}, in line {by.span.line}."
            yield case.finding("warning", "replaced_already", step, message)
        elif case.difference.is_unchanged(name) and name not in case.course.gone:
            yield case.finding("note", "unchanged_module", step, f"{name} is the same in both releases.")


def helpers(case: Case) -> Iterator[Finding]:
    """Helpers that do not compile, are not what they are named, or would take the node's own module away."""
    told = set()
    for step, name in _uses(case):
        helper = case.helpers.get(name)
        if helper is None or not case.is_helper(name) or name in told:
            continue
        told.add(name)
        if helper.error is not None:
            yield case.finding("error", "helper_not_compiled", step, f"{name}.erl, {helper.error}.")
        if helper.module is not None and helper.module != name:
            yield case.finding("error", "bad_beam", step, f"{name}.erl holds the module {helper.module}.")
        if case.old.has_module(name):
            yield case.finding("error", "helper_name_taken", step, f"{case.old.version} has a module {name} itself.")


def _uses(case: Case) -> Iterator[tuple[Instruction | Callback, str]]:
    """The helpers that an instruction names, at any place, and those that these name, and so on."""
    for step in case.instructions:
        yield from ((step, name) for name in _with_inner(case, atoms_in(step.text)))
    for callback in case.hop.callbacks:
        if isinstance(callback, Callback):
            yield from (
                (callback, name) for name in _with_inner(case, {case.callback_module, *atoms_in(callback.text)})
            )


def _with_inner(case: Case, names: set[str]) -> list[str]:
    found: list[str] = []
    waiting = sorted(names, reverse=True)
    while waiting:
        name = waiting.pop()
        if name in case.helpers and name not in found:
            found.append(name)
            waiting += sorted(case.helpers[name].names, reverse=True)
    return found


RULES = (form, dynamic, modules, updates, without_effect, helpers)
