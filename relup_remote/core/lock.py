"""Payload, shipped to hosts (Python 3.6 and up, standard library only): one upgrade at a time on a node.

The lock is the kernel's, on an open file, so it ends with its owner, however that ends. The file says who holds it.
"""

import fcntl
import json
import os
import time
from typing import Any, Dict, Optional

from .files import writing_failure
from .protocol import Failure

FILE = "lock"

_LOOK = 0.2
"""Seconds within which whoever only looks who holds a lock (see `holder`) has let go of it."""


class Lock:
    """A context manager that holds the lock of a folder. Entering raises `Failure` upgrade_in_progress.

    `taken_over` is what a dead owner left in the file, or None.
    """

    def __init__(self, folder: str, owner: Dict[str, Any]) -> None:
        """`owner` says who: operator, run, command."""
        self._path = os.path.join(folder, FILE)
        self._owner = owner
        self._descriptor = -1
        self.taken_over: Optional[Dict[str, Any]] = None

    def __enter__(self) -> "Lock":
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise writing_failure(error, self._path)
        if not self._take():
            holder = holder_of(self._descriptor) or {}
            os.close(self._descriptor)
            raise held(holder)
        self.taken_over = holder_of(self._descriptor)
        content = dict(self._owner, pid=os.getpid(), since=int(time.time() * 1000))
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(content, sort_keys=True).encode("utf-8"), 0)
        return self

    def _take(self) -> bool:
        deadline = time.monotonic() + _LOOK
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
            time.sleep(0.005)

    def __exit__(self, *_: Any) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def holder(folder: str) -> Optional[Dict[str, Any]]:
    """Who holds the lock of a folder now, or None. Takes nothing."""
    try:
        descriptor = os.open(os.path.join(folder, FILE), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return holder_of(descriptor) or {}
    finally:
        os.close(descriptor)
    return None


def holder_of(descriptor: int) -> Optional[Dict[str, Any]]:
    """What the lock file says, or None where it is empty."""
    try:
        found = json.loads(os.pread(descriptor, 4096, 0).decode("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def held(by: Dict[str, Any]) -> Failure:
    """The failure that names the holder."""
    since = by.get("since")
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since / 1000)) if isinstance(since, int) else "unknown"
    message = "{} of {} works on this node since {}.".format(
        by.get("command", "another command"), by.get("operator", "someone"), when
    )
    return Failure("upgrade_in_progress", message, detail=by)
