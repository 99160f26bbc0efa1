"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Erlang terms written as text.

What ``file:consult`` reads of .app, .rel and option files. Source of the syntax: the Erlang Reference Manual, chapter
"Data Types"; of what is a constant: `erl_parse:normalise/1` of Erlang/OTP. Where its versions differ, what one of them
takes is taken.
"""

import re
from typing import Any, Callable, Dict, Iterator, List, Match, Optional, Sequence, Tuple, Union

from . import literals
from .bits import bits_of, joined
from .literals import LiteralError
from .term import Atom, BitString, Export, ImproperList, Map

MAX_DEPTH = 1000
"""How many terms may be around a term."""

Word = Atom
"""An atom."""

_MAX_BITS = 1 << 23
"""Bits that a part of a binary may have."""

_RESERVED = re.compile(
    "after|and|andalso|band|begin|bnot|bor|bsl|bsr|bxor|case|catch|cond|div|end|fun|if|let|not|of|or|orelse|receive|rem"
    "|try|when|xor"
).fullmatch
LATIN_1 = re.compile(r"(?:[^\n]*\n)?[^\n%]*%.*?coding\s*[:=]\s*(?:latin-1|iso-8859-1)\b(?!-)", re.IGNORECASE)
"""What says in the first two lines of a file, in a comment, that it is in Latin-1."""

# A run of quotes is looked through once, not at each of them.
_TOKEN = re.compile(
    r"""(?P<blank>BLANK)
    | (?P<triple>(?:~[bsBS]?)?(?<!")("{3,})[^\S\n]*\n(?:[^\n]*\n)*?[^\S\n]*\3)
    | (?P<unclosed>(?:~[bsBS]?)?(?<!")"{3,}[^\S\n]*\n) | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<quoted>'(?:[^'\\]|\\.)*')
    | (?P<float>DIGITS\.DIGITS(?:[eE][-+]?DIGITS)?) | (?P<based>DIGITS\#[0-9A-Za-z]+(?:_[0-9A-Za-z]+)*)
    | (?P<integer>DIGITS) | (?P<char>\$(?:ESCAPED|[^\\]))
    | fun(?:BLANK)+(?P<module>ATOM)(?:BLANK)*:(?:BLANK)*(?P<function>ATOM)(?:BLANK)*/(?:BLANK)*(?P<arity>DIGITS)
    | (?P<word>[a-zß-öø-ÿ][\w@]*) | (?P<sigil>~(?:[bs]?"(?:[^"\\]|\\.)*"|[BS]"[^"]*"))
    | (?P<mark>\#\{|=>|<<|>>|[][{}(),.|:/+-])""".replace("BLANK", r"\s+|%[^\n]*")
    .replace("ATOM", r"[a-zß-öø-ÿ][\w@]*|'(?:[^'\\]|\\.)*'")
    .replace("DIGITS", r"[0-9]+(?:_[0-9]+)*")
    .replace("ESCAPED", r"\\(?:x\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|[0-7]{1,3}|\^.|.)"),
    re.VERBOSE | re.DOTALL,
)


def decoded(content: bytes) -> str:
    """The text of a file of terms: UTF-8, unless a comment in its first two lines says Latin-1.

    Raises UnicodeDecodeError, a ValueError.
    """
    is_latin_1 = LATIN_1.match(content[:4096].decode("latin-1"))
    return content.decode("latin-1" if is_latin_1 else "utf-8")


def read_terms(source: str) -> List[Any]:
    """The terms of `source`.

    Lists, tuples, strings as str, atoms as ``Word``, numbers, binaries as bytes; `BitString`, `ImproperList`, `Export`
    and `Map` as in `term`. Raises ValueError for anything else, such as other funs and calls, and for terms nested
    deeper than `MAX_DEPTH`.
    """
    terms: List[Any] = []
    around = [_Open(*_TOP)]
    for token in _tokens(source):
        if not isinstance(token, _Mark):
            around[-1].put(token)
        elif token in _OPENED_BY:
            if len(around) > MAX_DEPTH:
                raise ValueError("nested too deep")
            around.append(_Open(*_OPENED_BY[token]))
        elif token in _CLOSING and len(around) > 1:
            closed = around.pop().close(token)
            around[-1].put(closed)
        elif token == _STOP:
            if len(around) > 1:
                raise ValueError("a full stop within a term")
            terms.append(around.pop().close(token))
            around.append(_Open(*_TOP))
        else:
            around[-1].separate(token)
    if len(around) > 1 or around[0].items:
        raise ValueError("the file ends within a term")
    return terms


class _Mark(str):
    """A sign that is no term: a bracket, a separator, a sign before a number, the full stop."""

    __slots__ = ()


