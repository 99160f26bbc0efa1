"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Erlang's external term format.

Source of the format: the ERTS User's Guide, chapter "External Term Format".

How terms look in Python:

===================  =============================================================
Erlang               Python
===================  =============================================================
integer, float       int, float
atom                 `Atom`, a str (``true`` is ``Atom("true")``)
binary               bytes
bit string           `BitString`
list, string         list (a string is a list of code points; see `text`)
improper list        `ImproperList`
tuple                tuple
map                  dict, or `Map` where a dict can't tell the keys apart
pid, port, ref, fun  `Opaque`, which encodes to what was decoded
external fun         `Export`
===================  =============================================================

To encode, a str that is no `Atom` becomes a string (list of code points), and True, False and None the atoms true,
false and undefined.

Neither way calls itself for the terms in a term, so how deep they are nested is limited by `MAX_DEPTH` alone.
"""

import math
import struct
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

VERSION = 131

MAX_DEPTH = 10000
"""How many terms may be around a term that is decoded. Python's hash of a tuple needs stack for each of them."""

MAX_INFLATED = 1 << 26
"""Bytes that a compressed term may come to; 1 MB of deflated bytes could stand for 1 GB."""

_ATOM_UTF8, _SMALL_ATOM_UTF8, _ATOM_LATIN1, _SMALL_ATOM_LATIN1 = 118, 119, 100, 115
_SMALL_INTEGER, _INTEGER, _SMALL_BIG, _LARGE_BIG = 97, 98, 110, 111
_NEW_FLOAT, _OLD_FLOAT = 70, 99
_SMALL_TUPLE, _LARGE_TUPLE, _NIL, _STRING, _LIST, _MAP = 104, 105, 106, 107, 108, 116
_BINARY, _BIT_BINARY = 109, 77
_NEW_PID, _PID, _NEW_PORT, _PORT, _V4_PORT = 88, 103, 89, 102, 120
_NEWER_REFERENCE, _NEW_REFERENCE, _REFERENCE = 90, 114, 101
_NEW_FUN, _EXPORT, _COMPRESSED = 112, 113, 80


class TermError(ValueError):
    """Bytes that are no external term, or a Python value that no Erlang term stands for."""


class Atom(str):
    """An Erlang atom, at most 255 characters."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Atom({})".format(str.__repr__(self))


class BitString(NamedTuple):
    """A bit string whose last byte holds only its `bits` (1..7) most significant bits."""

    data: bytes
    bits: int


class ImproperList(NamedTuple):
    """A list with a tail that is no list: ``[1, 2 | tail]``."""

    items: List[Any]
    tail: Any


class Map(NamedTuple):
    """A map as a list of pairs, where a dict would confuse keys (1 and 1.0) or can't hold them (lists)."""

    pairs: List[Tuple[Any, Any]]


class Opaque(NamedTuple):
    """A pid, port, reference or fun: `kind` says which, `raw` is its encoding with the tag.

    Those of one pid, port or reference are equal.
    """

    kind: str
    raw: bytes


class Export(NamedTuple):
    """An external fun, ``fun module:function/arity``."""

    module: Atom
    function: Atom
    arity: int


def pid(node: str, number: int, serial: int, creation: int) -> Opaque:
    """The pid of a process on `node`, as a peer in the distribution would have it."""
    return Opaque("pid", bytes([_NEW_PID]) + _encode_atom(node) + struct.pack(">III", number, serial, creation))


def reference(node: str, creation: int, words: List[int]) -> Opaque:
    """A reference made on `node`, of up to five 32-bit `words`."""
    head = struct.pack(">BH", _NEWER_REFERENCE, len(words))
    return Opaque("reference", head + _encode_atom(node) + struct.pack(">{}I".format(len(words) + 1), creation, *words))


def text(term: Any) -> str:
    """A string, binary (UTF-8), atom or iolist as str; anything else as its repr."""
    if isinstance(term, str):
        return term
    if isinstance(term, bytes):
        return term.decode("utf-8", "replace")
    try:
        if isinstance(term, list):
            return "".join(chr(item) if isinstance(item, int) else text(item) for item in term)
    except (ValueError, OverflowError, RecursionError):
        pass
    try:
        return repr(term)
    except (ValueError, RecursionError):
        # An integer of thousands of digits, or a term that is nested too deep.
        return "<{}>".format(type(term).__name__)


