"""Folders of ours alone, and files that appear whole."""

import errno
import os
import stat
from pathlib import Path

import pytest

from relup_remote.core import files
from relup_remote.core.protocol import Failure


def failure_of(call: object, *args: object) -> Failure:
    assert callable(call)
    with pytest.raises(Failure) as caught:
        call(*args)
    return caught.value


# ------------------------------------------------------------------------------------------------- our folders


def test_a_private_folder_is_made_and_then_kept(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    for _ in range(2):
        assert files.private_dir(str(path)) == str(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o720, 0o755, 0o701, 0o740])
def test_a_folder_that_is_open_to_others_is_not_trusted(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ours"
    path.mkdir()
    path.chmod(mode)
    failure = failure_of(files.private_dir, str(path))
    assert failure.err_type == "untrusted_dir"
    assert failure.detail == {"path": str(path), "owner_uid": os.geteuid(), "mode": oct(mode)}


def test_a_folder_of_someone_else_is_not_trusted(tmp_path: Path) -> None:
    path = Path("/usr")
    if os.geteuid() == 0:
        path = tmp_path / "planted"
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
    assert failure_of(files.private_dir, str(path)).err_type == "untrusted_dir"


@pytest.mark.parametrize("kind", ["link to a folder", "dangling link", "file"])
def test_what_is_no_folder_is_not_trusted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ours"
    if kind == "file":
        path.touch(0o600)
    else:
        path.symlink_to(tmp_path if kind == "link to a folder" else tmp_path / "absent")
    assert failure_of(files.private_dir, str(path)).err_type == "untrusted_dir"


def test_a_folder_that_has_no_parent_is_not_made(tmp_path: Path) -> None:
    assert failure_of(files.private_dir, str(tmp_path / "a" / "b")).err_type == "cannot_create_dir"


# ------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(
    ("number", "err_type"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "no_write_permission"),
        (errno.EPERM, "no_write_permission"),
        (errno.EROFS, "no_write_permission"),
        (errno.EIO, "cannot_write_file"),
    ],
)
def test_what_an_error_in_writing_is_called(number: int, err_type: str) -> None:
    failure = files.writing_failure(OSError(number, "said by the system"), "/a/b")
    assert failure.err_type == err_type
    assert "/a/b" in failure.message
    assert failure.detail == {"path": "/a/b"}
    assert failure.changed is False


def test_an_error_without_a_number() -> None:
    failure = files.writing_failure(OSError("odd"), "/a", "cannot_create_dir")
    assert (failure.err_type, failure.message) == ("cannot_create_dir", "/a: odd.")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    for content in (b"a long content", b"short", b""):
        files.write_whole(str(path), content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["marker"]


def test_who_reads_during_a_write_sees_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "marker"
    files.write_whole(str(path), b"old")
    with path.open("rb") as reader:
        files.write_whole(str(path), b"new", 0o644)
        assert reader.read() == b"old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("kind", ["link", "another name"])
def test_what_is_in_the_place_of_the_temporary_file_is_not_written_to(tmp_path: Path, kind: str) -> None:
    victim, temporary = tmp_path / "victim", tmp_path / "marker.tmp"
    victim.write_text("kept")
    if kind == "link":
        temporary.symlink_to(victim)
    else:
        temporary.hardlink_to(victim)
    files.write_whole(str(tmp_path / "marker"), b"new")
    assert (tmp_path / "marker").read_bytes() == b"new"
    assert victim.read_text() == "kept"


@pytest.mark.parametrize("path", ["absent/marker", "file/marker", "folder"])
def test_where_nothing_can_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    assert failure_of(files.write_whole, str(tmp_path / path), b"x").err_type == "cannot_write_file"


def test_a_write_to_a_full_disk() -> None:
    with pytest.raises(OSError, match="space") as caught, open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        full.write(b"x")
    assert files.writing_failure(caught.value, "/dev/full").err_type == "disk_full"


# ------------------------------------------------------------------------------------------------- reading, removing


def test_room_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = files.free_bytes(str(tmp_path / "a" / "b" / "c"))
    assert 0 < free <= found.f_blocks * found.f_frsize
    assert files.free_bytes("no/such/folder") > 0
    assert files.free_bytes("/proc/self") == 0


def test_where_we_may_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    assert files.may_write(str(tmp_path))
    assert files.may_write(str(tmp_path / "a" / "b"))
    assert not files.may_write(str(tmp_path / "file"))
    assert not files.may_write(str(tmp_path / "file" / "a"))
    assert not files.may_write(str(tmp_path / "dangling" / "a"))


def test_removing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(victim)
    files.remove_tree(str(tree))
    files.remove_tree(str(tree))
    assert [entry.name for entry in tmp_path.iterdir()] == ["victim"]
    assert files.remove_file(str(victim)) is True
    assert files.remove_file(str(victim)) is False


def test_what_can_not_be_removed(tmp_path: Path) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.touch()
    (folder / "a").mkdir(parents=True)
    link.symlink_to(folder)
    assert failure_of(files.remove_file, str(folder)).detail == {"path": str(folder)}
    assert failure_of(files.remove_tree, str(file)).err_type == "cannot_write_file"
    assert failure_of(files.remove_tree, str(link)).err_type == "cannot_write_file"
    assert (folder / "a").is_dir()


def test_the_size_of_a_tree(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b/c", 4), ("relup/d", 100), ("b/relup/e", 5)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    assert files.tree_size(str(tmp_path), "relup") == {"files": 3, "bytes": 12}
    assert files.tree_size(str(tmp_path)) == {"files": 4, "bytes": 112}