class _Open:
    """A bracket that is open: the `items` read in it so far, and the marks between them, which are of `marks`."""

    def __init__(self, closing: str, made_of: Callable[[List[Any], List[str]], Any], marks: str) -> None:
        self.items: List[Any] = []
        self._between: List[str] = []
        self._closing = closing
        self._made_of = made_of
        self._marks = marks.split()
        self._sign: Optional[str] = None
        self._wants_item = True

    def put(self, item: Any) -> None:
        if not self._wants_item:
            raise ValueError("a term follows a term")
        if self._sign is not None:
            if type(item) not in (int, float):
                raise ValueError("a sign without a number after it")
            item = -item if self._sign == "-" else item
        self.items.append(item)
        self._sign = None
        self._wants_item = False

    def separate(self, mark: str) -> None:
        if self._wants_item and mark in ("+", "-") and self._sign is None:
            self._sign = mark
        elif self._wants_item or mark not in self._marks:
            raise ValueError("'{}' is not allowed here".format(mark))
        else:
            self._between.append(mark)
            self._wants_item = True

    def close(self, mark: str) -> Any:
        if mark != self._closing or (self._wants_item and (self._between or self._sign)):
            raise ValueError("'{}' here, where '{}' or a term is expected".format(mark, self._closing))
        return self._made_of(self.items, self._between)


def _only(items: List[Any], _: List[str]) -> Any:
    if not items:
        raise ValueError("a term is missing here")
    return items[0]


def _list(items: List[Any], marks: List[str]) -> Any:
    if "|" not in marks:
        return items
    if marks.index("|") != len(marks) - 1:
        raise ValueError("a term follows the tail of a list")
    *heads, tail = items
    if isinstance(tail, list):
        return heads + tail
    if isinstance(tail, ImproperList):
        return ImproperList(heads + tail.items, tail.tail)
    if isinstance(tail, str) and not isinstance(tail, Atom):
        return heads + [ord(char) for char in tail]
    return ImproperList(heads, tail)


def _binary(items: List[Any], marks: List[str]) -> Union[bytes, BitString]:
    # A part is a value, maybe `:` and a size, maybe `/` and types with `-` between. One may be `unit:` and a number.
    pieces: List[str] = []
    at = 0
    while at < len(items):
        end = at
        while end < len(marks) and marks[end] != ",":
            end += 1
        pieces.append(_segment(items[at : end + 1], marks[at:end]))
        at = end + 1
    return joined(pieces)


def _segment(items: Sequence[Any], marks: Sequence[str]) -> str:
    value, *rest = items
    size = None
    if marks and marks[0] == ":":
        size, rest, marks = rest[0], rest[1:], marks[1:]
    if marks and (marks[0] != "/" or set(marks[1:]) - {"-", ":"}):
        raise ValueError("an invalid part of a binary")
    types: List[Union[str, Tuple[str, int]]] = []
    for mark, item in zip(marks, rest):
        if mark == ":" and types and types[-1] == "unit" and type(item) is int:
            types[-1] = ("unit", item)
        elif mark != ":" and isinstance(item, Atom):
            types.append(str.__str__(item))
        else:
            raise ValueError("an unknown type of a part of a binary")
    return bits_of(value, size, types, _MAX_BITS)


def _map(items: List[Any], marks: List[str]) -> Map:
    if len(items) % 2 or marks[::2] != ["=>"] * len(marks[::2]) or "=>" in marks[1::2]:
        raise ValueError("a key without a value")
    return Map(list(zip(items[::2], items[1::2])))


def _tuple(items: List[Any], _: List[str]) -> Tuple[Any, ...]:
    return tuple(items)


_STOP = "."
_TOP = (_STOP, _only, "")
_OPENED_BY: Dict[str, Tuple[Any, ...]] = {
    "[": ("]", _list, ", |"),
    "{": ("}", _tuple, ","),
    "<<": (">>", _binary, ", : / -"),
    "#{": ("}", _map, "=> ,"),
    "(": (")", _only, ""),
}
_CLOSING = frozenset(opened[0] for opened in _OPENED_BY.values())


def _tokens(source: str) -> Iterator[Any]:
    # Strings beside one another are one.
    strings: List[str] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError("not understood: {!r}".format(source[at : at + 20]))
        at = match.end()
        kind = str(match.lastgroup)
        if kind == "blank":
            continue
        token = _token(kind, match)
        if isinstance(token, str) and not isinstance(token, (Atom, _Mark)):
            strings.append(token)
            continue
        if strings:
            yield "".join(strings)
            strings = []
        yield token
    if strings:
        yield "".join(strings)


def _token(kind: str, match: "Match[str]") -> Any:
    value = match.group(kind)
    if kind in ("mark", "word"):
        if _RESERVED(value):
            raise ValueError("'{}' is reserved".format(value))
        return _Mark(value) if kind == "mark" else literals.atom(value)
    if kind == "arity":
        return Export(_atom(match.group("module")), _atom(match.group("function")), int(value.replace("_", "")))
    return _READERS[kind](match.group())


def _atom(text: str) -> Atom:
    if _RESERVED(text):
        raise ValueError("'{}' is reserved".format(text))
    return literals.atom(literals.quoted(text) if text.startswith("'") else text)


def _integer(text: str) -> int:
    number = literals.integer(text)
    if number is None:
        raise LiteralError("an integer of too many digits")
    return number


def _triple(text: str) -> Union[str, bytes]:
    return literals.sigil(text) if text.startswith("~") else literals.triple_quoted(text)


_READERS: Dict[str, Callable[[str], Any]] = {
    "string": literals.quoted,
    "triple": _triple,
    "unclosed": literals.unclosed,
    "quoted": _atom,
    "sigil": literals.sigil,
    "char": literals.character,
    "integer": _integer,
    "based": _integer,
    "float": literals.floating,
}
