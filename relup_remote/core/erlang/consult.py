"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Erlang terms written as text.

What ``file:consult`` reads of .app, .rel and option files: constants of all kinds but funs, improper lists and binaries
whose parts have types. Source of the syntax: the Erlang Reference Manual, chapter "Data Types".
"""

import re
from typing import Any, Callable, Dict, Iterator, List, Match, Tuple, Union

from .term import Map

MAX_DEPTH = 1000
"""How many terms may be around a term."""

_ESCAPED = r"\\(?:x\{[0-9A-Fa-f]{1,6}\}|x[0-9A-Fa-f]{2}|[0-7]{1,3}|\^.|.)"
_ESCAPE = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|x([0-9A-Fa-f]{2})|([0-7]{1,3})|\^(.)|(.))", re.DOTALL)
_NAMED = {"b": "\b", "d": "\x7f", "e": "\x1b", "f": "\f", "n": "\n", "r": "\r", "s": " ", "t": "\t", "v": "\v"}
_TOKEN = re.compile(
    r"""(?P<blank>\s+ | %[^\n]*) | "(?P<string>(?:[^"\\]|\\.)*)" | '(?P<quoted>(?:[^'\\]|\\.)*)'
    | (?P<float>-?[0-9]+\.[0-9]+(?:[eE][-+]?[0-9]+)?) | (?P<based>-?[0-9]+\#[0-9A-Za-z]+) | (?P<integer>-?[0-9]+)
    | \$(?P<char>ESCAPED|[^\\]) | (?P<word>[a-zß-öø-ÿ][\w@]*) | (?P<mark>\#\{|=>|<<|>>|[][{},.])""".replace(
        "ESCAPED", _ESCAPED
    ),
    re.VERBOSE | re.DOTALL,
)


class Word(str):
    """An atom."""

    __slots__ = ()


class _Mark(str):
    """A sign that is no term: a bracket, a separator, the full stop."""

    __slots__ = ()


def read_terms(source: str) -> List[Any]:
    """The terms of `source`: lists, tuples, strings as str, atoms as ``Word``, numbers, binaries as bytes, and `Map`.

    Raises ValueError for anything else, such as funs, and for terms nested deeper than `MAX_DEPTH`.
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
        elif token in _SEPARATORS:
            around[-1].separate(token)
        elif len(around) > 1:
            closed = around.pop().close(token)
            around[-1].put(closed)
        else:
            terms.append(around.pop().close(token))
            around.append(_Open(*_TOP))
    if len(around) > 1 or around[0].items:
        raise ValueError("the file ends within a term")
    return terms


class _Open:
    """A bracket that is open: the `items` read in it so far, and what may follow them."""

    def __init__(self, closing: str, made_of: Callable[[List[Any]], Any], *separators: str) -> None:
        self.items: List[Any] = []
        self._closing = closing
        self._made_of = made_of
        self._separators = separators
        self._wants_item = True

    def put(self, item: Any) -> None:
        if not self._wants_item:
            raise ValueError("a term follows a term")
        self.items.append(item)
        self._wants_item = False

    def separate(self, mark: str) -> None:
        known = self._separators
        if self._wants_item or not known or mark != known[(len(self.items) - 1) % len(known)]:
            raise ValueError("'{}' where none can be".format(mark))
        self._wants_item = True

    def close(self, mark: str) -> Any:
        if mark != self._closing or (self.items and self._wants_item):
            raise ValueError("'{}' where '{}' or a term must come".format(mark, self._closing))
        return self._made_of(self.items)


def _only(items: List[Any]) -> Any:
    if not items:
        raise ValueError("a full stop without a term")
    return items[0]


def _binary(items: List[Any]) -> bytes:
    # bytes() raises ValueError for numbers beyond 255, and encode one that is a ValueError.
    if not all(type(item) in (str, int) for item in items):
        raise ValueError("a binary is of strings and numbers")
    return b"".join(item.encode("latin-1") if isinstance(item, str) else bytes([item]) for item in items)


def _map(items: List[Any]) -> Map:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return Map(list(zip(items[::2], items[1::2])))


_TOP = (".", _only)
_OPENED_BY: Dict[str, Tuple[Any, ...]] = {
    "[": ("]", list, ","),
    "{": ("}", tuple, ","),
    "<<": (">>", _binary, ","),
    "#{": ("}", _map, "=>", ","),
}
_SEPARATORS = (",", "=>")


def _tokens(source: str) -> Iterator[Any]:
    # Strings beside one another are one.
    strings: List[str] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ValueError("not understood: {!r}".format(source[at : at + 20]))
        at = match.end()
        if match.lastgroup == "string":
            strings.append(_unescaped(match.group("string")))
        elif match.lastgroup != "blank":
            if strings:
                yield "".join(strings)
                strings = []
            yield _token(match)
    if strings:
        yield "".join(strings)


def _token(match: "Match[str]") -> Union[int, float, str]:
    kind = str(match.lastgroup)
    value = match.group(kind)
    if kind == "integer":
        return int(value)
    if kind == "float":
        return float(value)
    if kind == "based":
        base, _, digits = value.lstrip("-").partition("#")
        number = int(digits, int(base))
        return -number if value.startswith("-") else number
    if kind == "char":
        return ord(_unescaped(value))
    return _Mark(value) if kind == "mark" else Word(_unescaped(value))


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(match: "Match[str]") -> str:
    braced, hexadecimal, octal, control, other = match.groups()
    if other is not None:
        return _NAMED.get(other, other)
    if control is not None:
        return chr(ord(control) & 31)
    code = int(octal, 8) if octal else int(braced or hexadecimal, 16)
    if code > 0x10FFFF:
        raise ValueError("a character beyond Unicode")
    return chr(code)
