"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a node's data and settings, as far as they are
backed up.

What a restore puts aside stays in the folder that it was in. So it is moved within one file system, and the folder may
be a mount point, or lie where the node's user may make nothing::

    data/relup_before-<run>/      what was there before the restore
    data/relup_restored-<run>/    what is going to be there, while it is copied

Our own folder in the data folder stays: the history goes on, and so do the locks.
"""

import os
from typing import Iterator, NamedTuple, Optional, Tuple

from .. import journal, release
from ..context import Context
from ..protocol import Failure
from ..site import OURS
from .copying import Found, found_in
from .state import Mnesia, mnesia_of
from .swap import BEFORE, RESTORED, Place


class Sources(NamedTuple):
    """What is to be backed up: the folders `data` and `etc`, and the `mnesia` whose tables the VM writes, or None.

    `backups` is where backups lie.
    """

    data: str
    etc: str
    mnesia: Optional[Mnesia]
    backups: str

    def found(self) -> Iterator[Found]:
        """All there is to be copied. Raises `Failure` cannot_read_file."""
        for name, folder in (("data", self.data), ("etc", self.etc)):
            yield from found_in(folder, name, self._is_left_out)

    def bytes(self) -> int:
        """About how many bytes that comes to, tables included."""
        files = sum(found.stat.st_size for found in self.found() if found.is_file)
        return files + (self.mnesia.bytes if self.mnesia else 0)

    def _is_left_out(self, folder: str, name: str) -> bool:
        path = os.path.join(folder, name)
        if folder == os.path.join(self.data, OURS):
            return name != journal.FILE
        elsewhere = (self.backups, self.mnesia.folder if self.mnesia else "")
        return name.startswith((BEFORE, RESTORED)) or path in elsewhere


def sources(context: Context) -> Sources:
    """What there is to be backed up. Raises `Failure` backup_failed where Mnesia keeps its tables elsewhere."""
    data = data_of(context)
    saved = mnesia_of(context.link) if context.site.node is not None else None
    if saved is not None and not saved.folder.startswith(data + "/"):
        message = "Mnesia's folder, {}, is not in the data folder, {}.".format(saved.folder, data)
        raise Failure("backup_failed", message, detail={"mnesia": saved.folder, "data": data})
    return Sources(data, etc_of(context.site.base), saved, os.path.realpath(context.site.backups))


def restored(context: Context) -> Tuple[Place, Place]:
    """The folders of the node that are restored: its settings and its data."""
    run = context.request["run"]
    return Place("etc", etc_of(context.site.base), run), Place("data", data_of(context), run)


def data_of(context: Context) -> str:
    """The data folder, wherever a link of that name leads."""
    return os.path.realpath(context.site.data_dir)


def etc_of(base: str) -> str:
    """The folder with a node's settings, by EMQX_ETC_DIR of its emqx_vars."""
    return release.etc_of(base)


def boots(base: str) -> str:
    """The version that a root boots now. Raises `Failure` as `release.read_tree`."""
    return release.read_tree(release.boot_chain(base)[-1]).version


def node_of(context: Context) -> Optional[str]:
    """The name of the node: of the one that runs, or as the inventory or the folder of its Mnesia has it."""
    told = context.result.node or context.request["node"].get("name")
    if told:
        return str(told)
    try:
        names = os.listdir(os.path.join(context.site.data_dir, "mnesia"))
    except OSError:
        return None
    return names[0] if len(names) == 1 and "@" in names[0] else None
