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
import stat
from typing import Optional, Tuple

from .mounts import TABLE, mounted_within
from .swap import Place

UNMOUNT = (
    "Unmount it, and run `inv restore --force`. Then move what was restored in there to that file system, and mount it "
    "again."
)
GIVE = "Give it to the node's user, or move it away. Then run the restore again."


def fixed(place: Place, table: str = TABLE) -> Optional[Tuple[str, str]]:
    """Why something in a place can't be moved aside, as a sentence, and what to do about it; None where all can.

    `table` is that of the mount points. Raises `Failure` as `mounted_within`.
    """
    within = mounted_within(place, table)
    if within:
        return "{} is a mount point and can't be moved aside.".format(os.path.join(place.path, within[0])), UNMOUNT
    present = place.present()
    if os.geteuid() == 0:
        return None
    outer = os.stat(place.path) if present else None
    for name in present:
        path = os.path.join(place.path, name)
        found = os.lstat(path)
        if found.st_uid == os.geteuid() or outer is None:
            continue
        if outer.st_mode & stat.S_ISVTX and outer.st_uid != os.geteuid():
            return "{} belongs to another user. Only that user can move it aside.".format(path), GIVE
        if stat.S_ISDIR(found.st_mode) and not os.access(path, os.W_OK):
            return "{} belongs to another user and can't be moved aside.".format(path), GIVE
    return None
