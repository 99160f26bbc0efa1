"""Terms as Erlang text, on one line."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from relup_remote.hops.reading.values import Atom, BitString, Dynamic, Export, ImproperList, Located, Map, Term

LIMIT = 2000
"""Characters that a term is written in at most."""

_QUOTE = '"'

_PLAIN_ATOM = re.compile(r"[a-z][0-9A-Za-z_@]*")
_RESERVED = re.compile(
    "after|and|andalso|band|begin|bnot|bor|bsl|bsr|bxor|case|catch|cond|div|else|end|fun|if|let|maybe|not|of|or|orelse"
    "|receive|rem|try|when|xor"
)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def written(term: Term, text: str, *, limit: int = LIMIT, marks: tuple[str, str] = ("", "")) -> str:
    """A term as Erlang would have it; what only a VM can tell as it is in ``text``, which the term was read from.

    ``marks`` are put around the latter. What is past the ``limit`` is left out, and three dots say so.
    """
    pieces: list[str] = []
    room = limit
    waiting: list[Term | str] = [term]
    while waiting:
        part = waiting.pop()
        if room < 0:
            break
        if isinstance(part, Dynamic):
            part = " ".join(part.span.of(text)[:limit].split()).join(marks)
        if isinstance(part, str):
            pieces.append(part)
            room -= len(part)
        else:
            # No more of a long list than can be shown.
            waiting.extend(reversed(list(_pieces(part, room + 1))))
    line = "".join(pieces)
    return line if len(line) <= limit else f"{line[:limit]}..."


def _pieces(term: Located, room: int) -> Iterator[Term | str]:
    """What a term is written as: signs, and the terms in it; of long ones no more than there is ``room`` for."""
    value = term.value
    if isinstance(value, Map):
        yield from ("#{", *_separated([item for pair in value.pairs[:room] for item in pair], (" => ", ", ")), "}")
    elif isinstance(value, ImproperList):
        yield from ("[", *_separated(value.items[:room]), " | ", value.tail, "]")
    elif type(value) is tuple:
        yield from ("{", *_separated(value[:room]), "}")
    elif type(value) is list:
        yield from _list(value[:room])
    else:
        yield _scalar(value, room)


def _list(items: Sequence[Term]) -> Iterator[Term | str]:
    if not items:
        yield "[]"
    for number, (is_spliced, group) in enumerate(groupby(items, _is_spliced)):
        yield " ++ " if number else ""
        yield from _separated(list(group), (" ++ ",)) if is_spliced else ("[", *_separated(list(group)), "]")


def _is_spliced(term: Term) -> bool:
    return isinstance(term, Dynamic) and term.spliced


def _separated(terms: Sequence[Term], separators: Sequence[str] = (", ",)) -> Iterator[Term | str]:
    for index, term in enumerate(terms):
        if index:
            yield separators[(index - 1) % len(separators)]
        yield term


def _scalar(value: object, room: int) -> str:
    if isinstance(value, Export):
        return f"fun {atom(value.module)}:{atom(value.function)}/{value.arity}"
    if isinstance(value, BitString):
        *whole, last = value.data[: room + 1]
        return f"<<{', '.join([*map(str, whole), f'{last >> (8 - value.bits)}:{value.bits}'])}>>"
    if isinstance(value, bytes):
        return _binary(value[:room])
    if isinstance(value, Atom):
        return atom(value)
    return _quoted(value[:room], _QUOTE) if isinstance(value, str) else str(value)


def _binary(content: bytes) -> str:
    text = content.decode("latin-1")
    is_text = text and text.isascii() and text.isprintable()
    return f"<<{_quoted(text, _QUOTE) if is_text else ', '.join(map(str, content))}>>"


def atom(name: str) -> str:
    """An atom, in quotes where it needs them."""
    plain = _PLAIN_ATOM.fullmatch(name) and not _RESERVED.fullmatch(name)
    return str.__str__(name) if plain else _quoted(name, "'")


def string_literal(text: str) -> str:
    """A string."""
    return _quoted(text, _QUOTE)


def _quoted(text: str, quote: str) -> str:
    escapes = {**_ESCAPES, quote: f"\\{quote}"}
    return (
        quote
        + "".join(escapes.get(char) or (char if char.isprintable() else f"\\x{{{ord(char):x}}}") for char in text)
        + quote
    )
