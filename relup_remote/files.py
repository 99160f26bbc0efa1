"""The files that are written on the operator's machine: here alone it is decided who may read them.

What tells of hosts, nodes or operators is for the operator's eyes: the ledger, tracebacks, reports. What is made to be
handed on is for all: hops, helper modules, findings for a code review.
"""

import os
from pathlib import Path
from typing import TextIO

from relup_remote.core.files import private_dir, write_whole
from relup_remote.core.protocol import Failure

PRIVATE, SHARED = 0o600, 0o644


def write_private(path: Path, text: str) -> None:
    """Write a file for the operator alone, which appears whole. Raises `Failure`."""
    write_whole(str(path.absolute()), text.encode(), PRIVATE)


def write_shared(path: Path, text: str) -> None:
    """Write a file that others may read, which appears whole. Raises `Failure`."""
    write_whole(str(path.absolute()), text.encode(), SHARED)


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a file for the operator alone, made if it is not there. Raises OSError."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)


def append_private(path: Path) -> TextIO:
    """Open a file for the operator alone, to read and to add to. Raises OSError."""
    return os.fdopen(open_private(path, os.O_RDWR | os.O_APPEND), "a", encoding="utf-8")


def private_folder(path: Path) -> None:
    """Make a folder for the operator alone, and those above it. Raises OSError, `Failure` if it is not his alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_dir(str(path))


def cache_folder() -> Path | None:
    """The folder for what can be made again, None if there can be none that is the user's alone.

    What lies in it is trusted as code is.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "relup_remote"
        private_folder(folder)
    except (OSError, RuntimeError, Failure):
        return None
    return folder
