"""What must not be unpacked is refused by `extract` and `scan` alike, by name, and nothing is written outside."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from relup_remote.core.archive import ArchiveError, Limits, Member, extract, scan

from .tarballs import BLOCK, END, directory, entry, hardlink, octal, pax, symlink, tarball, tree

SMALL = Limits(bytes=100_000, members=20, name=100, contents=10)
LINK_OUT = symlink(b"lib/out", b"../bin")

UNSAFE = {
    "absolute name": (entry(b"/bin/a"), "/bin/a"),
    "absolute name in pax": (pax({b"path": b"/bin/a"}) + entry(b"bin/a"), "/bin/a"),
    "name that climbs": (entry(b"bin/../../a"), "bin/../../a"),
    "name that climbs and comes back": (entry(b"bin/../lib/a"), "bin/../lib/a"),
    "directory that climbs": (directory(b"../x"), "../x"),
    "name that climbs outside of the roots": (entry(b"data/../../a"), "data/../../a"),
    "NUL in a pax name": (pax({b"path": b"bin/a\0b"}) + entry(b"bin/a"), "bin/a\\x00b"),
    "NUL in a GNU name": (entry(b"@", b"bin/a\0b\0", b"L") + entry(b"bin/a"), "bin/a\\x00b"),
    "name past the limit": (pax({b"path": b"bin/" + b"a/" * 60}) + directory(b"x"), "bin/" + "a/" * 60),
    "part of a name too long for a file system": (
        pax({b"path": b"lib/" + b"a" * 256}) + entry(b"x"),
        "lib/" + "a" * 256,
    ),
    "file that comes twice": (entry(b"bin/a") + entry(b"./bin/a"), "./bin/a"),
    "file that comes twice outside of the roots": (entry(b"data/a") + entry(b"data/a"), "data/a"),
    "file in place of a directory": (entry(b"bin/a/b") + entry(b"bin/a"), "bin/a"),
    "directory in place of a file": (entry(b"bin/a") + directory(b"bin/a"), "bin/a"),
    "file in a file": (entry(b"bin/a") + entry(b"bin/a/b"), "bin/a/b"),
    "file in a link": (LINK_OUT + entry(b"lib/out/a"), "lib/out/a"),
    "directory in a link": (LINK_OUT + directory(b"lib/out/a"), "lib/out/a"),
    "file in place of a link": (LINK_OUT + entry(b"lib/out"), "lib/out"),
    "directory in place of a link": (LINK_OUT + directory(b"lib/out"), "lib/out"),
    "hard link in a link": (entry(b"bin/a") + LINK_OUT + hardlink(b"lib/out/b", b"bin/a"), "lib/out/b"),
    "link that is absolute": (symlink(b"bin/a", b"/etc/passwd"), "bin/a"),
    "link that leaves the tree": (symlink(b"bin/a", b"../../x"), "bin/a"),
    "link at the top that leaves the tree": (symlink(b"lib", b".."), "lib"),
    "link that leaves the tree by another": (LINK_OUT + symlink(b"lib/a", b"out/../../x"), "lib/a"),
    "link that leaves the tree outside of the roots": (symlink(b"data/a", b"../../x"), "data/a"),
    "link in pax that leaves the tree": (pax({b"linkpath": b"../.."}) + symlink(b"bin/a", b"b"), "bin/a"),
    "link with NUL": (pax({b"linkpath": b"b\0c"}) + symlink(b"bin/a", b"b"), "bin/a"),
    "link to nothing": (symlink(b"bin/a", b""), "bin/a"),
    "link past the limit": (pax({b"linkpath": b"b" * 101}) + symlink(b"bin/a", b"b"), "bin/a"),
    "hard link that is absolute": (hardlink(b"bin/a", b"/etc/passwd"), "bin/a"),
    "hard link that leaves the tree": (hardlink(b"bin/a", b"../x"), "bin/a"),
    "hard link to what is not there": (hardlink(b"bin/a", b"bin/b") + entry(b"bin/b"), "bin/a"),
    "hard link to itself": (hardlink(b"bin/a", b"bin/a"), "bin/a"),
    "hard link to a directory": (directory(b"bin") + hardlink(b"bin/a", b"bin"), "bin/a"),
    "hard link to a link": (symlink(b"bin/b", b"c") + hardlink(b"bin/a", b"bin/b"), "bin/a"),
    "hard link to what is not unpacked": (entry(b"data/b") + hardlink(b"bin/a", b"data/b"), "bin/a"),
    "too many members": (b"".join(entry(b"bin/%d" % number) for number in range(30)), "bin/18"),
    "too many directories": (directory(b"bin/" + b"a/" * 30), "bin/" + "a/" * 30),
    "too many bytes": (entry(b"bin/a") + entry(b"bin/b", bytes(100_000)), None),
    "too many bytes outside of the roots": (entry(b"data/b", bytes(100_000)), None),
}

BAD = {
    "character device": entry(b"bin/a", kind=b"3"),
    "block device": entry(b"bin/a", kind=b"4"),
    "fifo": entry(b"bin/a", kind=b"6"),
    "fifo outside of the roots": entry(b"data/a", kind=b"6"),
    "contiguous file": entry(b"bin/a", kind=b"7"),
    "GNU sparse file": entry(b"bin/a", kind=b"S"),
    "GNU multi-volume": entry(b"bin/a", kind=b"M"),
    "GNU dump of a directory": entry(b"bin/a", kind=b"D"),
    "Solaris extension": entry(b"bin/a", kind=b"X"),
    "pax sparse file": pax({b"GNU.sparse.major": b"1"}) + entry(b"bin/a"),
    "pax sparse file, star": pax({b"SCHILY.realsize": b"1"}) + entry(b"bin/a"),
    "unknown pax record": pax({b"surprise": b"1"}) + entry(b"bin/a"),
    "global pax path": pax({b"path": b"bin/b"}, b"g") + entry(b"bin/a"),
    "global pax size": pax({b"size": b"0"}, b"g") + entry(b"bin/a"),
    "pax size that is negative": pax({b"size": b"-1"}) + entry(b"bin/a"),
    "pax size in hex": pax({b"size": b"0x1"}) + entry(b"bin/a"),
    "pax size that is empty": pax({b"size": b""}) + entry(b"bin/a"),
    "pax size without end": pax({b"size": b"9" * 5000}) + entry(b"bin/a"),
    "pax path that is empty": pax({b"path": b""}) + entry(b"bin/a"),
    "pax path given twice": entry(b"x", b"12 path=b/a\n12 path=b/b\n", b"x") + entry(b"bin/a"),
    "pax path and GNU name": pax({b"path": b"bin/b"}) + entry(b"@", b"bin/c\0", b"L") + entry(b"bin/a"),
    "pax record without length": entry(b"x", b"path=bin/b\n", b"x") + entry(b"bin/a"),
    "pax record too long": entry(b"x", b"99 path=bin/b\n", b"x") + entry(b"bin/a"),
    "pax record too short": entry(b"x", b"5 path=bin/b\n", b"x") + entry(b"bin/a"),
    "pax record without newline": entry(b"x", b"13 path=bin/b", b"x") + entry(b"bin/a"),
    "pax record without value": entry(b"x", b"7 path\n", b"x") + entry(b"bin/a"),
    "extension header too large": entry(b"x", bytes(60_000), b"L", size=octal(1 << 21, 12)) + entry(b"bin/a"),
    "extension header without member": entry(b"bin/a") + pax({b"path": b"bin/b"}),
    "name that is empty": entry(b""),
    "file that ends in a slash": entry(b"bin/a/"),
    "directory with contents": entry(b"bin/a", b"x", b"5"),
    "link with contents": entry(b"bin/a", b"x", b"2", target=b"b"),
    "link with a pax size": pax({b"size": b"512"}) + symlink(b"bin/a", b"b") + entry(b"bin/b"),
    "size that is negative": entry(b"bin/a", size=b"\xff" * 12),
    "size with a sign": entry(b"bin/a", size=b"+0000000001\0"),
    "size with an underscore": entry(b"bin/a", size=b"0000000_001\0"),
    "size that is decimal": entry(b"bin/a", size=b"00000000009\0"),
    "size past all ends": entry(b"bin/a", size=b"\x80" + b"\xff" * 11),
    "checksum that is wrong": entry(b"bin/a", checksum=b"000000\0 "),
    "checksum that is no number": entry(b"bin/a", checksum=b"checksum"),
    "unknown magic": entry(b"bin/a", magic=b"rats\0\0"),
    "garbage for a header": b"\1" * BLOCK,
}


def refusal(path: str, dest: Path, err_type: str, limits: Limits = SMALL) -> ArchiveError:
    """The error of `extract`, which `scan` gives as well; nothing but the tarball and `dest` is there afterwards."""
    with pytest.raises(ArchiveError) as scanned:
        scan(path, limits=limits)
    with pytest.raises(ArchiveError) as extracted:
        extract(path, str(dest), limits=limits)
    error = extracted.value
    assert error.err_type == err_type
    assert (error.err_type, error.message, error.detail) == (
        scanned.value.err_type,
        scanned.value.message,
        scanned.value.detail,
    )
    assert error.message.endswith(".") and error.message.isprintable()
    assert {entry.name for entry in dest.parent.iterdir()} == {"dest", Path(path).name}
    return error


@pytest.mark.parametrize(("members", "named"), [pytest.param(*case, id=name) for name, case in UNSAFE.items()])
def test_unsafe(tmp_path: Path, dest: Path, members: bytes, named: str | None) -> None:
    error = refusal(tarball(tmp_path / "a", members), dest, "unsafe_tarball")
    if named is not None:
        assert error.detail["member"] == named
        assert named in error.message


@pytest.mark.parametrize("members", [pytest.param(members, id=name) for name, members in BAD.items()])
def test_bad(tmp_path: Path, dest: Path, members: bytes) -> None:
    refusal(tarball(tmp_path / "a", members), dest, "bad_tarball")


def test_a_refused_link_or_file_is_not_written(tmp_path: Path, dest: Path) -> None:
    with pytest.raises(ArchiveError):
        extract(tarball(tmp_path / "a", entry(b"bin/a"), symlink(b"bin/b", b"../../x")), str(dest))
    assert sorted(tree(dest)) == ["bin", "bin/a"]


def test_names_are_shown_without_control_characters(tmp_path: Path, dest: Path) -> None:
    error = refusal(tarball(tmp_path / "a", entry(b"bin/\x1b[31m\xff", kind=b"6")), dest, "bad_tarball")
    assert error.detail["member"] == "bin/\\x1b[31m\\udcff"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/zeros", bytes(64 << 20)))
    refusal(path, dest, "unsafe_tarball", Limits(bytes=4 << 20))
    assert (dest / "bin/zeros").stat().st_size <= 4 << 20


def read_all(_member: Member, contents: Callable[[], bytes]) -> None:
    contents()


def test_contents_past_the_limit(tmp_path: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"x" * 11))
    assert scan(path, limits=SMALL).bytes == 11
    with pytest.raises(ArchiveError, match="'bin/a'") as caught:
        scan(path, read_all, limits=SMALL)
    assert caught.value.err_type == "bad_tarball"


MEMBERS = entry(b"bin/a", b"a" * 600) + pax({b"path": b"bin/b"}) + entry(b"x", b"b") + directory(b"lib")


@pytest.mark.parametrize("blocks", range(len(MEMBERS + END) // BLOCK))
@pytest.mark.parametrize("inside", [0, 1, 300])
def test_a_tarball_cut_short_at_every_block(tmp_path: Path, dest: Path, blocks: int, inside: int) -> None:
    raw = (MEMBERS + END)[: blocks * BLOCK + inside]
    error = refusal(tarball(tmp_path / "a", raw, end=b""), dest, "bad_tarball")
    started = [name for name, start in (("bin/a", 0), ("bin/b", 5), ("lib", 7)) if blocks > start]
    assert error.detail.get("member") == (started[-1] if started else None)


def test_compressed_data_cut_short_at_every_byte(tmp_path: Path, dest: Path) -> None:
    whole = gzip.compress(MEMBERS + END, mtime=0)
    path = tmp_path / "a"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ArchiveError) as caught:
            scan(str(path))
        assert caught.value.err_type == "bad_tarball"
        assert ("cut short" if length else "the file is empty") in caught.value.message


@pytest.mark.parametrize("end", [b"", bytes(BLOCK)], ids=["none", "one"])
def test_closing_blocks_that_are_missing(tmp_path: Path, dest: Path, end: bytes) -> None:
    error = refusal(tarball(tmp_path / "a", MEMBERS, end=end), dest, "bad_tarball")
    assert "closing zero blocks" in error.message


def test_a_single_zero_block(tmp_path: Path, dest: Path) -> None:
    error = refusal(tarball(tmp_path / "a", MEMBERS, bytes(BLOCK), entry(b"bin/c")), dest, "bad_tarball")
    assert "single zero block" in error.message


@pytest.mark.parametrize("garbage", [b"x", bytes(5000) + b"x", entry(b"bin/c")])
def test_garbage_in_the_archive(tmp_path: Path, dest: Path, garbage: bytes) -> None:
    error = refusal(tarball(tmp_path / "a", MEMBERS, end=END + garbage), dest, "bad_tarball")
    assert "trailing garbage" in error.message


@pytest.mark.parametrize("garbage", [b"garbage", bytes(5000) + b"garbage"])
def test_garbage_after_the_compressed_data(tmp_path: Path, dest: Path, garbage: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(MEMBERS + END) + garbage)
    assert "trailing garbage" in refusal(str(path), dest, "bad_tarball").message


@pytest.mark.parametrize("content", [b"a", bytes(9 << 20)], ids=["small", "large"])
@pytest.mark.parametrize("offset", [-1, -6], ids=["length", "CRC"])
def test_compressed_data_that_is_damaged(tmp_path: Path, dest: Path, content: bytes, offset: int) -> None:
    path = tmp_path / "a"
    whole = bytearray(gzip.compress(entry(b"bin/a", content) + END))
    whole[offset] ^= 1
    path.write_bytes(whole)
    assert "damaged" in refusal(str(path), dest, "bad_tarball", Limits()).message


@pytest.mark.parametrize(
    "content", [MEMBERS + END, b"PK\3\4", b"\x1f\x8b\7" + bytes(20)], ids=["tar", "zip", "other method"]
)
def test_a_file_that_is_no_gzip(tmp_path: Path, dest: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert "gzip" in refusal(str(path), dest, "bad_tarball").message
