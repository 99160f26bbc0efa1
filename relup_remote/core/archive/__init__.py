"""Payload, shipped to hosts (Python 3.6 and up, standard library only): reading and unpacking release tarballs.

One pass, in constant memory, for gzip-compressed tar archives as release builds make them. What this reader does not
know it refuses. Four parts, in the order the bytes go through them: `stream` inflates, `tar` finds the members,
`layout` says which may be, `tree` writes them.
"""

from contextlib import closing
from typing import Callable, Iterable, Iterator, NamedTuple, Optional

from .errors import ArchiveError
from .layout import Layout, Limits
from .stream import Source, Stream, ahead, inflate
from .tar import DIRECTORY, FILE, HARDLINK, SYMLINK, Member, members
from .tree import Tree

__all__ = [
    "FILE",
    "HARDLINK",
    "ROOTS",
    "SYMLINK",
    "ArchiveError",
    "Extracted",
    "Limits",
    "Member",
    "Scan",
    "Visit",
    "extract",
    "scan",
]

ROOTS = ("bin", "lib", "releases", "erts-*")
"""What of a release is deployed: patterns for the first part of a name."""

LIMITS = Limits()

Progress = Callable[[int, int], None]
Visit = Callable[[Member, Callable[[], bytes]], None]


class Extracted(NamedTuple):
    """What was unpacked: `files` (and hard links), symbolic `links`, `bytes` of contents; the tarball's `sha256`."""

    files: int
    links: int
    bytes: int
    sha256: str


class Scan(NamedTuple):
    """What would be unpacked, as in `Extracted`."""

    files: int
    links: int
    bytes: int
    sha256: str


def extract(
    path: str,
    dest_dir: str,
    roots: Iterable[str] = ROOTS,
    on_progress: Optional[Progress] = None,
    expected_sha256: Optional[str] = None,
    limits: Limits = LIMITS,
) -> Extracted:
    """Unpacks what lies under `roots` into `dest_dir`, an empty folder of ours alone (0700), and makes it durable.

    All other members are checked as well. Owner is the current user; modes are kept without setuid, setgid and sticky,
    and without permission to write for group and others; times are not. `on_progress` gets the compressed bytes read
    and their total, about once a megabyte. With `expected_sha256` (hex), nothing counts as unpacked unless the tarball
    has that digest.

    Raises `ArchiveError`, with any of its err_types; what was written by then is the caller's to remove.
    """
    with Tree(dest_dir) as tree:
        sha256 = _read(path, roots, limits, tree.write, on_progress, expected_sha256)
        tree.sync()
        return Extracted(tree.files, tree.links, tree.bytes, sha256)


def scan(
    path: str,
    visit: Optional[Visit] = None,
    roots: Iterable[str] = ROOTS,
    expected_sha256: Optional[str] = None,
    limits: Limits = LIMITS,
) -> Scan:
    """Reads a tarball as `extract` does, with all its checks, and writes nothing.

    `visit` is called with each member that would be unpacked, in their order, and a function that returns the contents
    of a file, once; nothing is kept of them here. Names are those of the unpacked tree: ``lib/…``, no ``./``.

    Raises `ArchiveError` target_tarball_not_found, bad_tarball (also for contents of more than `limits.contents`),
    unsafe_tarball, sha256_mismatch.
    """
    counts = {FILE: 0, HARDLINK: 0, SYMLINK: 0, DIRECTORY: 0}
    size = 0

    def look(member: Member, pieces: Iterator[memoryview]) -> None:
        nonlocal size
        counts[member.kind] += 1
        size += member.size

        def contents() -> bytes:
            if member.size > limits.contents:
                raise ArchiveError("bad_tarball", "it has more than {} bytes".format(limits.contents), member.name)
            return b"".join(pieces)

        if visit:
            visit(member, contents)

    sha256 = _read(path, roots, limits, look, None, expected_sha256)
    return Scan(counts[FILE] + counts[HARDLINK], counts[SYMLINK], size, sha256)


def _read(
    path: str,
    roots: Iterable[str],
    limits: Limits,
    visit: Callable[[Member, Iterator[memoryview]], None],
    on_progress: Optional[Progress],
    expected_sha256: Optional[str],
) -> str:
    """Calls `visit` with each member under the roots; returns the digest of the tarball, once it is as expected."""
    expected = (expected_sha256 or "").lower()
    with Source(path) as source:
        try:
            with closing(ahead(source.blocks())) as blocks, closing(ahead(inflate(blocks, limits.bytes))) as chunks:
                stream = Stream(_reported(chunks, source, on_progress))
                for member in Layout(roots, limits).unpacked(members(stream)):
                    visit(member, stream.pieces(member.size))
        except ArchiveError as error:
            # A tarball that is not the expected one is called that, whatever else is wrong with it.
            if error.err_type in ("bad_tarball", "unsafe_tarball"):
                _check(source.sha256(), expected, path)
            raise
        sha256 = source.sha256()
        _check(sha256, expected, path)
        return sha256


def _reported(chunks: Iterable[bytes], source: Source, on_progress: Optional[Progress]) -> Iterator[bytes]:
    for chunk in chunks:
        if on_progress:
            on_progress(source.done, source.size)
        yield chunk


def _check(found: str, expected: str, path: str) -> None:
    if expected and found != expected:
        raise ArchiveError(
            "sha256_mismatch", "its digest is not the expected one", path=path, expected=expected, found=found
        )
