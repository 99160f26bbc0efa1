"""Beam files made chunk by chunk, for what no compiler would write, and compiled ones."""

import struct
from pathlib import Path

from .erlc import compile_all

Chunks = list[tuple[bytes, bytes]]


def compiled(source: str, folder: Path) -> Path:
    """The beam file of a module's source, by the compiler on the PATH. The first line names the module."""
    name = source.partition("-module(")[2].partition(")")[0]
    (folder / f"{name}.erl").write_text(source)
    compile_all([folder / f"{name}.erl"])
    return folder / f"{name}.beam"


def chunks_of(beam: bytes) -> Chunks:
    """The chunks of a beam file that is well."""
    found, at = [], 12
    while at < len(beam):
        name, size = struct.unpack_from(">4sI", beam, at)
        found.append((name, beam[at + 8 : at + 8 + size]))
        at += 8 + size + -size % 4
    return found


def joined(chunks: Chunks) -> bytes:
    """A beam file of these chunks."""
    parts = [name + struct.pack(">I", len(data)) + data + bytes(-len(data) % 4) for name, data in chunks]
    body = b"BEAM" + b"".join(parts)
    return b"FOR1" + struct.pack(">I", len(body)) + body


def with_chunk(beam: bytes, name: bytes, data: bytes | None) -> bytes:
    """The beam file with a chunk replaced, put last if it has none of that name, or left out."""
    chunks = chunks_of(beam)
    if data is None:
        return joined([chunk for chunk in chunks if chunk[0] != name])
    if name not in dict(chunks):
        return joined([*chunks, (name, data)])
    return joined([(name, data) if chunk[0] == name else chunk for chunk in chunks])


def numbers(*values: int) -> bytes:
    """Numbers of 32 bits as chunks have them; negative ones too."""
    return b"".join(struct.pack(">I", value % (1 << 32)) for value in values)


def named(name: str, exports: tuple[str, ...] = ()) -> bytes:
    """A small beam file of a module, as far as it is read here."""
    atoms = [name.encode(), *(function.encode() for function in exports)]
    table = [number for index in range(len(exports)) for number in (index + 2, 0, 1)]
    return joined(
        [
            (b"AtU8", numbers(len(atoms)) + b"".join(bytes([len(atom)]) + atom for atom in atoms)),
            (b"Code", numbers(16, 0, 176, 2, 1) + b"\x03"),
            (b"StrT", b""),
            (b"ImpT", numbers(0)),
            (b"ExpT", numbers(len(exports), *table)),
        ]
    )
