"""What is read of Erlang source: values that know their place, and parts whose value only a VM can tell.

=========================  ============================================================================
Erlang                     the ``value`` of a `Located`
=========================  ============================================================================
integer, float             int, float
atom                       `Atom`
string literal             str (no `Atom`)
binary, bit string         bytes, `BitString`
tuple, list                tuple, list
improper list              `ImproperList`
map                        `Map`: the pairs as written; of those with the same key the last one counts
fun module:function/arity  `Export`
=========================  ============================================================================

What is in a tuple, list or map is again `Located` or `Dynamic`. In a list, a `Dynamic` that is ``spliced`` stands for
any number of elements. Terms may be nested as deep as files are long, so nothing here calls itself for their parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from relup_remote.core.erlang.term import Atom, BitString, Export, ImproperList, Map

__all__ = [
    "Atom",
    "BitString",
    "Dynamic",
    "Export",
    "ImproperList",
    "Located",
    "Map",
    "Span",
    "Term",
    "elements",
    "entry",
    "is_constant",
    "is_string",
    "length",
    "list_of",
    "map_of",
    "parts",
    "plain",
    "string",
    "tuple_of",
    "walk",
]


class Span(NamedTuple):
    """A stretch of a text: from offset ``start`` up to ``end``, which is not in it. Lines and columns count from 1."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int

    def to(self, last: "Span") -> "Span":
        """The stretch from the beginning of this one to the end of another."""
        return Span(self.start, last.end, self.line, self.column, last.end_line, last.end_column)

    def holds(self, other: "Span") -> bool:
        """Whether another stretch is within this one."""
        return self.start <= other.start and other.end <= self.end

    def of(self, text: str) -> str:
        """It as it is written in ``text``, which it was read from."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """A value and where it is written. ``size`` is the number of values that it is made of, itself counted."""

    value: Any
    span: Span
    size: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Dynamic:
    """What only a VM can tell, and where it is written. ``spliced``: it stands for any number of a list's elements."""

    span: Span
    spliced: bool = False

    size = 1


Term = Located | Dynamic


def tuple_of(items: Sequence[Term], span: Span) -> Located:
    """A tuple."""
    return Located(tuple(items), span, _size(items))


def list_of(items: Sequence[Term], span: Span, tail: Term | None = None) -> Located:
    """A list, with a ``tail`` after its items: more of the list, what makes it improper, or unknown."""
    if tail is None:
        return Located(list(items), span, _size(items))
    if isinstance(tail, Dynamic):
        return Located([*items, Dynamic(tail.span, spliced=True)], span, _size(items) + 1)
    if isinstance(tail.value, ImproperList):
        items, tail = [*items, *tail.value.items], tail.value.tail
        return Located(ImproperList(items, tail), span, _size(items) + tail.size)
    rest = elements(tail)
    if rest is not None:
        return Located([*items, *rest], span, _size(items) + _size(rest))
    return Located(ImproperList(list(items), tail), span, _size(items) + tail.size)


def map_of(pairs: Sequence[tuple[Term, Term]], span: Span) -> Located:
    """A map."""
    return Located(Map(list(pairs)), span, _size([part for pair in pairs for part in pair]))


def _size(items: Sequence[Term]) -> int:
    return 1 + sum(item.size for item in items)


def is_string(term: Term) -> bool:
    """Whether it is a string literal."""
    return isinstance(term, Located) and isinstance(term.value, str) and not isinstance(term.value, Atom)


def length(term: Term) -> int:
    """How many elements a list or string literal has; 0 for anything else."""
    return len(term.value) if isinstance(term, Located) and (is_string(term) or type(term.value) is list) else 0


def elements(term: Term) -> list[Term] | None:
    """The elements of a list, or the characters of a string literal as integers. None for anything else."""
    if isinstance(term, Located) and type(term.value) is list:
        return term.value
    if isinstance(term, Located) and is_string(term):
        return [Located(ord(char), term.span) for char in term.value]
    return None


def string(term: Term) -> str | None:
    """The text of a string literal or of a list of characters. None for anything else."""
    if isinstance(term, Located) and is_string(term):
        return str(term.value)
    items = elements(term)
    codes = [item.value if isinstance(item, Located) else None for item in items or ()]
    chars = [chr(code) for code in codes if type(code) is int and 0 <= code < 0x110000]
    return None if items is None or len(chars) < len(codes) else "".join(chars)


def entry(term: Term, key: str) -> Term | None:
    """What a map has for an atom. None if it is no map, or has nothing for it."""
    if isinstance(term, Located) and isinstance(term.value, Map):
        pairs: list[tuple[Term, Term]] = term.value.pairs
        for name, value in reversed(pairs):
            if isinstance(name, Located) and isinstance(name.value, Atom) and name.value == key:
                return value
    return None


def parts(term: Term) -> list[Term]:
    """The terms that a term is made of: elements, then the tail of an improper list; keys and values in turn."""
    value: Any = term.value if isinstance(term, Located) else None
    if isinstance(value, Map):
        return [part for pair in value.pairs for part in pair]
    if isinstance(value, ImproperList):
        return [*value.items, value.tail]
    # Bit strings and external funs are tuples too, to Python.
    return list(value) if type(value) in (tuple, list) else []


def walk(term: Term) -> Iterator[Term]:
    """A term and all that it is made of, in the order of the text."""
    waiting = [term]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(reversed(parts(found)))


def is_constant(term: Term) -> bool:
    """Whether nothing in a term is left to a VM."""
    return not any(isinstance(part, Dynamic) for part in walk(term))


def plain(term: Term) -> Any:
    """A term without its places, as `relup_remote.core.erlang.term.encode` takes it.

    Raises ValueError if something in it is left to a VM.
    """
    made: list[Any] = []
    waiting: list[tuple[Term, bool]] = [(term, False)]
    while waiting:
        part, is_read = waiting.pop()
        if isinstance(part, Dynamic):
            raise ValueError(f"line {part.span.line}, column {part.span.column}: only a VM can tell")
        inner = parts(part)
        if inner and not is_read:
            waiting.append((part, True))
            waiting.extend((item, False) for item in reversed(inner))
        else:
            below = made[len(made) - len(inner) :]
            del made[len(made) - len(inner) :]
            made.append(_without_places(part.value, below))
    return made[0]


def _without_places(value: Any, items: list[Any]) -> Any:
    if isinstance(value, Map):
        return Map(list(zip(items[::2], items[1::2], strict=True)))
    if isinstance(value, ImproperList):
        return ImproperList(items[:-1], items[-1])
    return type(value)(items) if type(value) in (tuple, list) else value
