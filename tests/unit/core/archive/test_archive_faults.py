"""What the host, rather than the tarball, can do wrong; each fault is made for real."""

import errno
import hashlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core import protocol
from relup_remote.core.archive import ArchiveError, extract, scan

from .tarballs import END, entry, symlink, tarball, tree

ABSENT = "0" * 64


def err_type(path: str, dest: Path, expected_sha256: str | None = None) -> str:
    with pytest.raises(ArchiveError) as caught:
        extract(path, str(dest), expected_sha256=expected_sha256)
    assert caught.value.message.isprintable()
    assert caught.value.err_type in protocol.ERRORS
    return caught.value.err_type


@pytest.mark.parametrize("name", ["absent", "absent/below", "dest"])
def test_no_tarball(tmp_path: Path, dest: Path, name: str) -> None:
    assert err_type(str(tmp_path / name), dest) == "target_tarball_not_found"


def test_no_folder_to_unpack_into(tmp_path: Path) -> None:
    assert err_type(tarball(tmp_path / "a"), tmp_path / "absent") == "cannot_write_file"


def test_a_folder_that_is_a_link(tmp_path: Path, dest: Path) -> None:
    (tmp_path / "link").symlink_to(dest)
    assert err_type(tarball(tmp_path / "a", entry(b"bin/a")), tmp_path / "link") == "cannot_write_file"
    assert tree(dest) == {}


@pytest.mark.parametrize("member", [entry(b"bin/a", b"new"), symlink(b"bin/a", b"x")], ids=["file", "link"])
def test_what_is_there_already_is_neither_replaced_nor_followed(tmp_path: Path, dest: Path, member: bytes) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (dest / "bin").symlink_to(outside)
    assert err_type(tarball(tmp_path / "a", member), dest) == "cannot_write_file"
    assert tree(outside) == {}


def test_the_expected_digest(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"a"))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert extract(path, str(dest), expected_sha256=digest.upper()).sha256 == digest
    assert scan(path, expected_sha256=digest).sha256 == digest


def test_another_digest(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"a"))
    assert err_type(path, dest, ABSENT) == "sha256_mismatch"
    with pytest.raises(ArchiveError, match="digest"):
        scan(path, expected_sha256=ABSENT)


@pytest.mark.parametrize("content", [b"", b"no gzip", os.urandom(3 << 20)], ids=["empty", "short", "long"])
def test_a_damaged_tarball_is_first_of_all_not_the_expected_one(tmp_path: Path, dest: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert err_type(str(path), dest, ABSENT) == "sha256_mismatch"
    assert err_type(str(path), dest, hashlib.sha256(content).hexdigest()) == "bad_tarball"


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a disk of 64 KiB; for a user who may not mount one, a disk that is full from the first byte on."""
    path = tmp_path / "disk"
    path.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", path], check=False, capture_output=True
    )
    if mounted.returncode == 0:
        yield path
        subprocess.run(["umount", path], check=True)
    else:

        def full(*_arguments: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        yield path


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"a"), entry(b"bin/large", os.urandom(200_000)))
    assert err_type(path, small_disk) == "disk_full"


def test_a_file_that_may_not_grow(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/large", bytes(200_000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert err_type(path, dest) == "cannot_write_file"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("members", [entry(b"bin/a", b"a"), entry(b"/x") + entry(b"bin/big", os.urandom(20 << 20))])
def test_nothing_is_left_running_or_open(tmp_path: Path, dest: Path, members: bytes) -> None:
    path = tarball(tmp_path / "a", members, end=END)

    def held() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    try:
        extract(path, str(dest))
    except ArchiveError as error:
        assert error.err_type == "unsafe_tarball"
    assert held() == before


def test_an_error_of_the_caller_ends_the_threads(tmp_path: Path, dest: Path) -> None:
    def fail(_done: int, _total: int) -> None:
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        extract(tarball(tmp_path / "a", entry(b"bin/a", os.urandom(20 << 20))), str(dest), on_progress=fail)
    assert threading.active_count() == before


def test_a_python_without_ctypes_flushes_everything(tmp_path: Path, dest: Path) -> None:
    path = tarball(tmp_path / "a", entry(b"bin/a", b"a"))
    script = (
        "import os, sys; sys.modules['ctypes'] = None;"
        "sync = os.sync; os.sync = lambda: print('synced', sync());"
        "from relup_remote.core.archive import extract; extract(*sys.argv[1:])"
    )
    run = subprocess.run([sys.executable, "-c", script, path, str(dest)], capture_output=True, text=True, check=True)
    assert run.stdout == "synced None\n"
    assert (dest / "bin/a").read_bytes() == b"a"
