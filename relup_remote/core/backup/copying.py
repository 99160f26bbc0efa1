"""Payload, shipped to hosts (Python 3.6 and up, standard library only): files as they are found, and copies of them.

No file is ever in memory whole. A copy is closed to others, whatever the mode of the original: that is only noted.
"""

import hashlib
import os
import stat
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..files import remove_file, writing_failure
from ..opening import ANYONE, opened
from ..protocol import Failure

_CHUNK = 256 << 10
_PROGRESS_EVERY = 8 << 20
_TRIES = 3
"""How often a file is copied that is written to meanwhile, before it is taken as it is."""

Told = Dict[str, Any]
"""What a manifest says of a file, folder or link."""

LeaveOut = Callable[[str, str], bool]
"""Gets a folder and a name in it; says whether that is to be left out."""


class Progress:
    """Tells how far a step is, in bytes, every few megabytes."""

    def __init__(self, emit: Callable[[Dict[str, Any]], None], step: str, total: int) -> None:
        self._emit = emit
        self._step = step
        self._total = total
        self._done = 0
        self._told = 0

    def advance(self, count: int) -> None:
        """So many bytes more are done."""
        self._done += count
        if self._done - self._told >= _PROGRESS_EVERY:
            self.tell()

    def reach(self, count: int) -> None:
        """So many bytes are done, by somebody else who tells of all of them."""
        if count - self._told >= _PROGRESS_EVERY:
            self._done = count
            self.tell()

    def tell(self) -> None:
        """Tells it now. Files may have grown since they were counted."""
        self._told = self._done
        total = max(self._total, self._done)
        self._emit({"event": "progress", "step": self._step, "done": self._done, "total": total, "unit": "bytes"})


class Found(NamedTuple):
    """Something to be copied: its `path` as the manifest calls it, where it is, and what it is."""

    path: str
    source: str
    stat: os.stat_result

    @property
    def is_file(self) -> bool:
        """Whether it has contents."""
        return stat.S_ISREG(self.stat.st_mode)


def found_in(folder: str, name: str, leave_out: LeaveOut) -> Iterator[Found]:
    """All that is in a folder, itself first, as `name`; folders before what is in them. Links are not followed.

    Pipes, sockets and devices are left out, as is what goes meanwhile. Raises `Failure` cannot_read_file.
    """
    try:
        yield Found(name, folder, os.lstat(folder))
        inner = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable([folder], error)
    for each in inner:
        source, path = os.path.join(folder, each), "{}/{}".format(name, each)
        if leave_out(folder, each):
            continue
        try:
            found = os.lstat(source)
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(found.st_mode):
            yield from found_in(source, path, leave_out)
        elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
            yield Found(path, source, found)


def copy(found: Found, target: str, progress: Progress) -> Optional[Tuple[Told, bool]]:
    """Copies what was found; returns what the manifest is to say of it, and whether it stood still meanwhile.

    None where it is gone. Raises `Failure` cannot_read_file, and as `writing_failure`.
    """
    if stat.S_ISDIR(found.stat.st_mode):
        _make_folder(target)
        return dict(_mode_and_time(found.stat), path=found.path, kind="folder"), True
    if stat.S_ISLNK(found.stat.st_mode):
        try:
            points_to = os.readlink(found.source)
        except OSError:
            return None
        _make_link(points_to, target)
        return {"path": found.path, "kind": "link", "target": points_to}, True
    for _ in range(_TRIES):
        try:
            before, size, digest, after = _copy_file(found.source, target, progress)
        except FileNotFoundError:
            remove_file(target)
            return None
        steady = _same(before, after)
        if steady:
            break
    return dict(_mode_and_time(before), path=found.path, kind="file", size=size, sha256=digest), steady


def put_back(told: Told, source: str, target: str, progress: Progress) -> None:
    """Makes of a copy what it was made of, but for the owner and a folder's mode; see `finish`.

    Raises `Failure` backup_damaged, and as `writing_failure`.
    """
    if told["kind"] == "folder":
        _make_folder(target)
    elif told["kind"] == "link":
        _make_link(told["target"], target)
    else:
        try:
            _, _, digest, _ = _copy_file(source, target, progress)
        except FileNotFoundError:
            digest = ""
        if digest != told["sha256"]:
            raise Failure("backup_damaged", "{} is not what was backed up.".format(source))
        finish(told, target)


def finish(told: Told, target: str) -> None:
    """Gives a file, or a folder in which nothing is to be made any more, the mode and time that it had."""
    if told["kind"] == "link":
        return
    try:
        os.chmod(target, told["mode"])
        os.utime(target, ns=(told["mtime"], told["mtime"]))
    except OSError as error:
        raise writing_failure(error, target)


def digest_of(path: str, progress: Progress) -> str:
    """The SHA-256 of a file. Raises `OSError`."""
    hasher = hashlib.sha256()
    with os.fdopen(opened(path, owners=ANYONE), "rb", buffering=0) as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            hasher.update(chunk)
            progress.advance(len(chunk))
    return hasher.hexdigest()


def told_of(name: str, path: str, progress: Progress) -> Told:
    """What a manifest is to say of a file that is part of a backup already. Raises `Failure` cannot_read_file."""
    try:
        found = os.lstat(path)
        digest = digest_of(path, progress)
    except OSError as error:
        raise unreadable([path], error)
    return dict(_mode_and_time(found), path=name, kind="file", size=found.st_size, sha256=digest)


def unreadable(paths: List[str], error: Optional[OSError] = None) -> Failure:
    """The `Failure` of what the node's user may not read."""
    why = "" if error is None else ": {}".format(error.strerror)
    message = "{} can't be read{}.".format(", ".join(paths[:5]), why)
    return Failure("cannot_read_file", message, detail={"paths": paths[:50], "count": len(paths)})


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def _copy_file(source: str, target: str, progress: Progress) -> Tuple[os.stat_result, int, str, os.stat_result]:
    """Copies a file; returns what it was before, how much was copied and with what digest, and what it is now."""
    hasher, size = hashlib.sha256(), 0
    try:
        reading = opened(source, owners=ANYONE)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable([source], error)
    with os.fdopen(reading, "rb", buffering=0) as file:
        before = os.fstat(reading)
        try:
            with os.fdopen(os.open(target, _WRITE, 0o600), "wb", buffering=0) as copied:
                for chunk in iter(lambda: _read(file, source), b""):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[copied.write(rest) :]
                    hasher.update(chunk)
                    size += len(chunk)
                    progress.advance(len(chunk))
        except OSError as error:
            raise writing_failure(error, target)
    return before, size, hasher.hexdigest(), os.lstat(source)


def _read(file: BinaryIO, source: str) -> bytes:
    """The next part of a file. Raises `Failure` cannot_read_file."""
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise unreadable([source], error)


def _mode_and_time(found: os.stat_result) -> Told:
    return {"mode": stat.S_IMODE(found.st_mode), "mtime": found.st_mtime_ns}


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return all(getattr(before, name) == getattr(after, name) for name in ("st_ino", "st_size", "st_mtime_ns"))


def _make_folder(target: str) -> None:
    try:
        os.mkdir(target, 0o700)
    except OSError as error:
        raise writing_failure(error, target, "cannot_create_dir")


def _make_link(points_to: str, target: str) -> None:
    try:
        os.symlink(points_to, target)
    except OSError as error:
        raise writing_failure(error, target)
