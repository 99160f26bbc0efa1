"""Archives as real programs write them come out as those programs would unpack them."""

import gzip
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from relup_remote.core.archive import Extracted, Member, extract, scan

from .tarballs import END, GNU, V7, Node, directory, entry, hardlink, pax, symlink, tarball, tree

LONG = "lib/" + "long-folder-name-" * 9 + "/" + "x" * 120
UNICODE = "lib/größe-Ж"


def make_release(root: Path, *, long_names: bool) -> Path:
    """A release with all that a format can hold, in the folder `root`."""
    for folder in ("bin", "lib/app-1/ebin", "lib/empty", "releases/5.10.5", "erts-15.2/bin", "etc", "data"):
        (root / folder).mkdir(parents=True)
    for name, content, mode in (
        ("bin/emqx", b"#!/bin/sh\n", 0o755),
        ("lib/app-1/ebin/a.beam", os.urandom(511), 0o644),
        ("lib/app-1/ebin/b.beam", os.urandom(512), 0o600),
        ("lib/app-1/ebin/c.beam", os.urandom(3_000_000), 0o444),
        ("lib/app-1/ebin/empty.app", b"", 0o600),
        (UNICODE, b"unicode", 0o644),
        ("releases/emqx_vars", b'REL_VSN="5.10.5"\n', 0o640),
        ("etc/emqx.conf", b"not unpacked", 0o644),
    ):
        (root / name).write_bytes(content)
        (root / name).chmod(mode)
    (root / "lib/empty").chmod(0o710)
    (root / "bin/link").symlink_to("../lib/app-1/ebin/a.beam")
    (root / "lib/current").symlink_to("app-1")
    (root / "lib/hard").hardlink_to(root / "bin/emqx")
    if long_names:
        (root / LONG).parent.mkdir()
        (root / LONG).write_bytes(b"long")
        (root / "lib/long-link").symlink_to("app-1/" + "y" * 150)
    return root


def in_roots(nodes: dict[str, Node]) -> dict[str, Node]:
    return {name: node for name, node in nodes.items() if name.split("/")[0] in ("bin", "lib", "releases", "erts-15.2")}


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("tar_format", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_gnu_tar(tmp_path: Path, dest: Path, tar_format: str, prefix: str) -> None:
    release = make_release(tmp_path / "release", long_names=tar_format not in ("v7", "ustar"))
    names = [prefix + name for name in sorted(path.name for path in release.iterdir())]
    subprocess.run(
        ["tar", f"--format={tar_format}", "-czf", tmp_path / "a.tar.gz", "-C", release, *names],
        check=True,
    )

    extracted = extract(str(tmp_path / "a.tar.gz"), str(dest))

    expected = in_roots(tree(release))
    assert tree(dest) == expected
    kinds = [path.is_symlink() for path in dest.rglob("*") if path.is_symlink() or path.is_file()]
    assert (extracted.files, extracted.links) == (kinds.count(False), kinds.count(True))
    assert (dest / "lib/hard").stat().st_ino == (dest / "bin/emqx").stat().st_ino


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tarfile(tmp_path: Path, dest: Path, tar_format: int) -> None:
    release = make_release(tmp_path / "release", long_names=tar_format != tarfile.USTAR_FORMAT)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tar_format) as tar:
        tar.add(release, ".")

    extract(str(tmp_path / "a.tar.gz"), str(dest))

    assert tree(dest) == in_roots(tree(release))


def test_scan_counts_what_extract_writes_and_writes_nothing(tmp_path: Path, dest: Path) -> None:
    release = make_release(tmp_path / "release", long_names=True)
    subprocess.run(["tar", "-czf", tmp_path / "a.tar.gz", "-C", release, "."], check=True)
    path = str(tmp_path / "a.tar.gz")
    before = set(tmp_path.rglob("*"))

    found = scan(path)

    assert set(tmp_path.rglob("*")) == before
    assert extract(path, str(dest)) == Extracted(found.files, found.links, found.bytes, found.sha256)
    assert found.bytes == sum(
        len(node[2]) for name, node in tree(dest).items() if node[0] == "file" and name != "lib/hard"
    )
    assert (
        subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        == found.sha256
    )


