"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whether a restore can move what is there aside.

It has to be known before the first move, for a node without its settings does not start. What can't be moved:

==========================================  ===========================================================================
a mount point, at any depth                 what is mounted would go along, and come back at the machine's next boot
a folder of another user                    to move a folder changes ``..`` in it; one of our own we open for that
what another user has in a sticky folder    only its owner may move it
==========================================  ===========================================================================

What else keeps a thing in its place, such as the attribute "immutable", shows when it is moved. Then all moves are
taken back.
"""

import os
import re
import stat
from typing import List, Optional

from ..opening import of_kernel
from .swap import Place

_MOUNTS = "/proc/self/mountinfo"

_LARGEST = 16 << 20
"""Bytes: a hundred thousand mounts."""


def fixed(place: Place, mounts: str = _MOUNTS) -> Optional[str]:
    """Why something in a place can't be moved aside, as a sentence; None where all can.

    `mounts` is the table of mount points, of proc(5): the fifth field of a line is one, with spaces in octal.
    """
    present = place.present()
    for point in _mount_points(mounts):
        if point.startswith(place.path + "/") and point[len(place.path) + 1 :].partition("/")[0] in present:
            return "{} is a mount point and can't be moved aside.".format(point)
    if os.geteuid() == 0:
        return None
    outer = os.stat(place.path) if present else None
    for name in present:
        path = os.path.join(place.path, name)
        found = os.lstat(path)
        if found.st_uid == os.geteuid() or outer is None:
            continue
        if outer.st_mode & stat.S_ISVTX and outer.st_uid != os.geteuid():
            return "{} belongs to another user, who alone may move it aside.".format(path)
        if stat.S_ISDIR(found.st_mode) and not os.access(path, os.W_OK):
            return "{} belongs to another user and can't be moved aside.".format(path)
    return None


def _mount_points(table: str) -> List[str]:
    """The mount points of a table. Raises `OSError` where it can't be read."""
    lines = (of_kernel(table, _LARGEST) or b"").splitlines()
    points = (line.split(b" ")[4] for line in lines)
    return [
        os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found.group(1), 8)]), point)) for point in points
    ]
