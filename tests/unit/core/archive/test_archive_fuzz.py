"""Whatever the bytes, there is a result or an `ArchiveError`, and nothing is written outside of the tree."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote.core.archive import ArchiveError, Extracted, Limits, Scan, extract, scan
from tests.points import examples

from .tarballs import BLOCK, END, directory, entry, hardlink, pax, symlink, tree

PARTS = (b"..", b".", b"/", b"bin", b"lib", b"erts-1", b"data", b"a", b"link", b"\xff", b"\n", b"x" * 90)
LIMITS = Limits(bytes=1 << 20, members=50, name=300)

long_names = st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map(b"/".join)
names = long_names.map(lambda name: name[:100])
contents = st.binary(max_size=700)
members = st.one_of(
    st.builds(entry, names, contents, st.sampled_from([b"0", b"\0", b"5", b"6", b"L", b"K"])),
    st.builds(directory, names),
    st.builds(symlink, names, names),
    st.builds(hardlink, names, names),
    st.dictionaries(
        st.sampled_from([b"path", b"linkpath", b"size", b"mtime", b"odd"]), st.one_of(long_names, contents), max_size=2
    ).map(pax),
)
archives = st.lists(members, max_size=8).map(lambda parts: b"".join(parts) + END)
SAMPLE = b"".join(
    [
        directory(b"bin"),
        entry(b"bin/a", b"a" * 600),
        symlink(b"lib/link", b"../bin"),
        hardlink(b"lib/b", b"bin/a"),
        pax({b"path": b"lib/long", b"mtime": b"1"}),
        entry(b"x", b"c"),
        entry(b"@", b"lib/gnu\0", b"L"),
        entry(b"x"),
        END,
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The sample with some bytes changed and their headers' checksums made right again."""
    raw = bytearray(SAMPLE)
    for _ in range(draw(st.integers(1, 6))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    for start in range(0, len(raw), BLOCK):
        block = raw[start : start + BLOCK]
        if draw(st.booleans()):
            raw[start + 148 : start + 156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 256)
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


@st.composite
def damaged_gzip(draw: st.DrawFn) -> bytes:
    """The sample, compressed, with some bytes changed, put in or cut off."""
    raw = bytearray(gzip.compress(SAMPLE, mtime=0))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(raw)


compressed = st.one_of(archives.map(gzip.compress), damaged().map(gzip.compress), damaged_gzip(), contents)


def outcome(read: Callable[[], Extracted | Scan]) -> tuple[object, ...]:
    """What came of it, as far as `extract` and `scan` must agree."""
    try:
        done = read()
    except ArchiveError as error:
        return error.err_type, error.message
    return done.files, done.links, done.bytes, done.sha256


def reached(path: Path) -> Path | None:
    """Where a path leads, links followed; None for a loop, and for what is not there."""
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None


@settings(max_examples=examples(1500), deadline=None)
@given(compressed)
def test_any_bytes(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for outside in ("bin", "lib", "data", "a", "link"):
            (folder / outside).touch()
        path, dest = folder / "tarball", folder / "dest"
        path.write_bytes(raw)
        dest.mkdir(mode=0o700)
        before = set(folder.iterdir())

        scanned = outcome(lambda: scan(str(path), limits=LIMITS))
        extracted = outcome(lambda: extract(str(path), str(dest), limits=LIMITS))

        assert scanned == extracted
        assert set(folder.iterdir()) == before
        assert path.read_bytes() == raw
        for member in tree(dest):
            assert member.split("/")[0] in ("bin", "lib", "erts-1")
            leads_to = reached(dest / member)
            assert leads_to is None or leads_to.is_relative_to(dest)
