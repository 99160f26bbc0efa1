"""Tarballs shaped as a release, for the benchmarks: the same bytes every time.

By default about 65 MB compressed, 200 MB in 9,000 files: `lib/` with 230 applications of beam-like files, a few large
ones under `erts-*/bin`, and small text under `releases/`. A beam-like file is bytecode, of a skewed vocabulary that
deflate brings down to a third, with some parts that are compressed already.
"""

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VERSION = "5.10.5-bench"


class Payload(NamedTuple):
    """A tarball, with its size in bytes and the files and bytes it unpacks to."""

    path: Path
    size: int
    files: int
    bytes: int


def make(path: Path, files: int = 9000, total: int = 200_000_000, seed: int = 1) -> Payload:
    """Writes the tarball `path` with about `files` files of about `total` bytes in all."""
    written = unpacked = 0
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, mode, content in _members(files, total, random.Random(seed)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
            written += 1
            unpacked += len(content)
    return Payload(path, path.stat().st_size, written, unpacked)


def _members(files: int, total: int, rng: random.Random) -> Iterator[tuple[str, int, bytes]]:
    bytecode = _bytecode(rng)
    yield "bin/emqx", 0o755, b"#!/bin/sh\n" * 3000
    yield "releases/emqx_vars", 0o644, f'REL_VSN="{VERSION}"\nERTS_VSN="15.2.7"\n'.encode()
    yield (
        f"releases/{VERSION}/BUILD_INFO",
        0o644,
        b'erlang: "27.3.4.2-8"\nos: "debian12"\narch: "x86_64-pc-linux-gnu"\n',
    )
    yield "erts-15.2.7/bin/beam.smp", 0o755, _content(rng, bytecode, total // 25)
    mean = total * 0.95 / files
    for number in range(files):
        size = int(min(rng.lognormvariate(0, 1.2) / 2.05 * mean, 40 * mean))
        name = f"lib/app{number * 230 // files}-1.0.0/ebin/module{number}.beam"
        yield name, 0o644, _content(rng, bytecode, size)


def _bytecode(rng: random.Random) -> bytes:
    vocabulary = [rng.randbytes(rng.randint(2, 8)) for _ in range(600)]
    weights = [(rank + 2) ** -1.3 for rank in range(len(vocabulary))]
    return b"".join(rng.choices(vocabulary, weights, k=1_500_000))


def _content(rng: random.Random, bytecode: bytes, size: int) -> bytes:
    parts = []
    while size > 0:
        length = min(size, rng.randint(500, 4000))
        start = rng.randrange(len(bytecode) - length)
        parts.append(rng.randbytes(length) if rng.random() < 0.03 else bytecode[start : start + length])
        size -= length
    return b"".join(parts)
