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
pid, port, ref, fun  `Opaque`, which encodes to just what was decoded
external fun         `Export`
===================  =============================================================

To encode, a str that is no `Atom` becomes a string (list of code points), and True, False and None the atoms true,
false and undefined.
"""

import math
import struct
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union

VERSION = 131

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
    """A pid, port, reference or fun: `kind` says which, `raw` is its encoding with the tag."""

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
    if isinstance(term, list):
        try:
            return "".join(chr(item) if isinstance(item, int) else text(item) for item in term)
        except (ValueError, OverflowError):
            return repr(term)
    return repr(term)


# ---------------------------------------------------------------------------------------------------- encoding


def encode(term: Any) -> bytes:
    """`term` in the external format, with the version byte.

    Raises `TermError` for a value outside the table above.
    """
    out: List[bytes] = [bytes([VERSION])]
    try:
        _encode(term, out.append)
    except (struct.error, RecursionError, UnicodeEncodeError) as error:
        raise TermError("no Erlang term: {}".format(error))
    return b"".join(out)


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


def _encode(term: Any, put: Callable[[bytes], None]) -> None:
    if isinstance(term, Atom):
        put(_encode_atom(term))
    elif isinstance(term, bool):
        put(_encode_atom("true" if term else "false"))
    elif term is None:
        put(_encode_atom("undefined"))
    elif isinstance(term, int):
        put(_encode_int(term))
    elif isinstance(term, float):
        if not math.isfinite(term):
            raise TermError("Erlang has no float {}".format(term))
        put(struct.pack(">Bd", _NEW_FLOAT, term))
    elif isinstance(term, str):
        _encode_list([ord(char) for char in term], put)
    elif isinstance(term, (bytes, bytearray)):
        put(struct.pack(">BI", _BINARY, len(term)) + bytes(term))
    elif isinstance(term, list):
        _encode_list(term, put)
    elif isinstance(term, dict):
        _encode_pairs(list(term.items()), put)
    elif isinstance(term, Opaque):
        put(term.raw)
    elif isinstance(term, BitString):
        put(struct.pack(">BIB", _BIT_BINARY, len(term.data), term.bits) + term.data)
    elif isinstance(term, ImproperList):
        put(struct.pack(">BI", _LIST, len(term.items)))
        for item in term.items:
            _encode(item, put)
        _encode(term.tail, put)
    elif isinstance(term, Map):
        _encode_pairs(term.pairs, put)
    elif isinstance(term, Export):
        put(bytes([_EXPORT]) + _encode_atom(term.module) + _encode_atom(term.function) + _encode_int(term.arity))
    elif isinstance(term, tuple):
        size = len(term)
        put(bytes([_SMALL_TUPLE, size]) if size < 256 else struct.pack(">BI", _LARGE_TUPLE, size))
        for item in term:
            _encode(item, put)
    else:
        raise TermError("no Erlang term stands for a {}".format(type(term).__name__))


def _encode_list(items: List[Any], put: Callable[[bytes], None]) -> None:
    if not items:
        put(bytes([_NIL]))
        return
    if len(items) < 65536 and all(type(item) is int and 0 <= item < 256 for item in items):
        put(struct.pack(">BH", _STRING, len(items)) + bytes(items))
        return
    put(struct.pack(">BI", _LIST, len(items)))
    for item in items:
        _encode(item, put)
    put(bytes([_NIL]))


def _encode_pairs(pairs: List[Tuple[Any, Any]], put: Callable[[bytes], None]) -> None:
    put(struct.pack(">BI", _MAP, len(pairs)))
    for key, value in pairs:
        _encode(key, put)
        _encode(value, put)


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
    except (UnicodeDecodeError, RecursionError, OverflowError, zlib.error) as error:
        raise TermError("not a term: {}".format(type(error).__name__))


def _decode_compressed(data: bytes, at: int) -> Tuple[Any, int]:
    (size,) = struct.unpack_from(">I", data, at)
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
        tag = self.data[self.at]
        self.at += 1
        try:
            read = _READERS[tag]
        except KeyError:
            raise TermError("unknown tag {}".format(tag))
        return read(self)

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

    def terms(self, count: int) -> List[Any]:
        return [self.term() for _ in range(count)]

    def atom(self) -> Atom:
        name = self.term()
        if not isinstance(name, Atom):
            raise TermError("an atom was expected")
        return name

    def big(self, size: int) -> int:
        sign = self.number(">B")
        value = int.from_bytes(self.take(size), "little")
        return -value if sign else value

    def read_list(self) -> Union[List[Any], ImproperList]:
        items = self.terms(self.count(">I"))
        tail = self.term()
        if isinstance(tail, list):
            return items + tail
        if isinstance(tail, ImproperList):
            return ImproperList(items + tail.items, tail.tail)
        return ImproperList(items, tail)

    def read_map(self) -> Union[Dict[Any, Any], Map]:
        pairs = [(self.term(), self.term()) for _ in range(self.count(">I"))]
        try:
            found = dict(pairs)
        except TypeError:
            return Map(pairs)
        return found if len(found) == len(pairs) else Map(pairs)

    def old_float(self) -> float:
        try:
            return float(self.take(31).split(b"\0")[0])
        except ValueError:
            raise TermError("not a float")

    def bit_string(self) -> Union[bytes, BitString]:
        size, bits = self.number(">I"), self.number(">B")
        data = self.take(size)
        return data if bits == 8 else BitString(data, bits)

    def export(self) -> Export:
        module, function, arity = self.atom(), self.atom(), self.term()
        if not isinstance(arity, int):
            raise TermError("an arity is a number")
        return Export(module, function, arity)

    def opaque(self, kind: str, start: int) -> Opaque:
        return Opaque(kind, self.data[start : self.at])

    def identifier(self, kind: str, size: int) -> Opaque:
        start = self.at - 1
        self.atom()
        self.take(size)
        return self.opaque(kind, start)

    def new_reference(self, creation: int) -> Opaque:
        start = self.at - 1
        words = self.number(">H")
        self.atom()
        self.take(creation + 4 * words)
        return self.opaque("reference", start)

    def new_fun(self) -> Opaque:
        start = self.at - 1
        self.take(self.number(">I") - 4)
        return self.opaque("fun", start)


_READERS: Dict[int, Callable[[_Reader], Any]] = {
    _SMALL_ATOM_UTF8: lambda r: Atom(r.take(r.number(">B")).decode("utf-8")),
    _ATOM_UTF8: lambda r: Atom(r.take(r.number(">H")).decode("utf-8")),
    _SMALL_ATOM_LATIN1: lambda r: Atom(r.take(r.number(">B")).decode("latin-1")),
    _ATOM_LATIN1: lambda r: Atom(r.take(r.number(">H")).decode("latin-1")),
    _SMALL_INTEGER: lambda r: r.number(">B"),
    _INTEGER: lambda r: r.number(">i"),
    _SMALL_BIG: lambda r: r.big(r.number(">B")),
    _LARGE_BIG: lambda r: r.big(r.count(">I")),
    _NEW_FLOAT: lambda r: r.number(">d"),
    _OLD_FLOAT: _Reader.old_float,
    _SMALL_TUPLE: lambda r: tuple(r.terms(r.count(">B"))),
    _LARGE_TUPLE: lambda r: tuple(r.terms(r.count(">I"))),
    _NIL: lambda r: [],
    _STRING: lambda r: list(r.take(r.number(">H"))),
    _LIST: _Reader.read_list,
    _MAP: _Reader.read_map,
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
