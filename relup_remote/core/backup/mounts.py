"""Payload, shipped to hosts (Python 3.6 and up, standard library only): which file systems are mounted where.

A data folder often lies on a disk of its own. Where that disk is not mounted, its mount point is an empty folder: what
is restored there is on another disk, and hidden once the right one is mounted.

What a backup keeps of each folder, in its manifest, is one object::

    {"point": "/opt/emqx/data", "within": ["mnesia"], "on_root": false}

``point`` is the mount point of the file system on which the folder lay, ``within`` names the mount points in it.
``on_root`` says whether it was on the root's file system: an empty folder may have been bound to a mount point.
"""

import os
import re
from typing import Any, Dict, List, Optional

from ..files import nearest
from ..opening import cannot_read, of_kernel
from .swap import Place

TABLE = "/proc/self/mountinfo"
"""The table of mount points, of proc(5): the fifth field of a line is one, with spaces in octal."""

ROOT = "/"

_LARGEST = 16 << 20
"""Bytes: a hundred thousand mounts."""


def mount_points(table: str = TABLE) -> List[str]:
    """All mount points. Raises `Failure` cannot_read_file where they can't be known."""
    try:
        content = of_kernel(table, _LARGEST)
    except OSError as error:
        raise cannot_read(table, error)
    if not content:
        raise cannot_read(table, OSError("it names no file system"))
    points = (line.split(b" ")[4] for line in content.splitlines())
    return [
        os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found.group(1), 8)]), point)) for point in points
    ]


def mount_point_of(path: str, table: str = TABLE) -> str:
    """The mount point of the file system on which `path`, a real path, lies. Raises `Failure` as `mount_points`."""
    return _above(path, mount_points(table))


def _above(path: str, points: List[str]) -> str:
    """The one of all mount points on whose file system a real path lies."""
    return max((point for point in points if (path + "/").startswith(point.rstrip("/") + "/")), key=len, default=ROOT)


def mounted_within(place: Place, table: str = TABLE) -> List[str]:
    """The mount points in a place, at any depth, in what has to make room for a restore; relative to it.

    Raises `Failure` as `mount_points`.
    """
    present = place.present()
    inner = (point[len(place.path) + 1 :] for point in mount_points(table) if point.startswith(place.path + "/"))
    return sorted({path for path in inner if path.partition("/")[0] in present})


def told_of(place: Place) -> Dict[str, Any]:
    """What the manifest of a backup keeps of a place. Raises `Failure` as `mount_points`."""
    return {"point": mount_point_of(place.path), "within": mounted_within(place), "on_root": _is_on_root(place.path)}


def missing(place: Place, told: Dict[str, Any]) -> Optional[str]:
    """Why a place does not lie on the file systems on which it lay at the time of a backup, as a sentence; else None.

    `told` is what the manifest keeps of it; an older one may keep nothing. Raises `Failure` as `mount_points`.
    """
    mounted, point = mount_points(), told.get("point", ROOT)
    # A place that has moved to another file system than that of the empty mount point is on a disk of its own again.
    if point not in (*mounted, ROOT) and _above(place.path, mounted) == _above(point, mounted):
        return "{} was on the file system mounted at {}. Nothing is mounted there now.".format(place.path, point)
    for inner in told.get("within", []):
        path = os.path.join(place.path, inner)
        if path not in mounted:
            return "A file system was mounted at {}. Nothing is mounted there now.".format(path)
    if not told.get("on_root", True) and _is_on_root(place.path):
        return "{} was not on the file system of {}. Now it is.".format(place.path, ROOT)
    return None


def _is_on_root(path: str) -> bool:
    """Whether a real path, or its nearest folder that exists, lies on the file system of the root."""
    return os.stat(nearest(path)).st_dev == os.stat(ROOT).st_dev
