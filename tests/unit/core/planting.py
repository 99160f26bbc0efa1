"""What a user of a host may put where the core looks for a file."""

import os
import socket
import stat
from pathlib import Path

HUGE = 1 << 40
"""Bytes: a file that takes no room on disk, and all memory of who reads it whole."""

KINDS = ("pipe", "device", "socket", "folder", "link", "huge")
"""What is planted; a link leads to a device that never ends."""


def plant(kind: str, path: Path, owner: int = -1) -> None:
    """Put something of that kind at a path at which there is nothing."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        # What /dev/zero is.
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            folder = os.open(path.parent, os.O_RDONLY)
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            os.close(folder)
    elif kind == "folder":
        path.mkdir()
        (path / "within").touch()
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(HUGE)
    os.chown(path, owner, owner, follow_symlinks=False)