# ---------------------------------------------------------------------------------------------------- encoding


def encode(term: Any) -> bytes:
    """`term` in the external format, with the version byte.

    Raises `TermError` for a value outside the table above.
    """
    out = [bytes([VERSION])]
    waiting = [term]
    try:
        while waiting:
            head, parts = _opened(waiting.pop())
            out.append(head)
            if parts:
                waiting.extend(reversed(parts))
    except (struct.error, UnicodeEncodeError) as error:
        raise TermError("no Erlang term: {}".format(error))
    return b"".join(out)


def _opened(term: Any) -> Tuple[bytes, Sequence[Any]]:
    """The bytes that `term` begins with, and the terms whose bytes follow."""
    if isinstance(term, Atom):
        return _encode_atom(term), ()
    if isinstance(term, bool):
        return _encode_atom("true" if term else "false"), ()
    if term is None:
        return _encode_atom("undefined"), ()
    if isinstance(term, int):
        return _encode_int(term), ()
    if isinstance(term, float):
        if not math.isfinite(term):
            raise TermError("Erlang has no float {}".format(term))
        return struct.pack(">Bd", _NEW_FLOAT, term), ()
    if isinstance(term, str):
        return _opened_list([ord(char) for char in term])
    if isinstance(term, (bytes, bytearray)):
        return struct.pack(">BI", _BINARY, len(term)) + term, ()
    if isinstance(term, list):
        return _opened_list(term)
    if isinstance(term, dict):
        return _opened_map(list(term.items()))
    if isinstance(term, Opaque):
        return term.raw, ()
    if isinstance(term, BitString):
        return struct.pack(">BIB", _BIT_BINARY, len(term.data), _checked_bits(term.data, term.bits)) + term.data, ()
    if isinstance(term, ImproperList):
        return struct.pack(">BI", _LIST, len(term.items)), [*term.items, term.tail]
    if isinstance(term, Map):
        return _opened_map(term.pairs)
    if isinstance(term, Export):
        name = _encode_atom(term.module) + _encode_atom(term.function)
        return struct.pack(">B", _EXPORT) + name + struct.pack(">BB", _SMALL_INTEGER, term.arity), ()
    if isinstance(term, tuple):
        size = len(term)
        return struct.pack(">BB", _SMALL_TUPLE, size) if size < 256 else struct.pack(">BI", _LARGE_TUPLE, size), term
    raise TermError("no Erlang term stands for a {}".format(type(term).__name__))


def _encode_atom(name: str) -> bytes:
    data = name.encode("utf-8")
    if len(name) > 255:
        raise TermError("an atom has at most 255 characters")
    if len(data) < 256:
        return bytes([_SMALL_ATOM_UTF8, len(data)]) + data
    return struct.pack(">BH", _ATOM_UTF8, len(data)) + data


def _encode_int(value: int) -> bytes:
    if 0 <= value <= 255:
        return bytes([_SMALL_INTEGER, value])
    if -(1 << 31) <= value < 1 << 31:
        return struct.pack(">Bi", _INTEGER, value)
    size = (abs(value).bit_length() + 7) // 8
    head = bytes([_SMALL_BIG, size]) if size < 256 else struct.pack(">BI", _LARGE_BIG, size)
    return head + bytes([value < 0]) + abs(value).to_bytes(size, "little")


def _opened_list(items: List[Any]) -> Tuple[bytes, Sequence[Any]]:
    if not items:
        return bytes([_NIL]), ()
    if len(items) < 65536 and all(type(item) is int and 0 <= item < 256 for item in items):
        return struct.pack(">BH", _STRING, len(items)) + bytes(items), ()
    return struct.pack(">BI", _LIST, len(items)), [*items, []]


def _opened_map(pairs: List[Tuple[Any, Any]]) -> Tuple[bytes, Sequence[Any]]:
    return struct.pack(">BI", _MAP, len(pairs)), [part for pair in pairs for part in pair]


def _checked_bits(data: bytes, bits: int) -> int:
    if not data or not 1 <= bits <= 8:
        raise TermError("a bit string has 1 to 8 bits in the last of its bytes")
    return bits


# ---------------------------------------------------------------------------------------------------- decoding


