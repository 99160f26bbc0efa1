"""Payload, shipped to hosts (Python 3.6 and up, standard library only): one upgrade at a time on a node.

The lock is the kernel's, on an open file, so it ends with its owner, however that ends. The file says who holds it, or,
for a moment, nothing, or who held it before and is dead: whoever reads it then looks again.
"""

import fcntl
import json
import os
import time
from typing import Any, Dict, Optional, Tuple

from .files import writing_failure
from .opening import cannot_read, open_ours
from .protocol import Failure

FILE = "lock"

_LOOK = 0.2
"""Seconds within which who only looks who holds a lock (see `holder`) has let go of it, and who took it is named."""

_PAUSE = 0.005


class Lock:
    """A context manager that holds the lock of a folder. Entering raises `Failure`: upgrade_in_progress,
    untrusted_file, and as `writing_failure`.

    `taken_over` is what a dead owner left in the file, or None.
    """

    def __init__(self, folder: str, owner: Dict[str, Any], patience: float = 0) -> None:
        """`owner` says who: operator, run, command. For another one of the same run it waits, `patience` seconds."""
        self._folder = folder
        self._owner = owner
        self._patience = patience
        self._descriptor = -1
        self.taken_over: Optional[Dict[str, Any]] = None

    def __enter__(self) -> "Lock":
        self._descriptor = self._take()
        self.taken_over = _said(self._descriptor)
        content = dict(self._owner, pid=os.getpid(), since=int(time.time() * 1000))
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(content, sort_keys=True).encode("utf-8"), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise writing_failure(error, os.path.join(self._folder, FILE))
        return self

    def _take(self) -> int:
        path = os.path.join(self._folder, FILE)
        started = time.monotonic()
        while True:
            try:
                descriptor = open_ours(path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                raise writing_failure(error, path)
            # Between the two the file may have been removed, and another made: the lock of this one is nobody's then.
            try:
                if _locked(descriptor, fcntl.LOCK_EX, path) and _lies_at(descriptor, path):
                    return descriptor
            except Failure:
                os.close(descriptor)
                raise
            os.close(descriptor)
            waited = time.monotonic() - started
            if waited > _LOOK:
                by = holder(self._folder)
                is_of_our_run = by is not None and by.get("run") == self._owner.get("run")
                if by is not None and not (is_of_our_run and waited < self._patience):
                    raise held(by)
            time.sleep(_PAUSE if waited < _LOOK else _LOOK)

    def __exit__(self, *_: Any) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def holder(folder: str) -> Optional[Dict[str, Any]]:
    """Who holds the lock of a folder now, or None. Takes nothing. Raises `Failure` untrusted_file, cannot_read_file."""
    path = os.path.join(folder, FILE)
    deadline = time.monotonic() + _LOOK
    while True:
        try:
            descriptor = open_ours(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise cannot_read(path, error)
        try:
            if _locked(descriptor, fcntl.LOCK_SH, path):
                return None
            said = _said(descriptor)
        finally:
            os.close(descriptor)
        if said is not None and type(said.get("pid")) is int and os.path.exists("/proc/{pid}".format(**said)):
            return said
        # In a container beside ours a holder that lives can't be seen.
        if time.monotonic() > deadline:
            return said or {}
        time.sleep(_PAUSE)


def _locked(descriptor: int, how: int, path: str) -> bool:
    """Whether the lock was to be had. Raises `Failure` where the file system has none."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise writing_failure(error, path)
    return True


def _lies_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _said(descriptor: int) -> Optional[Dict[str, Any]]:
    """What the lock file says, or None where it is empty."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0).decode("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def held(by: Dict[str, Any]) -> Failure:
    """The failure that names the holder."""
    return Failure("upgrade_in_progress", "{} works on this node since {}.".format(*_who_and_when(by)), detail=by)


def taken_over(by: Dict[str, Any]) -> str:
    """The sentence about a dead holder."""
    return "The lock that {} held since {} was taken over: its owner is dead.".format(*_who_and_when(by))


def _who_and_when(by: Dict[str, Any]) -> Tuple[str, str]:
    who = "{} of {}".format(by.get("command", "another command"), by.get("operator", "someone"))
    return who, moment(by.get("since"))


def moment(since: Any) -> str:
    """A moment in milliseconds since the epoch, for a sentence."""
    if not isinstance(since, int):
        return "unknown"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since / 1000))
