"""Binding operators to their operands, by precedence.

Source: the Erlang Reference Manual, chapter "Expressions", section "Operator Precedence".
"""

from collections.abc import Sequence

from lark import Token

from relup_remote.hops.reading.syntax import Appended, Expression, Match, Node, span_of
from relup_remote.hops.reading.values import Located

_LEVELS = (
    ("right", "= !"),
    ("right", "orelse"),
    ("right", "andalso"),
    ("none", "== /= =< < >= > =:= =/="),
    ("right", "++ --"),
    ("left", "+ - bor bxor bsl bsr or xor"),
    ("left", "* / div rem band and"),
)
"""How operators of the same level associate, and the operators, from those that bind least."""

_INFIX = {name: (level, sort) for level, (sort, names) in enumerate(_LEVELS) for name in names.split()}
_PREFIX = len(_LEVELS)
_CATCH = -1  # takes all that follows it


class NotAssociative(ValueError):
    """Comparisons side by side. ``operator`` is the second."""

    def __init__(self, operator: Token) -> None:
        super().__init__(operator)
        self.operator = operator


def bound(parts: Sequence[Node | Token]) -> Node:
    """The expression made by operands and operators as they follow one another. Raises `NotAssociative`."""
    operands: list[Node] = []
    waiting: list[tuple[int, Token, bool]] = []
    after_operand = False
    for part in parts:
        if not isinstance(part, Token):
            operands.append(part)
        elif after_operand:
            level, sort = _INFIX[part]
            while waiting and (waiting[-1][0] > level or (waiting[-1][0] == level and sort != "right")):
                if waiting[-1][0] == level and sort == "none":
                    raise NotAssociative(part)
                _apply(waiting, operands)
            waiting.append((level, part, False))
        else:
            waiting.append((_CATCH if part == "catch" else _PREFIX, part, True))
        after_operand = not isinstance(part, Token)
    while waiting:
        _apply(waiting, operands)
    return operands[0]


def _apply(waiting: list[tuple[int, Token, bool]], operands: list[Node]) -> None:
    _, operator, is_prefix = waiting.pop()
    right = operands.pop()
    if is_prefix:
        is_only = not (waiting and waiting[-1][2])
        operands.append(_prefixed(operator, right, is_only))
    else:
        operands.append(_infixed(operands.pop(), operator, right))


def _prefixed(operator: Token, right: Node, is_only: bool) -> Node:
    span = span_of(operator).to(right.span)
    # A number has one sign; what has more is no number as yet, but a calculation.
    if is_only and operator in ("+", "-") and isinstance(right, Located) and type(right.value) in (int, float):
        return Located(-right.value if operator == "-" else right.value, span)
    return Expression(span)


def _infixed(left: Node, operator: Token, right: Node) -> Node:
    span = left.span.to(right.span)
    if operator == "=":
        return Match(span, left, right)
    if operator == "++":
        backwards = right.backwards if isinstance(right, Appended) else [right]
        backwards.append(left)
        return Appended(span, backwards)
    return Expression(span)
