"""Payload, shipped to hosts (Python 3.6 and up, standard library only): which file systems are mounted where.

A data folder often lies on a disk of its own. Where that disk is not mounted, its mount point is an empty folder: what
is restored there is on another disk, and hidden once the right one is mounted.
"""

import os
import re
from typing import List

from ..opening import of_kernel

TABLE = "/proc/self/mountinfo"
"""The table of mount points, of proc(5): the fifth field of a line is one, with spaces in octal."""

_LARGEST = 16 << 20
"""Bytes: a hundred thousand mounts."""


def mount_points(table: str = TABLE) -> List[str]:
    """All mount points. Raises `OSError` where the table can't be read."""
    lines = (of_kernel(table, _LARGEST) or b"").splitlines()
    points = (line.split(b" ")[4] for line in lines)
    return [
        os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found.group(1), 8)]), point)) for point in points
    ]


def mount_point_of(path: str, table: str = TABLE) -> str:
    """The mount point of the file system on which `path`, a real path, lies. Raises `OSError` as `mount_points`."""
    above = (point for point in mount_points(table) if (path + "/").startswith(point.rstrip("/") + "/"))
    return max(above, key=len, default="/")
