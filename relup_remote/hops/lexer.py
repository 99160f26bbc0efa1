"""Erlang source as tokens: enough to find one's way in a script without a VM.

Written after the lexical rules of the Erlang reference manual: comments, strings with escapes (also triple-quoted ones
and sigils), quoted atoms, characters, numbers with bases, and the full stop, which is a dot before white space, a
comment or the end.
"""

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Sort = Literal["atom", "string", "sigil", "char", "number", "variable", "punctuation", "stop"]


@dataclass(frozen=True)
class Token:
    """One token. ``value`` is what it stands for: escapes of atoms and strings are resolved. Lines count from 1."""

    sort: Sort
    value: str
    line: int
    column: int

    def is_(self, punctuation: str) -> bool:
        """Whether this is the given bracket, operator or keyword-like sign."""
        return self.sort == "punctuation" and self.value == punctuation


class LexError(Exception):
    """The text is not Erlang from ``line`` and ``column`` on."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column
        self.message = message


_BLANK = re.compile(r"(?:\s+|%[^\n]*)+")
_PLAIN = re.compile(
    r"""
    (?P<stop>     \.(?=\s|%|\Z))
  | (?P<number>   \d[\d_]*(?:\#[0-9A-Za-z_]+|\.\d[\d_]*(?:[eE][+-]?\d+)?)?)
  | (?P<variable> [A-ZÀ-ÖØ-Þ_][\w@]*)
  | (?P<atom>     [a-zß-öø-ÿ][\w@]*)
  | (?P<punctuation>
        =:=|=/=|<:=|<:-|\.\.\.|=>|:=|->|<-|<=|\|\||<<|>>|==|/=|=<|>=|\+\+|--|::|\?=|&&|\.\.|[()\[\]{}|,;:=<>+\-*/\#!?.&^])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|(.))", re.DOTALL)
# More quotes than anyone writes would be counted again at each of them.
_TRIPLE = re.compile(r'("{3,100})(?!")[^\S\n]*\n')
_SIGIL = re.compile(r"~[a-zA-Z]*(?=[\"'(\[{</|`#])")
_NAMED = {"b": "\b", "d": "\x7f", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "s": " ", "t": "\t", "v": "\v"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SORT_OF_QUOTE: dict[str, Sort] = {'"': "string", "'": "atom"}


def tokens(text: str) -> list[Token]:
    """The tokens of ``text``. Raises `LexError`."""
    return list(_Lexer(text).run())


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def run(self) -> Iterator[Token]:
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._at == len(self._text):
                return
            yield self._next()

    def _next(self) -> Token:
        start = self._at
        first = self._text[start]
        if first == "$":
            return self._token("char", self._char(), start)
        if triple := _TRIPLE.match(self._text, start):
            return self._token("string", self._triple(triple), start)
        if first in _SORT_OF_QUOTE:
            self._at += 1
            return self._token(_SORT_OF_QUOTE[first], self._quoted(first, start), start)
        if sigil := _SIGIL.match(self._text, start):
            self._at = sigil.end()
            return self._token("sigil", self._sigil(start), start)
        plain = _PLAIN.match(self._text, start)
        if not plain:
            raise self._error(start, f"unexpected character {first!r}")
        self._at = plain.end()
        sort: Sort = plain.lastgroup  # type: ignore[assignment]
        return self._token(sort, plain.group(), start)

    def _char(self) -> str:
        start, self._at = self._at, self._at + 1
        if self._text.startswith("\\", self._at):
            return self._escape(start)
        if self._at == len(self._text):
            raise self._error(start, "unterminated character")
        self._at += 1
        return self._text[self._at - 1]

    def _quoted(self, end: str, start: int) -> str:
        """What stands up to the unescaped ``end``; the cursor is behind the opening quote."""
        value: list[str] = []
        while self._at < len(self._text):
            if self._text.startswith(end, self._at):
                self._at += 1
                return "".join(value)
            if self._text.startswith("\\", self._at):
                value.append(self._escape(start))
            else:
                value.append(self._text[self._at])
                self._at += 1
        raise self._error(start, "unterminated atom" if end == "'" else "unterminated string")

    def _escape(self, start: int) -> str:
        found = _ESCAPE.match(self._text, self._at)
        if not found:
            raise self._error(start, "unterminated escape")
        braced, hexadecimal, octal, control, other = found.groups()
        self._at = found.end()
        if other:
            return _NAMED.get(other, other)
        if control:
            return "\x7f" if control == "?" else chr(ord(control) & 31)
        code = int(octal, 8) if octal else int(braced or hexadecimal, 16)
        if code > 0x10FFFF:
            raise self._error(found.start(), "escape beyond Unicode")
        return chr(code)

    def _triple(self, opening: re.Match[str]) -> str:
        """A triple-quoted string: it ends at a line that begins with as many quotes, whose indentation is taken off."""
        closing = re.compile(rf"\n([^\S\n]*){opening[1]}")
        found = closing.search(self._text, opening.end() - 1)
        if not found:
            raise self._error(opening.start(), "unterminated string")
        self._at = found.end()
        lines = self._text[opening.end() : found.start()].split("\n") if found.start() >= opening.end() else []
        return "\n".join(line.removeprefix(found[1]) for line in lines)

    def _sigil(self, start: int) -> str:
        if triple := _TRIPLE.match(self._text, self._at):
            return self._triple(triple)
        opening = self._text[self._at]
        self._at += 1
        if self._text[start + 1] in "BS":
            end = self._text.find(_CLOSING.get(opening, opening), self._at)
            if end < 0:
                raise self._error(start, "unterminated string")
            value, self._at = self._text[self._at : end], end + 1
            return value
        return self._quoted(_CLOSING.get(opening, opening), start)

    def _token(self, sort: Sort, value: str, start: int) -> Token:
        return Token(sort, value, *self._place(start))

    def _error(self, at: int, message: str) -> LexError:
        return LexError(*self._place(at), message)

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._line_starts, at)
        return line, at - self._line_starts[line - 1] + 1