def test_scan_hands_out_what_extract_would_write(tmp_path: Path, dest: Path) -> None:
    release = make_release(tmp_path / "release", long_names=True)
    subprocess.run(["tar", "-czf", tmp_path / "a.tar.gz", "-C", release, "."], check=True)
    seen: dict[str, bytes | str] = {}

    def visit(member: Member, contents: Callable[[], bytes]) -> None:
        seen[member.name] = contents() if member.kind == "file" else member.target

    scan(str(tmp_path / "a.tar.gz"), visit)

    extract(str(tmp_path / "a.tar.gz"), str(dest))
    linked = {"bin/emqx", "lib/hard"}
    assert {name: seen[name] for name in seen.keys() - linked} == {
        name: content for name, (_, _, content) in tree(dest).items() if name not in linked
    }
    assert {seen[name] for name in linked} in ({b"#!/bin/sh\n", "bin/emqx"}, {b"#!/bin/sh\n", "lib/hard"})


def test_contents_that_nobody_asks_for_are_passed_over(tmp_path: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"a" * 600), entry(b"bin/b", b"b" * 600), entry(b"bin/c", b"c"))
    seen: dict[str, bytes] = {}

    def visit(member: Member, contents: Callable[[], bytes]) -> None:
        if member.name in ("bin/a", "bin/c"):
            seen[member.name] = contents()

    assert scan(path, visit).bytes == 1201
    assert seen == {"bin/a": b"a" * 600, "bin/c": b"c"}


def test_empty_archive(tmp_path: Path, dest: Path) -> None:
    extracted = extract(tarball(tmp_path / "a"), str(dest))
    assert (extracted.files, extracted.links, extracted.bytes) == (0, 0, 0)
    assert tree(dest) == {}


def test_gzip_in_many_members_with_padding(tmp_path: Path, dest: Path) -> None:
    raw = entry(b"bin/a", b"a" * 70_000) + entry(b"bin/b", b"b") + END
    pieces = [raw[start : start + 999] for start in range(0, len(raw), 999)]
    path = tmp_path / "a"
    path.write_bytes(b"".join(gzip.compress(piece) for piece in pieces) + bytes(777))

    extract(str(path), str(dest))

    assert tree(dest)["bin/a"] == ("file", 0o644, b"a" * 70_000)
    assert tree(dest)["bin/b"] == ("file", 0o644, b"b")


def test_contents_that_shrink_a_thousandfold_arrive_whole(tmp_path: Path, dest: Path) -> None:
    size = 5 * (1 << 20) + 1
    extract(tarball(tmp_path / "a", entry(b"bin/zeros", bytes(size))), str(dest))
    assert (dest / "bin/zeros").read_bytes() == bytes(size)


@pytest.mark.parametrize("padding", [0, 1, 512, 10240])
def test_zeros_may_follow_the_end(tmp_path: Path, dest: Path, padding: int) -> None:
    extract(tarball(tmp_path / "a", entry(b"bin/a", b"a"), end=END + bytes(padding)), str(dest))
    assert (dest / "bin/a").read_bytes() == b"a"


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(entry(b"bin/a", b"content", size=b"\x80" + bytes(10) + b"\7"), id="size in base 256"),
        pytest.param(entry(b"bin/a", b"content", size=b"          7 "), id="size after spaces"),
        pytest.param(entry(b"bin/a", b"content", size=b"000000000007"), id="size without terminator"),
        pytest.param(entry(b"bin/a", b"content", b"\0", magic=V7), id="v7"),
        pytest.param(entry(b"a", b"content", prefix=b"bin"), id="prefix"),
        pytest.param(entry(b"bin/a", b"content", magic=GNU, prefix=b"1234567"), id="GNU has no prefix"),
        pytest.param(entry(b"bin/a", b"content", magic=GNU, prefix=b"\xff\xfe", signed=True), id="signed checksum"),
        pytest.param(entry(b".//bin/./a", b"content"), id="name with dots"),
        pytest.param(entry(b"././@LongLink", b"bin/a\0", b"L") + entry(b"bin/", b"content"), id="GNU long name"),
        pytest.param(pax({b"path": b"bin/a", b"mtime": b"1.5"}) + entry(b"x", b"content"), id="pax path"),
        pytest.param(pax({b"size": b"7"}) + entry(b"bin/a", b"content", size=b"0" * 11), id="pax size"),
        pytest.param(pax({b"comment": b"a\nb=c", b"mtime": b"1"}, b"g") + entry(b"bin/a", b"content"), id="pax global"),
        pytest.param(pax({b"SCHILY.xattr.user.a": b"\0\n"}) + entry(b"bin/a", b"content"), id="pax attribute"),
    ],
)
def test_ways_to_write_a_member(tmp_path: Path, dest: Path, member: bytes) -> None:
    extract(tarball(tmp_path / "a", member, entry(b"bin/next", b"next")), str(dest))
    assert tree(dest) == {
        "bin": ("directory", 0o755, ""),
        "bin/a": ("file", 0o644, b"content"),
        "bin/next": ("file", 0o644, b"next"),
    }


