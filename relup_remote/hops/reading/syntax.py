"""Expressions as they are parsed. What is written in full is a value at once: a `Located` is a `Node` as well.

Only those kinds are told apart that can be read without a VM; every other one is an `Expression` and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lark import Token

from relup_remote.hops.reading.values import Located, Span


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """An expression that only a VM can evaluate."""

    span: Span


Node = Located | Expression


def span_of(token: Token) -> Span:
    """Where a token stands."""
    start, end, line, column = token.start_pos, token.end_pos, token.line, token.column
    return Span(start, end, line, column, token.end_line, token.end_column)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, eq=False)
class Variable(Expression):
    """A variable; ``_`` is one too."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Match(Expression):
    """``pattern = value``."""

    pattern: Node
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Appended(Expression):
    """``a ++ b ++ c``; ``backwards`` are its parts from last to first."""

    backwards: list[Node]


@dataclass(frozen=True, slots=True, eq=False)
class TupleOf(Expression):
    """A tuple of what is to be evaluated."""

    items: Sequence[Node]


@dataclass(frozen=True, slots=True, eq=False)
class ListOf(Expression):
    """A list of what is to be evaluated, or one with a tail."""

    items: Sequence[Node]
    tail: Node | None


@dataclass(frozen=True, slots=True, eq=False)
class MapOf(Expression):
    """A new map of what is to be evaluated."""

    pairs: Sequence[tuple[Node, Node]]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A part of a binary; ``types`` are the names after the slash, ``unit:8`` is ``("unit", 8)``."""

    value: Node
    size: Node | None
    types: Sequence[str | tuple[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class BinaryOf(Expression):
    """A binary."""

    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True, eq=False)
class Comprehension(Expression):
    """``[template || pattern <- items]``."""

    template: Node
    pattern: Node
    items: Node


@dataclass(frozen=True, slots=True, eq=False)
class Fun(Expression):
    """A fun of one clause without a guard and without a name, whose parameters are distinct variables."""

    parameters: Sequence[str]
    body: Sequence[Node]


@dataclass(frozen=True, slots=True, eq=False)
class Call(Expression):
    """A call of what a variable holds."""

    function: Variable
    arguments: Sequence[Node]


@dataclass(frozen=True, slots=True, eq=False)
class Block(Expression):
    """``begin ... end``."""

    body: Sequence[Node]
