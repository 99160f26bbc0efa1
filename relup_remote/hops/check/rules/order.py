"""Calls between modules while the hop goes on, and after it.

A function that is new can be called once its module is there, one that is gone as long as it is: so who calls a new one
must not come before it, and who called one that is gone must not come after. What is in one swap comes at once.
"""

from collections.abc import Iterator, Sequence

from relup_remote.hops.check.case import CALLBACKS, Case, named
from relup_remote.hops.check.course import Turn
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.compare import Function


def new_functions(case: Case) -> Iterator[Finding]:
    """Functions called before they are there."""
    for (caller, called), functions in sorted(case.difference.new_calls.items()):
        first, then = case.course.moved.get(caller), case.course.moved.get(called)
        if first is None:
            continue
        calls = f"The new {caller} calls {_listed(called, functions)}"
        if then is None:
            if case.course.is_known:
                message = f"{calls}, which is also new, and the hop does not load {called}."
                yield case.finding("error", "undefined_call", first.step, message)
        # What only callbacks call runs after all code changes.
        elif not caller.startswith(CALLBACKS) and case.course.is_before(first, then):
            yield case.finding("warning", "load_order", first.step, f"{calls}, which is loaded later, by {_by(then)}.")


def lost_functions(case: Case) -> Iterator[Finding]:
    """Functions called when they are gone."""
    for (caller, called), functions in sorted(case.difference.lost_calls.items()):
        first = case.course.moved.get(called) or case.course.gone.get(called)
        if first is None:
            continue
        then = case.course.moved.get(caller) or case.course.gone.get(caller)
        what = _listed(called, functions)
        if case.difference.is_unchanged(caller):
            message = f"{caller} is the same in both releases. It calls {what}, which the target does not have."
            yield case.finding("warning", "lost_function", first.step, message)
        elif then is None:
            if case.course.is_known:
                message = f"The old {caller} calls {what}, which is removed, and the hop does not replace {caller}."
                yield case.finding("error", "undefined_call", first.step, message)
        elif case.course.is_before(first, then):
            message = (
                f"The old {caller} calls {what}, which is removed here. {caller} is replaced later, by {_by(then)}."
            )
            yield case.finding("warning", "load_order", first.step, message)


def _listed(module: str, functions: Sequence[Function]) -> str:
    return named([f"{module}:{name}/{arity}" for name, arity in functions], 3)


def _by(turn: Turn) -> str:
    number = f"instruction {turn.step.n}" if turn.step.n else "the instruction"
    return f"{number} in line {turn.step.span.line}"


RULES = (new_functions, lost_functions)
