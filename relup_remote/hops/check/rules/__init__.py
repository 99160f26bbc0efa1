"""The rules: each is a function of a case to what it finds. A file has those of one family."""

from collections.abc import Callable, Iterator

from relup_remote.hops.check.case import Case
from relup_remote.hops.check.findings import Finding
from relup_remote.hops.check.rules import applications, calls, coverage, instructions, natives, order, releases, state

RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    *releases.RULES,
    *instructions.RULES,
    *applications.RULES,
    *calls.RULES,
    *coverage.RULES,
    *order.RULES,
    *state.RULES,
    *natives.RULES,
)
"""All of them, in the order in which they are gone through."""
