"""Payload, shipped to hosts (Python 3.6 and up, standard library only): folders of ours, files that appear whole."""

import errno
import os
import stat
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple

from .opening import cannot_read, create, open_folder
from .protocol import Failure
from .trust import check_private

SPARE_BYTES = 64 << 20
SPARE_FILES = 100
"""What a host's disk should still have free after all is written."""


def private_dir(path: str) -> str:
    """Makes the folder `path`, 0700, or checks that the one there is of ours (see `trust`). Its parent must exist.

    Raises `Failure` untrusted_dir, cannot_create_dir.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise writing_failure(error, path, "cannot_create_dir")
    check_private(path)
    return path


def make_dirs(path: str, mode: int) -> None:
    """Makes a folder and those it lies in, as far as they are not there; it has that mode whatever our umask.

    Raises `Failure`.
    """
    try:
        if not os.path.isdir(path):
            os.makedirs(path, mode, exist_ok=True)
            os.chmod(path, mode)
    except OSError as error:
        raise writing_failure(error, path, "cannot_create_dir")


def writing_failure(error: OSError, path: str, err_type: str = "cannot_write_file") -> Failure:
    """The `Failure` for an `OSError` met in writing `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        message = "No space is left for {}.".format(path or "what has to be written")
        return Failure("disk_full", message, detail={"path": path})
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Failure("no_write_permission", "{} is not writable.".format(path), detail={"path": path})
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Failure(err_type, "{}: {}.".format(path, reason), detail={"path": path})


def write_whole(path: str, content: bytes, mode: int = 0o600) -> None:
    """Writes a file that appears whole or not at all: temporary, fsync, rename, fsync of the folder.

    Raises `Failure` disk_full, no_write_permission, cannot_write_file.
    """
    temporary = path + ".tmp"
    try:
        # What a dead core left is not written into: it might not be ours, or have another name.
        remove_file(temporary)
        with os.fdopen(create(temporary, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_dir(os.path.dirname(path))
    except OSError as error:
        _forget(temporary)
        raise writing_failure(error, path)


def _forget(temporary: str) -> None:
    """Removes what was written of a file that did not come to be; the error to tell of is another one."""
    try:
        os.unlink(temporary)
    except OSError:
        pass


def reserve(path: str, size: int) -> None:
    """Makes the temporary file that somebody else is going to write `path` by, with room for so many bytes.

    Raises `Failure` as `write_whole`.
    """
    temporary = path + ".tmp"
    try:
        remove_file(temporary)
        descriptor = create(temporary)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        _forget(temporary)
        raise writing_failure(error, path)


def rename(path: str, name: str) -> None:
    """Gives a file or folder another name in the folder that it is in, for good. Raises `Failure`."""
    try:
        os.rename(path, name)
        sync_dir(os.path.dirname(name))
    except OSError as error:
        raise writing_failure(error, name)


def sync_dir(path: str) -> None:
    """Makes the names in a folder durable."""
    descriptor = open_folder(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(path: str) -> None:
    """Makes all durable that was written to the file system of a folder, in one flush. Raises `Failure`."""
    # Late, for little is written that needs it.
    from .archive.tree import sync_file_system  # noqa: PLC0415

    descriptor = open_folder(path)
    try:
        sync_file_system(descriptor)
    except OSError as error:
        raise writing_failure(error, path)
    finally:
        os.close(descriptor)


def free_bytes(path: str) -> int:
    """How much may still be written to the file system of `path`, or of its nearest folder that exists."""
    found = os.statvfs(nearest(path, os.path.isdir))
    return found.f_bavail * found.f_frsize


def free_inodes(path: str) -> Optional[int]:
    """How many files may still be made on that file system; None where there is no limit."""
    found = os.statvfs(nearest(path, os.path.isdir))
    return found.f_favail if found.f_files else None


def nearest(path: str, is_there: Callable[[str], bool] = os.path.lexists) -> str:
    """`path`, absolute, or where it is not there the nearest folder above it that is."""
    path = os.path.abspath(path)
    while not is_there(path):
        path = os.path.dirname(path)
    return path


def space(folder: str, needed: int, files: int = 0) -> None:
    """Raises `Failure` disk_full unless so many bytes, and so many files, fit there, with some to spare."""
    inodes = free_inodes(folder)
    if inodes is not None and inodes < files + SPARE_FILES:
        message = "{} has room for {} files, {} are needed.".format(folder, inodes, files + SPARE_FILES)
        found = {"folder": folder, "free_files": inodes, "needed_files": files + SPARE_FILES}
        raise Failure("disk_full", message, detail=found)
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        detail: Any = {"folder": folder, "free_bytes": free, "needed_bytes": needed + SPARE_BYTES}
        raise Failure(
            "disk_full",
            "{} has room for {} MB, {} MB are needed.".format(folder, free >> 20, (needed + SPARE_BYTES) >> 20),
            detail=detail,
        )


def has_room(folder: str, size: int) -> bool:
    """Whether so many bytes, in a few files, may be written to the file system of a folder that we may write to."""
    if not may_write(folder):
        return False
    inodes = free_inodes(folder)
    return free_bytes(folder) >= size and (inodes is None or inodes >= SPARE_FILES)


def may_write(path: str) -> bool:
    """Whether we may make files in the folder `path`, or, where it is not there yet, make it."""
    path = nearest(path)
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def remove_tree(path: str) -> None:
    """Removes a folder and all in it. Raises `Failure`; that there is none is fine."""
    # Late, for it is slow to import, and most requests remove no tree.
    import shutil  # noqa: PLC0415

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise writing_failure(error, path)


def remove_file(path: str) -> bool:
    """Removes a file; says whether there was one. Raises `Failure`."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise writing_failure(error, path)
    return True


def tree_size(root: str, leave_out: str = "") -> Dict[str, Any]:
    """{"files", "bytes"} of the regular files below `root`, but for the folders or files `leave_out` (separated by
    slashes) directly in it. Raises `Failure` as `tree_files`.
    """
    return size_of(tree_files(root, leave_out))


def size_of(there: Iterable[Tuple[str, os.stat_result]]) -> Dict[str, Any]:
    """The size, as of `tree_size`, of what `tree_files` has found."""
    files = size = 0
    for _path, found in there:
        if stat.S_ISREG(found.st_mode):
            files += 1
            size += found.st_size
    return {"files": files, "bytes": size}


def tree_files(root: str, leave_out: str = "") -> Iterator[Tuple[str, os.stat_result]]:
    """All that is no folder below `root`, by its path there, with what it looks like; `leave_out` as of `tree_size`.

    What goes meanwhile is left out. Raises `Failure` cannot_read_file where a folder can't be looked into.
    """
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                inside = list(entries)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise cannot_read(folder, error)
        for entry in inside:
            if folder == root and entry.name in leave_out.split("/"):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise cannot_read(entry.path, error)
            yield entry.path[len(root) + 1 :], found
