"""A hop and the two releases that it leads between: what the rules look at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from relup_remote.hops.check.course import Course, Step, course_of
from relup_remote.hops.check.findings import Finding, Severity
from relup_remote.hops.check.helpers import HelperFacts
from relup_remote.hops.compare import Difference, Release
from relup_remote.hops.helpers import callback_module
from relup_remote.hops.hop import Callback, Hop, Instruction
from relup_remote.hops.reading.values import Span, entry

CALLBACKS = "emqx_post_upgrade"
"""The module with a release's callbacks; a catalogue's own has the target's version after it."""

NAMED = 500
"""How many modules a finding names at most."""


@dataclass(frozen=True)
class Case:
    """A hop to be judged; ``helpers`` are those of its catalogue, by module name."""

    hop: Hop
    difference: Difference
    helpers: Mapping[str, HelperFacts]

    @property
    def old(self) -> Release:
        """The release that the hop leads from."""
        return self.difference.old

    @property
    def new(self) -> Release:
        """The release that the hop leads to."""
        return self.difference.new

    @cached_property
    def course(self) -> Course:
        """The hop as it will run."""
        return course_of(self.hop, self.difference)

    @cached_property
    def instructions(self) -> Sequence[Instruction]:
        """The code changes that can be told."""
        return [change for change in self.hop.changes if isinstance(change, Instruction)]

    def of_kind(self, kind: str) -> Iterator[tuple[Instruction, str]]:
        """The code changes of a kind, each with the module or application that it names."""
        for change in self.instructions:
            if change.kind == kind and change.name is not None:
                yield change, change.name

    def is_helper(self, module: str) -> bool:
        """Whether a module is the catalogue's. The target's come before helpers."""
        return module in self.helpers and not self.new.has_module(module)

    @cached_property
    def callback_module(self) -> str:
        """Where the callbacks are."""
        own = callback_module(self.hop)
        return own if own in self.helpers or self.old.has_module(own) else CALLBACKS

    def finding(
        self, severity: Severity, err_type: str, at: Step | Span | None, message: str, **detail: Any
    ) -> Finding:
        """A finding at an instruction, or at a place; by default that of the code changes as a whole."""
        span = self.place("code_changes") if at is None else at if isinstance(at, Span) else at.span
        n = at.n if isinstance(at, Instruction | Callback) else None
        return Finding(err_type, severity, message, span.line, span.column, n, detail)

    def place(self, key: str) -> Span:
        """Where the hop's map has a key's value."""
        assert self.hop.term is not None
        found = entry(self.hop.term, key)
        return (found or self.hop.term).span


def counted(count: int, one: str, many: str) -> str:
    """A number of things."""
    return f"{count:,} {one if count == 1 else many}"


def named(names: Sequence[str], limit: int = 8) -> str:
    """The first of many names."""
    return ", ".join(names[:limit]) + (" …" if len(names) > limit else "")
