"""Parsing Erlang source by the grammar in `erlang.lark`.

Lark's LALR parser takes time and memory in proportion to the text, whatever is nested in what, and says at which token
a text goes wrong. Weighed for this: `pyparsing` and `parsimonious` descend by recursion; `ply` is no longer released.
The tokens of Erlang don't depend on where they stand, so the lexer is the basic one and not the contextual one.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from relup_remote.core.erlang import literals
from relup_remote.core.erlang.literals import LiteralError
from relup_remote.core.erlang.term import Atom
from relup_remote.files import cache_folder
from relup_remote.hops.reading.errors import ReadError
from relup_remote.hops.reading.syntax import Node, span_of
from relup_remote.hops.reading.tree import Builder

_LITERALS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ATOM": ("ATOM", literals.atom),
    "QUOTED": ("ATOM", lambda token: literals.atom(literals.quoted(token))),
    "STRING": ("STRING", literals.quoted),
    "TRIPLE": ("STRING", literals.triple_quoted),
    "SIGIL": ("SIGIL", literals.sigil),
    "RAW_SIGIL": ("SIGIL", literals.sigil),
    "TRIPLE_SIGIL": ("SIGIL", literals.sigil),
    "CHAR": ("CHAR", literals.character),
    "INTEGER": ("INTEGER", literals.integer),
    "FLOAT": ("FLOAT", literals.floating),
    "UNCLOSED": ("STRING", literals.unclosed),
}
"""Of each token that is a literal: what it is to the parser, and what tells its value."""

_UNREADABLE = {
    '"': "unterminated string",
    "'": "unterminated atom",
    "$": "a $ without a character",
    "\ufeff": "a byte-order mark",
}
_CLOSED_BY = {"LPAR": ")", "LSQB": "]", "LBRACE": "}", "LBIN": ">>"} | dict.fromkeys(
    ("BEGIN", "CASE", "IF", "RECEIVE", "TRY", "MAYBE", "FUN"), "end"
)

_CLOSING = frozenset({"RPAR", "RSQB", "RBRACE", "RBIN", "END"})

RESERVED_SINCE = 27
"""The version of Erlang/OTP since which `maybe` and `else` are keywords unless they are switched off."""

STRICTER_SINCE = 27
"""Since this version strings need white space between them, and ``\\^`` a character that has a control character."""

_CONTROL = re.compile(r"\\(?:\^(?P<of>[^?-_a-z])|.)", re.DOTALL)

# Where the version is not known, `maybe` before an operand can be nothing else.
_BLOCK_FOLLOWS = re.compile(
    r"(?>[\x00-\x20\x80-\xa0]|%[^\n]*\n)*(?!(?:and|andalso|band|bor|bsl|bsr|bxor|div|end|of|or|orelse|rem|when|xor)\b)"
    r"(?:[\w\[{\"'$#~]|<<)"
)


@cache
def _grammar() -> Lark:
    return Lark.open(
        "erlang.lark",
        rel_to=__file__,
        parser="lalr",
        lexer="basic",
        start=["file", "unread"],
        transformer=Builder(),
        cache=_kept_tables() or False,
    )


def _kept_tables() -> str | None:
    """The file in which Lark keeps the tables of the grammar, None if there can be none: to make them takes a second.

    Lark makes them anew where the grammar, Lark or Python is another, or the file can't be read.
    """
    folder = cache_folder()
    return None if folder is None else str(folder / "erlang.lark.tables")


def forms(text: str, otp: int | None = None) -> list[list[Node]]:
    """The expressions of each form. Raises `ReadError`.

    With ``otp``, the major version of Erlang/OTP, only what that one reads; without, what any of them does.
    """
    parser = _grammar().parse_interactive(start="file")
    stream = tokens(text, otp)
    token: Token | None = None
    try:
        for token in stream:
            parser.feed_token(token)
    except (UnexpectedToken, ReadError) as error:
        # Erlang reads all tokens of a form before it parses them: what is wrong with one of them comes first.
        while token and token.type != "STOP":
            token = next(stream, None)
        if isinstance(error, ReadError):
            raise
        raise _error(error.token, _reason(error.token, parser)) from None
    if token and token.type != "STOP":
        raise _error(token, _ending(parser))
    found: list[list[Node]] = parser.feed_token(Token("$END", ""))
    return found


def tokens(text: str, otp: int | None = None) -> Iterator[Token]:
    """The tokens of a text; the value of a literal is what it stands for. ``otp`` is as in `forms`.

    Raises `ReadError`.
    """
    has_blocks, is_strict, string_end = False, otp is not None and otp >= STRICTER_SINCE, -1
    try:
        for token in _grammar().lex(text):
            if token.type in _LITERALS:
                if is_strict:
                    string_end = _check_strictly(token, string_end)
                token.type, value_of = _LITERALS[token.type]
                token.value = value_of(token)
            elif token.type in ("MAYBE", "ELSE"):
                block = has_blocks if token.type == "ELSE" else _BLOCK_FOLLOWS.match(text, span_of(token).end)
                if not block and otp is not None and otp >= RESERVED_SINCE:
                    raise _error(token, f"{token} is reserved since Erlang/OTP {RESERVED_SINCE}: it needs quotes")
                if not block or (otp is not None and otp < RESERVED_SINCE):
                    token.type, token.value = "ATOM", Atom(token)
            elif is_strict and token.startswith("~"):
                raise _error(token, "a ~ without a string")
            has_blocks = has_blocks or token.type == "MAYBE"
            yield token
    except LiteralError as error:
        before = token[: error.at]
        line = before.count("\n")
        column = len(before) - before.rfind("\n") if line else span_of(token).column + len(before)
        raise ReadError(span_of(token).line + line, column, str(error)) from None
    except UnexpectedCharacters as error:
        raise ReadError(
            error.line, error.column, _UNREADABLE.get(error.char, f"the character {error.char!r}")
        ) from None


def _check_strictly(token: Token, string_end: int) -> int:
    """Refuse what a literal may not be any more; ``string_end`` is where the last string ended. Returns where one ends.

    Raises `ReadError`, `LiteralError`.
    """
    is_string = token.type in ("STRING", "TRIPLE")
    if is_string and span_of(token).start == string_end:
        raise _error(token, f"strings need white space between them since Erlang/OTP {STRICTER_SINCE}")
    if token.type in ("STRING", "QUOTED", "CHAR", "SIGIL"):
        for found in _CONTROL.finditer(token):
            if found["of"]:
                raise LiteralError(f"\\^{found['of']} is not a character", found.start())
    return span_of(token).end if is_string else -1


def _error(token: Token, message: str) -> ReadError:
    place = span_of(token)
    return ReadError(place.line, place.column, message)


def _reason(token: Token, parser: InteractiveParser) -> str:
    found = "a full stop" if token.type == "STOP" else f"'{token}'"
    closing = _closing(parser)
    if token in _CLOSED_BY.values() and not closing:
        return f"{found} closes nothing"
    if token in (*_CLOSED_BY.values(), ".") and closing and token != closing.sign:
        return f"{found} where '{closing.sign}' must close the '{closing.opening}' of line {closing.opening.line}"
    return f"syntax error before {found}"


def _ending(parser: InteractiveParser) -> str:
    closing = _closing(parser)
    if closing:
        return f"the file ends where '{closing.sign}' must close the '{closing.opening}' of line {closing.opening.line}"
    return "the last expression does not end with a full stop"


class _Closing(NamedTuple):
    """A bracket or block that is open, and what closes it."""

    opening: Token
    sign: str


def _closing(parser: InteractiveParser) -> _Closing | None:
    """The innermost bracket or block that is open: of what the parser has not made anything yet."""
    closed = 0
    above: Any = None
    for item in reversed(parser.parser_state.value_stack):
        kind = item.type if isinstance(item, Token) else ""
        if kind in _CLOSING:
            closed += 1
        elif kind in _CLOSED_BY and not (kind == "FUN" and isinstance(above, Token) and above.type == "ATOM"):
            if not closed:
                return _Closing(item, _CLOSED_BY[kind])
            closed -= 1
        above = item
    return None
