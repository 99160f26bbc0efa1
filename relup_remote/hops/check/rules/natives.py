"""Modules that are not code of the VM alone, or that run something when they are loaded."""

from collections.abc import Iterator

from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import Finding


def natives(case: Case) -> Iterator[Finding]:
    """Modules with native code."""
    for name, turn in case.course.moved.items():
        module = case.difference.changed.get(name)
        if module and (module.loads_nif or case.old.modules[name].loads_nif):
            message = f"{name} has native code: its library is loaded a second time, beside the first."
            yield case.finding("warning", "native_code", turn.step, message)


def on_load(case: Case) -> Iterator[Finding]:
    """Modules that can't be swapped with others."""
    for name, turn in case.course.moved.items():
        module = case.new.modules.get(name)
        if module and module.on_load:
            message = f"{name} has on_load: it is loaded alone, after the modules of its swap."
            yield case.finding("note", "loaded_alone", turn.step, message)


RULES = (natives, on_load)
