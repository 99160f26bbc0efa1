"""Comparing terms as Erlang does: by what they are, however they are written, and whatever Python takes for equal."""

import struct
from typing import Any

from relup_remote.core.erlang.term import Atom, BitString, Export, ImproperList, Map, Opaque


def comparable(term: Any) -> bytes:
    """A value that is equal for two terms, as `consult` reads and `term` decodes them, where Erlang's ``=:=`` is true.

    The order of a map's keys does not count, and of equal keys the last does. A string is the list of its characters,
    an atom is no string, 1 is not 1.0. It calls itself for no part of a term.
    """
    made: list[bytes] = []
    waiting: list[tuple[Any, int]] = [(term, -1)]
    while waiting:
        part, count = waiting.pop()
        if count >= 0:
            below = made[len(made) - count :]
            del made[len(made) - count :]
            made.append(_whole(part, below))
            continue
        parts = _parts(part)
        if parts is None:
            made.append(_scalar(part))
        else:
            waiting.append((part, len(parts)))
            waiting.extend((each, -1) for each in reversed(parts))
    return made[0]


def _parts(term: Any) -> list[Any] | None:
    """The terms in a term; None for one that has no parts."""
    if isinstance(term, Map):
        return [part for pair in term.pairs for part in pair]
    if isinstance(term, dict):
        return [part for pair in term.items() for part in pair]
    if isinstance(term, ImproperList):
        return [*term.items, term.tail]
    if isinstance(term, str) and not isinstance(term, Atom):
        return [ord(char) for char in term]
    # Bit strings, funs and pids are tuples too, to Python.
    return list(term) if type(term) in (tuple, list) else None


def _whole(term: Any, parts: list[bytes]) -> bytes:
    if isinstance(term, Map | dict):
        pairs = dict(zip(parts[::2], parts[1::2], strict=True))
        return _tagged(b"m", *(part for pair in sorted(pairs.items()) for part in pair))
    if isinstance(term, ImproperList):
        return _tagged(b"i", *parts)
    return _tagged(b"t" if isinstance(term, tuple) else b"l", *parts)


def _scalar(term: Any) -> bytes:
    match term:
        case Atom():
            return _tagged(b"a", term.encode("utf-8", "surrogatepass"))
        case bool() | None:
            return _tagged(b"a", {True: b"true", False: b"false", None: b"undefined"}[term])
        case int():
            return _tagged(b"n", b"%x" % term)
        case float():
            return _tagged(b"f", struct.pack(">d", term))
        case bytes():
            return _tagged(b"b", term)
        case BitString():
            return _tagged(b"s", term.data, b"%d" % term.bits)
        case Export():
            return _tagged(b"e", *(part.encode() for part in (term.module, term.function, str(term.arity))))
        case Opaque():
            return _tagged(b"o", term.raw)
    raise TypeError(f"{type(term).__name__} is no term")


def _tagged(kind: bytes, *parts: bytes) -> bytes:
    return kind + b"%d:" % len(parts) + b"".join(b"%d:%b" % (len(part), part) for part in parts)
