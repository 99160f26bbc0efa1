"""Functions that the hop itself calls: those of its apply instructions, and its callbacks."""

from collections.abc import Collection, Iterator

from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.compare import Function
from relup_remote.hops.hop import Callback, Instruction

_PRELOADED = """
    atomics counters erl_init erl_prim_loader erl_tracer erlang erts_code_purger erts_dirty_process_signal_handler
    erts_internal erts_literal_area_collector erts_trace_cleaner init persistent_term prim_buffer prim_eval prim_file
    prim_inet prim_net prim_socket prim_zip socket_registry zlib
"""
PRELOADED = frozenset(_PRELOADED.split())
"""The modules that are in the VM itself, and in no release."""


def applies(case: Case) -> Iterator[Finding]:
    """What an apply calls."""
    for step, module in case.of_kind("apply"):
        if step.function is not None and step.arity is not None:
            yield from _exported(case, step, module, (step.function, step.arity))


def callbacks(case: Case) -> Iterator[Finding]:
    """What the callbacks call."""
    for step in case.hop.callbacks:
        if isinstance(step, Callback) and step.function is not None and step.arity is not None:
            yield from _exported(case, step, case.callback_module, (step.function, step.arity))


def _exported(case: Case, step: Instruction | Callback, module: str, function: Function) -> Iterator[Finding]:
    piece = case.course.piece_of(step)
    turn, has_gone = case.course.loaded.get(module), case.course.has_gone(module, piece)
    if turn and turn.piece <= piece and not has_gone:
        exports = _of_target(case, module)
    elif not case.course.is_known_before(piece):
        return
    elif module in case.old.modules and not has_gone:
        exports = case.old.exported.of(module)
    elif module in PRELOADED or module in case.old.broken_modules:
        return
    elif case.is_helper(module):
        exports = case.helpers[module].exports
    else:
        message = f"{module} is neither loaded at this point nor a helper of the catalogue."
        yield case.finding("error", "module_not_found", step, message)
        return
    if exports is not None and function not in exports:
        name, arity = function
        message = f"{module}:{name}/{arity} is not exported by the version loaded at this point."
        yield case.finding("error", "function_not_exported", step, message)


def _of_target(case: Case, module: str) -> Collection[Function] | None:
    """What a module of the target or a helper exports; None where that can't be told, which is told elsewhere."""
    if module in case.new.modules:
        return case.new.exported.of(module)
    return case.helpers[module].exports if case.is_helper(module) else None


RULES = (applies, callbacks)
