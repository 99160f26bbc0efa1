"""The functions that a text calls by name, wherever in it they are: also where a call is only made now and then."""

from collections.abc import Iterator
from typing import NamedTuple

from lark import Token

from relup_remote.hops.reading.parser import tokens
from relup_remote.hops.reading.syntax import span_of
from relup_remote.hops.reading.values import Span

_OPEN = frozenset({"LPAR", "LSQB", "LBRACE", "LBIN", "BEGIN", "CASE", "IF", "RECEIVE", "TRY", "MAYBE", "FUN"})
_CLOSE = frozenset({"RPAR", "RSQB", "RBRACE", "RBIN", "END"})


class Called(NamedTuple):
    """A call; what names no module is a function of ``erlang``. ``span`` is where the name begins."""

    module: str
    function: str
    arity: int
    span: Span


class _Open(NamedTuple):
    """A bracket or block, with the call whose arguments are in it, and the number of the token after it."""

    called: tuple[str, str, Span] | None
    inside: int


def called_in(text: str, otp: int | None = None) -> Iterator[Called]:
    """The calls in a text that can be read, each where its arguments end. ``otp`` is as in `forms`."""
    found = list(tokens(text, otp))
    stack: list[_Open] = []
    commas: list[int] = []
    for i, token in enumerate(found):
        if token.type in _OPEN:
            # `fun name/1` and `fun module:name/1` have no end.
            if token.type == "FUN" and found[i + 1].type in ("ATOM", "VARIABLE") and found[i + 2] in (":", "/"):
                continue
            stack.append(_Open(_named(found[max(i - 4, 0) : i]) if token.type == "LPAR" else None, i + 1))
            commas.append(0)
        elif token.type in _CLOSE:
            (called, inside), between = stack.pop(), commas.pop()
            if called:
                module, function, span = called
                yield Called(module, function, 0 if inside == i else between + 1, span)
        elif stack and token.type == "COMMA":
            commas[-1] += 1


def _named(before: list[Token]) -> tuple[str, str, Span] | None:
    """What is called where these tokens stand before a bracket: a function and its module, if both are written out."""
    if not before or before[-1].type != "ATOM":
        return None
    function = before[-1]
    if len(before) == 1 or before[-2] != ":" or before[-2].type == "ATOM":
        return "erlang", str(function.value), span_of(function)
    if len(before) > 2 and before[-3].type == "ATOM":
        return str(before[-3].value), str(function.value), span_of(before[-3])
    return None
