"""Reading a beam file: what has to be known of a module before it is loaded, found without a VM.

A beam file, which may be gzip-compressed as a whole, is an IFF container: ``FOR1``, the number of bytes that follow,
``BEAM``, and chunks of four letters of name, a length, contents, and padding to four bytes. Numbers have 32 bits, the
highest first. The chunks that count here:

    AtU8  count, then each atom as length and UTF-8 text; a length is a byte, or where the count is negative (as OTP 28
          writes it) a compact number. Atoms count from 1, and the first is the module
    Code  length of the header after it, format (0), highest opcode, labels, functions; then the instructions
    ImpT  count, then each import as atom of the module, atom of the function, arity
    ExpT  count, then each export as atom of the function, arity, label
    FunT  count, then each fun as six numbers, of which the last differs from machine to machine
    LitT  size, then the literals, deflated unless the size is 0
    Attr  the attributes, as an external term
    StrT, Meta  for the MD5 only

Source of the format: the loader, `erts/emulator/beam/beam_file.c` of Erlang/OTP. What it calls corrupt is refused here
too, but for the instructions and the literals themselves, which only it looks into.
"""

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from relup_remote.core.erlang.term import Atom, TermError, decode

LIMIT = 32 << 20
"""The largest beam file, and the largest literals, in bytes when inflated. Real ones have two or three million."""