def test_v7_directory_is_a_name_with_a_slash(tmp_path: Path, dest: Path) -> None:
    extract(tarball(tmp_path / "a", entry(b"lib/", kind=b"\0", mode=0o750, magic=V7)), str(dest))
    assert tree(dest) == {"lib": ("directory", 0o750, "")}


def test_long_link_targets(tmp_path: Path, dest: Path) -> None:
    long = b"x" * 200
    path = tarball(
        tmp_path / "a",
        entry(b"././@LongLink", long + b"\0", b"K") + symlink(b"bin/gnu", b"short"),
        pax({b"linkpath": long}) + symlink(b"bin/pax", b"short"),
    )
    extract(path, str(dest))
    links = {str((dest / name).readlink()) for name in ("bin/gnu", "bin/pax")}
    assert links == {long.decode()}


def test_names_that_are_no_utf8_are_kept(tmp_path: Path, dest: Path) -> None:
    extract(tarball(tmp_path / "a", entry(b"bin/\xff\xfe", b"a")), str(dest))
    assert [os.fsencode(path.name) for path in (dest / "bin").iterdir()] == [b"\xff\xfe"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_kept_but_that_others_may_not_write(tmp_path: Path, dest: Path, umask: int) -> None:
    path = tarball(
        tmp_path / "a",
        directory(b"bin", 0o555) + directory(b"lib/sticky", 0o7777) + entry(b"bin/suid", mode=0o6777),
        entry(b"bin/plain", mode=0o664) + entry(b"bin/readonly", b"x", mode=0o400),
    )
    before = os.umask(umask)
    try:
        extract(path, str(dest))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {name: mode for name, (_, mode, _) in tree(dest).items()}
    assert modes == {
        "bin": 0o755,
        "bin/suid": 0o755,
        "bin/plain": 0o644,
        "bin/readonly": 0o400,
        "lib": 0o755,
        "lib/sticky": 0o755,
    }


def test_a_directory_may_come_again_and_the_last_mode_holds(tmp_path: Path, dest: Path) -> None:
    path = tarball(
        tmp_path / "a", entry(b"bin/a"), directory(b"bin", 0o750), directory(b"bin/", 0o711), entry(b"bin/b")
    )
    extract(path, str(dest))
    assert sorted(tree(dest)) == ["bin", "bin/a", "bin/b"]
    assert tree(dest)["bin"][1] == 0o711


def test_links_that_stay_inside(tmp_path: Path, dest: Path) -> None:
    path = tarball(
        tmp_path / "a",
        entry(b"lib/a/f", b"f") + symlink(b"lib/a/up", b"../../bin/x") + symlink(b"lib/b", b"./a/f"),
        hardlink(b"bin/f", b"./lib/a/f") + hardlink(b"bin/g", b"bin/f"),
    )
    extracted = extract(path, str(dest))
    assert (extracted.files, extracted.links, extracted.bytes) == (3, 2, 1)
    assert (dest / "lib/b").read_bytes() == (dest / "bin/g").read_bytes() == b"f"


def test_roots_are_patterns_for_the_first_part(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"erts-1/x"), entry(b"erts/x"), entry(b"library/x"), entry(b"data/lib/x"))
    extract(path, str(dest), roots=("lib", "erts-*"))
    assert sorted(tree(dest)) == ["erts-1", "erts-1/x"]


def test_progress_ends_at_the_whole_file(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/random", os.urandom(6 << 20)))
    seen: list[tuple[int, int]] = []
    extract(path, str(dest), on_progress=lambda done, total: seen.append((done, total)))
    size = Path(path).stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert len(seen) > 5


def test_memory_stays_bounded(tmp_path: Path) -> None:
    content = bytes(64 << 20)
    path = tarball(tmp_path / "a", entry(b"lib/big", content))
    script = (
        "import resource, sys; from relup_remote.core.archive import scan;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; scan(sys.argv[1]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 24 << 10
