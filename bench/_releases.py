"""Two releases of real code: the modules of the Erlang/OTP on this machine, many times over under other names.

Without what only debuggers read, 8,000 of them are 114 MB, or 64 MB compressed. In the second release some modules are
others. A beam file's format is told in `relup_remote.hops.beam`.
"""

import gzip
import io
import shutil
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

APPS = 200
MODULES = 8000
CHANGED = 300
VERSIONS = ("5.10.4-bench", "5.10.5-bench")

_FOR_DEBUGGERS = (b"Dbgi", b"Docs")
_BUILD_INFO = b'erlang: "25.2.3"\nos: "debian12"\narch: "x86_64-pc-linux-gnu"\n'


def make(folder: Path) -> tuple[Path, Path]:
    """Writes the tarballs of both releases."""
    beams = [path.read_bytes() for path in sorted(_lib().glob("*/ebin/*.beam"))]
    old, new = (folder / f"emqx-{version}.tar.gz" for version in VERSIONS)
    for path, version, changed in ((old, VERSIONS[0], 0), (new, VERSIONS[1], CHANGED)):
        with gzip.open(path, "wb", compresslevel=6) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
            for name, content in _members(beams, version, changed):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return old, new


def hop() -> str:
    """A hop between the two that covers all that differs."""
    loads = ",\n".join(f"      {{load_module, {_name(number)}}}" for number in range(CHANGED))
    versions = 'from_version => "{}",\n  target_version => "{}"'.format(*VERSIONS)
    return f"#{{{versions},\n  code_changes => [\n{loads}]}}.\n"


def _name(number: int) -> str:
    return f"copy_{number:05}"


def _lib() -> Path:
    erl = shutil.which("erl")
    assert erl, "Erlang/OTP is needed for its modules"
    return Path(erl).resolve().parents[1] / "lib"


def _members(beams: list[bytes], version: str, changed: int) -> Iterator[tuple[str, bytes]]:
    apps = ", ".join(f'{{app_{number:03}, "1"}}' for number in range(APPS))
    yield "releases/emqx_vars", f'REL_VSN="{version}"\nERTS_VSN="13.1.5"\n'.encode()
    yield f"releases/{version}/BUILD_INFO", _BUILD_INFO
    yield (
        f"releases/{version}/emqx.rel",
        f'{{release, {{"emqx", "{version}"}}, {{erts, "13.1.5"}}, [{apps}]}}.'.encode(),
    )
    for app in range(APPS):
        modules = range(app, MODULES, APPS)
        keys = f'[{{vsn, "1"}}, {{modules, [{", ".join(map(_name, modules))}]}}, {{applications, [kernel, stdlib]}}]'
        ebin = f"lib/app_{app:03}-1/ebin"
        yield f"{ebin}/app_{app:03}.app", f"{{application, app_{app:03}, {keys}}}.".encode()
        for number in modules:
            beam = beams[number % len(beams)]
            yield f"{ebin}/{_name(number)}.beam", _renamed(beam, _name(number).encode(), more=number < changed)


def _renamed(beam: bytes, name: bytes, *, more: bool) -> bytes:
    """A beam file with another module name, and with one atom ``more``, which makes it other code."""
    chunks, at = [], 12
    while at < len(beam):
        kind, size = struct.unpack_from(">4sI", beam, at)
        data = beam[at + 8 : at + 8 + size]
        if kind == b"AtU8":
            (count,) = struct.unpack_from(">I", data)
            atoms = bytes([len(name)]) + name + data[5 + data[4] :] + (b"\x04more" if more else b"")
            data = struct.pack(">I", count + more) + atoms
        if kind not in _FOR_DEBUGGERS:
            chunks.append(kind + struct.pack(">I", len(data)) + data + bytes(-len(data) % 4))
        at += 8 + size + -size % 4
    body = b"BEAM" + b"".join(chunks)
    return b"FOR1" + struct.pack(">I", len(body)) + body