_MANDATORY = (b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT")
_READ = frozenset([*_MANDATORY, b"FunT", b"LitT", b"Meta", b"Attr"])
_GZIP = 16 + zlib.MAX_WBITS
_MOST_ARGUMENTS = _LONGEST_ATOM = 255
_STARTING = frozenset(b"start_child child_spec spec open start_listener start_clear start_tls spawn_listener".split())
"""Functions that get what is to be started: of supervisors, pools and listeners. Too many of them do no harm."""
_LOAD_NIF = (b"erlang", b"load_nif", 2)


class BeamError(ValueError):
    """A file that is not a beam file, or a damaged one. ``reason`` is a clause about it: ``is cut short``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Beam:
    """A module. Names are UTF-8, lists sorted and without repetition.

    ``md5`` is what `beam_lib:md5/1` and the loader make of it, ``imports`` the functions of other modules that it calls
    by name (and its own that it calls so), ``max_op`` the highest opcode that its compiler may have used. ``names``
    holds all atoms of its code, as the file has them, where it says what processes are started; else it is empty.
    """

    module: bytes
    md5: bytes
    exports: list[tuple[bytes, int]]
    behaviours: list[bytes]
    imports: list[tuple[bytes, bytes, int]]
    on_load: bool
    max_op: int
    names: bytes = b""

    @property
    def calls(self) -> list[bytes]:
        """The modules that it imports functions from, itself not among them."""
        return sorted({module for module, _, _ in self.imports} - {self.module})

    @property
    def loads_nif(self) -> bool:
        """Whether it puts functions in native code."""
        return _LOAD_NIF in self.imports


def read_beam(content: bytes) -> Beam:
    """The module in a beam file. Raises `BeamError`."""
    try:
        return _module(_chunks(_inflated(content)))
    except struct.error as error:
        raise BeamError("is cut short within a chunk") from error


def _inflated(content: bytes) -> bytes:
    return _inflate(content, _GZIP, LIMIT, "it") if content[:2] == b"\x1f\x8b" else content


def _module(chunks: dict[bytes, bytes]) -> Beam:
    for name in _MANDATORY:
        if name not in chunks:
            raise BeamError(f"has no chunk {name.decode()}")
    code = chunks[b"Code"]
    header, version, max_op = struct.unpack_from(">III", code)
    if version != 0 or header > len(code) - 4:
        raise BeamError("has code of an unknown format")
    atoms = _atoms(chunks[b"AtU8"])
    exports = _functions(chunks[b"ExpT"], atoms, (0,), 1)
    imports = _functions(chunks[b"ImpT"], atoms, (0, 1), 2)
    literals = _literals(chunks.get(b"LitT", b""))
    behaviours = _behaviours(chunks.get(b"Attr", b""))
    starts = b"supervisor" in behaviours or not _STARTING.isdisjoint(atoms)
    return Beam(
        module=atoms[1],
        md5=_md5(chunks),
        exports=sorted({(atoms[atom], arity) for atom, arity in zip(exports[::3], exports[1::3], strict=True)}),
        behaviours=behaviours,
        imports=sorted(
            {(atoms[module], atoms[atom], arity) for module, atom, arity in zip(*[iter(imports)] * 3, strict=True)}
        ),
        on_load=_ON_LOAD.search(code, 4 + header) is not None,
        max_op=max_op,
        names=chunks[b"AtU8"] + literals if starts else b"",
    )


def atoms(content: bytes) -> frozenset[str]:
    """All atoms of a beam file, those of its literals included, and perhaps more. Raises `BeamError`.

    The literals are not read as terms: whatever looks like an atom there is one.
    """
    try:
        chunks = _chunks(_inflated(content))
        table, literals = _atoms(chunks.get(b"AtU8", bytes(4))), _literals(chunks.get(b"LitT", b""))
    except struct.error as error:
        raise BeamError("is cut short within a chunk") from error
    named = {*table, *_likely_atoms(literals)}
    return frozenset(name.decode("utf-8", "replace") for name in named)


def _likely_atoms(terms: bytes) -> Iterator[bytes]:
    """The atoms in external terms, by the tags that begin one: of a byte of length, and of two."""
    for tag, width in ((b"w", 1), (b"s", 1), (b"v", 2), (b"d", 2)):
        at = terms.find(tag)
        while at >= 0:
            begin = at + 1 + width
            size = int.from_bytes(terms[at + 1 : begin], "big")
            if 0 < size <= 4 * _LONGEST_ATOM and begin + size <= len(terms):
                yield terms[begin : begin + size]
            at = terms.find(tag, at + 1)


def is_named(module: str, names: bytes) -> bool:
    """Whether a module is among the `Beam.names` of another."""
    name = module.encode()
    # Its length stands before it: a byte, or in the compact form of OTP 28 four bits or the lower byte of eleven.
    return bytes([len(name) & 255]) + name in names or (len(name) < 16 and bytes([len(name) << 4]) + name in names)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks that count, by name; of two with one name the later, as the loader has it."""
    if data[:4] != b"FOR1" or data[8:12] != b"BEAM":
        raise BeamError("is not a beam file")
    end = 8 + int.from_bytes(data[4:8], "big")
    if end > len(data):
        raise BeamError("is cut short")
    found = {}
    at = 12
    while at < end:
        name, size = struct.unpack_from(">4sI", data, at)
        start, at = at + 8, at + 8 + size + -size % 4
        if at > end:
            raise BeamError("is cut short within a chunk")
        if name in _READ:
            found[name] = data[start : start + size]
    return found


def _atoms(chunk: bytes) -> list[bytes]:
    """The atoms by their numbers. None has the number 0."""
    (count,) = struct.unpack_from(">i", chunk)
    atoms, at = [b""], 4
    try:
        for _ in range(abs(count)):
            size = chunk[at]
            at += 1
            if count < 0:
                size, at = _compact(size, chunk, at)
            atoms.append(chunk[at : at + size])
            at += size
    except IndexError:
        at = len(chunk) + 1
    if count == 0 or at > len(chunk):
        raise BeamError("is damaged: its atoms are cut short")
    if count < 0 or not chunk.isascii():
        _check_names(atoms)
    return atoms


def _compact(first: int, chunk: bytes, at: int) -> tuple[int, int]:
    """A number of at most eleven bits as operands have it, its ``first`` byte being read; and where the next is."""
    if first & 0x18 == 0x18:
        raise BeamError("is damaged: it has an atom that is too long")
    return ((first >> 5) << 8 | chunk[at], at + 1) if first & 0x08 else (first >> 4, at)


def _check_names(atoms: list[bytes]) -> None:
    try:
        longest = max(len(atom.decode()) for atom in atoms)
    except UnicodeDecodeError as error:
        raise BeamError("is damaged: it has an atom that is not UTF-8") from error
    if longest > _LONGEST_ATOM:
        raise BeamError("is damaged: it has an atom that is too long")


def _functions(chunk: bytes, atoms: list[bytes], names: tuple[int, ...], arity: int) -> tuple[int, ...]:
    """The numbers of a table of functions, three each; ``names`` and ``arity`` say which of them are what."""
    (count,) = struct.unpack_from(">I", chunk)
    numbers = struct.unpack_from(f">{3 * count}I", chunk, 4)
    if not count:
        return numbers
    for place in names:
        if min(numbers[place::3]) < 1 or max(numbers[place::3]) >= len(atoms):
            raise BeamError("is damaged: a function is named by an atom that it does not have")
    if max(numbers[arity::3]) > _MOST_ARGUMENTS:
        raise BeamError("is damaged: a function has too many arguments")
    return numbers


def _literals(chunk: bytes) -> bytes:
    if not chunk:
        return b""
    (size,) = struct.unpack_from(">I", chunk)
    if not size:
        return chunk[4:]
    found = _inflate(chunk[4:], zlib.MAX_WBITS, min(size, LIMIT), "its literals")
    if len(found) != size:
        raise BeamError("is damaged: its literals have another size than they say")
    return found


def _inflate(data: bytes, wbits: int, limit: int, what: str) -> bytes:
    engine = zlib.decompressobj(wbits)
    try:
        found = engine.decompress(data, limit + 1)
    except zlib.error as error:
        raise BeamError(f"is damaged: {what} can't be inflated") from error
    if len(found) > limit:
        raise BeamError(f"is too large: {what} inflates to more than {limit} bytes")
    if not engine.eof:
        raise BeamError(f"is damaged: {what} can't be inflated to its end")
    return found


def _md5(chunks: dict[bytes, bytes]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for name in (b"AtU8", b"Code", b"StrT", b"ImpT", b"ExpT"):
        digest.update(chunks[name])
    digest.update(_portable(chunks.get(b"FunT", b"")))
    digest.update(chunks.get(b"LitT", b""))
    digest.update(chunks.get(b"Meta", b""))
    return digest.digest()


def _portable(funs: bytes) -> bytes:
    """The table of funs, the last number of each made 0."""
    if not funs:
        return funs
    (count,) = struct.unpack_from(">I", funs)
    if len(funs) % 24 != 4 or count > len(funs) // 24:
        raise BeamError("is damaged: its funs are cut short")
    table = bytearray(funs)
    for place in range(24, 28):
        table[place::24] = bytes(len(funs) // 24)
    return bytes(table)


def _behaviours(attributes: bytes) -> list[bytes]:
    """What the attributes say, in either spelling. A stripped beam says nothing."""
    if not attributes:
        return []
    try:
        pairs = decode(attributes)
    except TermError as error:
        raise BeamError("is damaged: its attributes are not a term") from error
    found: set[bytes] = set()
    for pair in pairs if isinstance(pairs, list) else []:
        match pair:
            case (("behaviour" | "behavior"), [*names]):
                found.update(name.encode() for name in names if isinstance(name, Atom))
    return sorted(found)


def _operand(tag: int) -> bytes:
    """A pattern for a compact number of up to 24 bits with a tag in its first byte."""
    short, eleven_bits = bytes(range(tag, 256, 16)), bytes(range(tag | 0x08, 256, 32))
    sixteen_bits, more = bytes([tag | 0x18]), bytes([tag | 0x38])
    firsts = b"[%s]|[%s].|%s..|%s..." % tuple(map(re.escape, (short, eleven_bits, sixteen_bits, more)))
    return b"(?:%s)" % firsts


_NUMBER, _ATOM = 0, 2
_ON_LOAD = re.compile(
    # func_info Module, Function, 0; label L; on_load. The compiler puts it nowhere else, and only once.
    b"\\x02\\x12" + _operand(_ATOM) + b"\\x00\\x01" + _operand(_NUMBER) + b"\\x95",
    re.DOTALL,
)
