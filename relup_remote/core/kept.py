"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what costs much to make and can be made again.

It is kept in a folder that is ours alone: on hosts `~/.cache/relup_remote` of the user we run as, beside the core (see
relup_remote/host/bootstrap.py); on the operator's machine the one of relup_remote/files.py. One file holds one thing::

    <prefix><key><ending>     SHA-256 of the key and the content (32 bytes), and the content

The key is the SHA-256 of all that the content follows from. A file counts only if nobody but our user can have written
it, if it is whole, and if it is under its own key. Where there is any doubt the thing is made anew, and the file is
replaced. A cache that can't be written is no failure.
"""

import contextlib
import hashlib
import os
from typing import Iterable, List, Optional

from .files import remove_file, rename, write_whole
from .opening import opened
from .protocol import Failure
from .trust import check_private, check_way

_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Optional[str]:
    """The folder in which the core is kept on a host, or None where there is none that is ours alone."""
    folder = os.path.join(os.path.expanduser("~"), ".cache", "relup_remote")
    return folder if _is_ours(folder) else None


def key(source: bytes, facts: Iterable[str]) -> bytes:
    """What a thing is found by: it follows from the `source` and the `facts`, in that order."""
    told = "\n".join([hashlib.sha256(source).hexdigest(), *facts])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


class Kept:
    """Things of one kind, each of them under a key."""

    def __init__(self, prefix: str, ending: str, at_most: int, largest: int) -> None:
        """`prefix` and `ending` are those of the files' names. Of more than `at_most` things the oldest go. A file of
        more than `largest` bytes is not read.
        """
        self.at_most = at_most
        self._prefix = prefix
        self._ending = ending
        self._largest = largest

    def find(self, folder: str, wanted: bytes) -> Optional[bytes]:
        """What is kept under a key, or None."""
        try:
            descriptor = opened(self._path(folder, wanted), owners={os.geteuid()}, limit=self._largest)
        except (OSError, Failure):
            return None
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                return None
            try:
                found = file.read(self._largest + 1)
            except OSError:
                return None
        content = found[_DIGEST:]
        return content if found[:_DIGEST] == _digest(wanted, content) else None

    def keep(self, folder: str, wanted: bytes, content: bytes) -> None:
        """Keeps `content` under a key, in place of the oldest where there are too many."""
        path = self._path(folder, wanted)
        # Two of us may keep the same thing at once.
        unfinished = "{}.{}".format(path, os.getpid())
        try:
            if not _is_ours(folder):
                return
            write_whole(unfinished, _digest(wanted, content) + content)
            # In place of whatever is there: a link is not followed.
            rename(unfinished, path)
            for old in self._oldest_first(folder)[: -self.at_most]:
                remove_file(old)
        except (OSError, Failure):
            # A full disk, say. The next of us makes it again.
            for left in (unfinished, unfinished + ".tmp"):
                with contextlib.suppress(OSError, Failure):
                    remove_file(left)

    def _path(self, folder: str, wanted: bytes) -> str:
        return os.path.join(folder, self._prefix + wanted.hex() + self._ending)

    def _oldest_first(self, folder: str) -> List[str]:
        """What is kept here, and what others left unfinished that were killed."""
        paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(self._prefix)]
        times = {}
        for path in paths:
            try:
                times[path] = os.lstat(path).st_mtime
            except FileNotFoundError:
                # Another of us tidies up too.
                continue
        return sorted(times, key=lambda path: (times[path], path))


def _is_ours(folder: str) -> bool:
    try:
        check_private(folder)
        check_way(folder)
    except (OSError, Failure):
        return False
    return True


def _digest(wanted: bytes, content: bytes) -> bytes:
    return hashlib.sha256(wanted + content).digest()
