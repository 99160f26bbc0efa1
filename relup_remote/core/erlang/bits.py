"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the bytes of binaries, by their segments.

Source: the Erlang Reference Manual, chapter "Expressions", section "Bit Syntax Expressions". What depends on the
machine (``native``) or differs between versions is left to the VM.
"""

import struct
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union

from .term import Atom, BitString

_ALIASES = {"bytes": "binary", "bits": "bitstring"}
_DEFAULTS: Dict[str, Tuple[Optional[int], int]] = {
    "integer": (8, 1),
    "float": (64, 1),
    "binary": (None, 8),
    "bitstring": (None, 1),
}
_ENCODINGS = {"utf8": "utf-8", "utf16": "utf-16", "utf32": "utf-32"}
_KINDS: List[Set[str]] = [{*_DEFAULTS, *_ENCODINGS}, {"signed", "unsigned"}, {"big", "little"}]
_FLOATS = {16: "e", 32: "f", 64: "d"}


class Unclear(ValueError):
    """A segment that Erlang would refuse, or that we are not sure of."""


def joined(bits: Iterable[str]) -> Union[bytes, BitString]:
    """The binary of pieces of zeros and ones."""
    whole = "".join(bits)
    rest = len(whole) % 8
    padded = whole + "0" * (-len(whole) % 8)
    content = int(padded, 2).to_bytes(len(padded) // 8, "big") if padded else b""
    return BitString(content, rest) if rest else content


def bits_of(value: Any, size: Any, types: Sequence[Union[str, Tuple[str, int]]], limit: int) -> str:
    """The zeros and ones of a segment. Raises `Unclear`, also for more than ``limit`` of them."""
    names = [_ALIASES.get(name, name) for name in types if isinstance(name, str)]
    units = [unit for name, unit in (each for each in types if isinstance(each, tuple)) if name == "unit"]
    kind, _, endian = (_only(names, known) for known in _KINDS)
    if len(units) + len(names) != len(types) or len(units) > 1 or not set(names) <= set.union(*_KINDS):
        raise Unclear("its type")
    if type(size) not in (int, type(None)):
        raise Unclear("its size")
    parts = list(value) if isinstance(value, str) and not isinstance(value, Atom) else [value]
    if kind in _ENCODINGS:
        if size is not None or units:
            raise Unclear("a size for a character")
        return "".join(_character(part, _ENCODINGS[kind], endian) for part in parts)
    width = _width(kind or "integer", size, units)
    if width is not None and not 0 <= width * len(parts) <= limit:
        raise Unclear("its size")
    numbers = [ord(part) if isinstance(part, str) and not isinstance(part, Atom) else part for part in parts]
    return "".join(_part(number, kind or "integer", width, endian) for number in numbers)


def _only(names: Sequence[str], known: Set[str]) -> Optional[str]:
    found = {name for name in names if name in known}
    if len(found) > 1:
        raise Unclear("its type")
    return found.pop() if found else None


def _width(kind: str, size: Optional[int], units: Sequence[int]) -> Optional[int]:
    """How many bits a segment has. None: as many as its value."""
    if units and (size is None or not 1 <= units[0] <= 256):
        raise Unclear("a unit without a size")
    default, unit = _DEFAULTS[kind]
    if size is None:
        return default
    return size * (units[0] if units else unit)


def _part(value: Any, kind: str, width: Optional[int], endian: Optional[str]) -> str:
    if kind == "integer" and type(value) is int and width is not None:
        return _ordered("{:0{}b}".format(value & ((1 << width) - 1), width) if width else "", endian)
    if kind == "float" and type(value) in (int, float) and width in _FLOATS:
        try:
            packed = struct.pack(">" + _FLOATS[width], value)
        except (OverflowError, struct.error):
            raise Unclear("a number that is too large") from None
        return _ordered(_bits(packed), endian)
    if kind == "bitstring" or (kind == "binary" and isinstance(value, bytes)):
        return _prefix(value, width)
    raise Unclear("a value that is not of its type")


def _ordered(bits: str, endian: Optional[str]) -> str:
    if endian != "little":
        return bits
    first = len(bits) % 8
    return "".join([bits[at : at + 8] for at in range(len(bits) - 8, first - 1, -8)] + [bits[:first]])


def _prefix(value: Any, width: Optional[int]) -> str:
    if isinstance(value, BitString):
        bits = _bits(value.data)[: len(value.data) * 8 - 8 + value.bits]
    elif isinstance(value, bytes):
        bits = _bits(value)
    else:
        raise Unclear("no binary")
    if width is not None and width > len(bits):
        raise Unclear("a size that is larger than the binary")
    return bits[:width]


def _character(value: Any, encoding: str, endian: Optional[str]) -> str:
    try:
        char = value if isinstance(value, str) and not isinstance(value, Atom) else chr(value)
        return _bits(
            char.encode(encoding if encoding == "utf-8" else encoding + ("-le" if endian == "little" else "-be"))
        )
    except (TypeError, ValueError, OverflowError):
        raise Unclear("not a character") from None


def _bits(content: bytes) -> str:
    return "{:0{}b}".format(int.from_bytes(content, "big"), len(content) * 8) if content else ""