def decode(data: bytes) -> Any:
    """The one term that `data`, with its version byte, holds. Raises `TermError` for anything else."""
    term, end = decode_from(data, 0)
    if end != len(data):
        raise TermError("{} bytes follow the term".format(len(data) - end))
    return term


def decode_from(data: bytes, start: int) -> Tuple[Any, int]:
    """The term whose version byte is at `start`, and where the bytes after it begin. Raises `TermError`."""
    try:
        if data[start] != VERSION:
            raise TermError("unknown version {} of the term format".format(data[start]))
        if data[start + 1] == _COMPRESSED:
            return _decode_compressed(data, start + 2)
        reader = _Reader(data, start + 1)
        return reader.term(), reader.at
    except (IndexError, struct.error):
        raise TermError("the term is cut short")
    except (UnicodeDecodeError, zlib.error) as error:
        raise TermError("not a term: {}".format(type(error).__name__))


def _decode_compressed(data: bytes, at: int) -> Tuple[Any, int]:
    (size,) = struct.unpack_from(">I", data, at)
    if size > MAX_INFLATED:
        raise TermError("a compressed term of {} bytes".format(size))
    inflate = zlib.decompressobj()
    # At least 1, since 0 would mean no limit.
    inner = inflate.decompress(data[at + 4 :], max(size, 1))
    if len(inner) != size or not inflate.eof:
        raise TermError("a compressed term is not of the size it names")
    reader = _Reader(inner, 0)
    term = reader.term()
    if reader.at != size:
        raise TermError("{} bytes follow the compressed term".format(size - reader.at))
    return term, len(data) - len(inflate.unused_data)


