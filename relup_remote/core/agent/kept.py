"""Payload, shipped to hosts (Python 3.6 and up, standard library only): compiled agents, kept on the host.

Compiling the agent costs a busy VM seconds of a scheduler, at each look. So what it made is kept beside the core, in
`~/.cache/relup_remote` of the user we run as (see relup_remote/host/bootstrap.py), one file a module::

    agent-<key>.beam     SHA-256 of the key and the code (32 bytes), and the code

The key is the SHA-256 of all that the code follows from: source, module name, compile options, and the versions of
Erlang/OTP and its emulator. A file counts only if nobody but our user can have written it, and it is whole, and it is
under its own key. Where there is any doubt the VM compiles anew, and the file is replaced. A cache that can't be
written is no failure.
"""

import contextlib
import hashlib
import os
from typing import Iterable, List, Optional

from ..files import remove_file, rename, write_whole
from ..opening import opened
from ..protocol import Failure
from ..trust import check_private, check_way

AT_MOST = 12
"""As many modules are kept; of more the oldest go. A node needs two, and one more for each kind of backup."""

_LARGEST = 4 << 20
_PREFIX = "agent-"
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Optional[str]:
    """The folder in which the core is kept, or None where there is none that is ours alone."""
    folder = os.path.join(os.path.expanduser("~"), ".cache", "relup_remote")
    return folder if _is_ours(folder) else None


def key(source: bytes, facts: Iterable[str]) -> bytes:
    """What compiled code is found by: it follows from the source and the `facts`, in that order."""
    told = "\n".join([hashlib.sha256(source).hexdigest(), *facts])
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).digest()


def find(folder: str, wanted: bytes) -> Optional[bytes]:
    """The code that is kept under a key, or None."""
    try:
        descriptor = opened(_path(folder, wanted), owners={os.geteuid()}, limit=_LARGEST)
    except (OSError, Failure):
        return None
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            return None
        try:
            content = file.read(_LARGEST + 1)
        except OSError:
            return None
    code = content[_DIGEST:]
    return code if content[:_DIGEST] == _digest(wanted, code) else None


def keep(folder: str, wanted: bytes, code: bytes) -> None:
    """Keeps code under a key, in place of the oldest where there are too many."""
    path = _path(folder, wanted)
    # Two cores may keep the same module at once.
    unfinished = "{}.{}".format(path, os.getpid())
    try:
        if not _is_ours(folder):
            return
        write_whole(unfinished, _digest(wanted, code) + code)
        rename(unfinished, path)
        for old in _oldest_first(folder)[:-AT_MOST]:
            remove_file(old)
    except (OSError, Failure):
        # A full disk, say. The next core compiles again.
        for left in (unfinished, unfinished + ".tmp"):
            with contextlib.suppress(OSError, Failure):
                remove_file(left)


def _is_ours(folder: str) -> bool:
    try:
        check_private(folder)
        check_way(folder)
    except (OSError, Failure):
        return False
    return True


def _path(folder: str, wanted: bytes) -> str:
    return os.path.join(folder, "{}{}.beam".format(_PREFIX, wanted.hex()))


def _digest(wanted: bytes, code: bytes) -> bytes:
    return hashlib.sha256(wanted + code).digest()


def _oldest_first(folder: str) -> List[str]:
    """What is kept here, and what dead cores left unfinished."""
    paths = [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(_PREFIX)]
    times = {}
    for path in paths:
        try:
            times[path] = os.lstat(path).st_mtime
        except FileNotFoundError:
            # Another core tidies up too.
            continue
    return sorted(times, key=lambda path: (times[path], path))