class _Reader:
    """Reads terms off `data`, from `at` on."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def term(self) -> Any:
        # The terms around the next one: how many it holds, those of them read so far, and what is made of them.
        around: List[Tuple[int, List[Any], Callable[[List[Any]], Any]]] = []
        while True:
            tag = self.data[self.at]
            self.at += 1
            if tag in _CONTAINERS:
                size_of, made_of = _CONTAINERS[tag]
                size = size_of(self)
                if size:
                    if len(around) == MAX_DEPTH:
                        raise TermError("nested too deep")
                    around.append((size, [], made_of))
                    continue
                value = made_of([])
            elif tag in _READERS:
                value = _READERS[tag](self)
            else:
                raise TermError("unknown tag {}".format(tag))
            while around:
                size, items, made_of = around[-1]
                items.append(value)
                if len(items) < size:
                    break
                around.pop()
                value = made_of(items)
            else:
                return value

    def number(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise IndexError
        chunk = self.data[self.at : end]
        self.at = end
        return chunk

    def count(self, layout: str) -> int:
        # Every element takes a byte at least: a larger count is a lie, and would only cost memory.
        size = int(self.number(layout))
        if size > len(self.data) - self.at:
            raise IndexError
        return size

    def atom(self) -> Atom:
        tag = self.number(">B")
        if tag not in _ATOMS:
            raise TermError("an atom was expected")
        return self.read_atom(*_ATOMS[tag])

    def read_atom(self, layout: str, encoding: str) -> Atom:
        name = self.take(self.number(layout)).decode(encoding)
        if len(name) > 255:
            raise TermError("an atom has at most 255 characters")
        return Atom(name)

    def big(self, layout: str) -> int:
        size, sign = self.count(layout), self.number(">B")
        value = int.from_bytes(self.take(size), "little")
        return -value if sign else value

    def new_float(self) -> float:
        return _checked_float(self.number(">d"))

    def old_float(self) -> float:
        try:
            return _checked_float(float(self.take(31).split(b"\0")[0]))
        except ValueError:
            raise TermError("not a float")

    def bit_string(self) -> Union[bytes, BitString]:
        size, bits = self.number(">I"), self.number(">B")
        data = self.take(size)
        return data if _checked_bits(data, bits) == 8 else BitString(data, bits)

    def export(self) -> Export:
        module, function = self.atom(), self.atom()
        tag = self.number(">B")
        arity = _READERS[tag](self) if tag in (_SMALL_INTEGER, _INTEGER) else -1
        if not 0 <= arity <= 255:
            raise TermError("an arity is a number up to 255")
        return Export(module, function, arity)

    def identifier(self, kind: str, size: int) -> Opaque:
        tag = self.data[self.at - 1]
        # Written anew, since the same pid may come with its node's name in either encoding of atoms.
        node = _encode_atom(self.atom())
        return Opaque(kind, bytes([tag]) + node + self.take(size))

    def new_reference(self, creation: int) -> Opaque:
        tag, words = self.data[self.at - 1], self.number(">H")
        node = _encode_atom(self.atom())
        return Opaque("reference", struct.pack(">BH", tag, words) + node + self.take(creation + 4 * words))

    def new_fun(self) -> Opaque:
        # The size counts its own four bytes.
        start, size = self.at - 1, self.number(">I")
        if size < 4:
            raise TermError("a fun of {} bytes".format(size))
        self.take(size - 4)
        return Opaque("fun", self.data[start : self.at])


def _checked_float(value: float) -> float:
    if not math.isfinite(value):
        raise TermError("Erlang has no float {}".format(value))
    return value


def _list_of(items: List[Any]) -> Any:
    """A list of all `items` but the last, which is its tail."""
    tail = items.pop()
    if isinstance(tail, list):
        return items + tail
    if isinstance(tail, ImproperList):
        return ImproperList(items + tail.items, tail.tail)
    return ImproperList(items, tail) if items else tail


def _map_of(items: List[Any]) -> Union[Dict[Any, Any], Map]:
    """A map of `items`, each key followed by its value."""
    pairs = list(zip(items[::2], items[1::2]))
    try:
        found = dict(pairs)
    except TypeError:
        return Map(pairs)
    return found if len(found) == len(pairs) else Map(pairs)


_CONTAINERS: Dict[int, Tuple[Callable[[_Reader], int], Callable[[List[Any]], Any]]] = {
    _SMALL_TUPLE: (lambda r: r.count(">B"), tuple),
    _LARGE_TUPLE: (lambda r: r.count(">I"), tuple),
    _LIST: (lambda r: r.count(">I") + 1, _list_of),
    _MAP: (lambda r: r.count(">I") * 2, _map_of),
}
"""Of each tag of a term that holds terms: how many follow, and what they make."""

_ATOMS = {
    _SMALL_ATOM_UTF8: (">B", "utf-8"),
    _ATOM_UTF8: (">H", "utf-8"),
    _SMALL_ATOM_LATIN1: (">B", "latin-1"),
    _ATOM_LATIN1: (">H", "latin-1"),
}

_READERS: Dict[int, Callable[[_Reader], Any]] = {
    _SMALL_ATOM_UTF8: lambda r: r.read_atom(*_ATOMS[_SMALL_ATOM_UTF8]),
    _ATOM_UTF8: lambda r: r.read_atom(*_ATOMS[_ATOM_UTF8]),
    _SMALL_ATOM_LATIN1: lambda r: r.read_atom(*_ATOMS[_SMALL_ATOM_LATIN1]),
    _ATOM_LATIN1: lambda r: r.read_atom(*_ATOMS[_ATOM_LATIN1]),
    _SMALL_INTEGER: lambda r: r.number(">B"),
    _INTEGER: lambda r: r.number(">i"),
    _SMALL_BIG: lambda r: r.big(">B"),
    _LARGE_BIG: lambda r: r.big(">I"),
    _NEW_FLOAT: _Reader.new_float,
    _OLD_FLOAT: _Reader.old_float,
    _NIL: lambda r: [],
    _STRING: lambda r: list(r.take(r.number(">H"))),
    _BINARY: lambda r: r.take(r.number(">I")),
    _BIT_BINARY: _Reader.bit_string,
    _PID: lambda r: r.identifier("pid", 9),
    _NEW_PID: lambda r: r.identifier("pid", 12),
    _PORT: lambda r: r.identifier("port", 5),
    _NEW_PORT: lambda r: r.identifier("port", 8),
    _V4_PORT: lambda r: r.identifier("port", 12),
    _REFERENCE: lambda r: r.identifier("reference", 5),
    _NEW_REFERENCE: lambda r: r.new_reference(1),
    _NEWER_REFERENCE: lambda r: r.new_reference(4),
    _NEW_FUN: _Reader.new_fun,
    _EXPORT: _Reader.export,
}
