"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a node's data and settings, as far as they are
backed up.

What a restore puts aside stays in the folder that it was in. So it is moved within one file system, and the folder may
be a mount point, or lie where the node's user may make nothing::

    data/relup_before-<run>/      what was there before the restore
    data/relup_restored-<run>/    what is going to be there, while it is copied

Our own folder in the data folder stays: the history goes on, and so do the locks.
"""

import os
import stat
from typing import Iterator, List, NamedTuple, Optional, Tuple

from .. import journal, release
from ..context import Context
from ..protocol import Failure
from ..release import BEFORE, RESTORED
from ..site import OURS
from .copying import Found, found_in, unreadable
from .state import Mnesia, mnesia_of
from .swap import Place


class Sources(NamedTuple):
    """What is to be backed up: the folders `data` and `etc`, and the `mnesia` whose tables the VM writes, or None.

    `elsewhere` are folders of ours that may lie in there.
    """

    data: str
    etc: str
    mnesia: Optional[Mnesia]
    elsewhere: Tuple[str, ...]

    def found(self) -> Iterator[Found]:
        """All there is to be copied. Raises `Failure` cannot_read_file."""
        for name, folder in (("data", self.data), ("etc", self.etc)):
            yield from found_in(folder, name, self._is_left_out)

    def size(self) -> Tuple[int, int]:
        """About how many bytes that comes to, tables included, and how many files and folders."""
        sizes = [found.stat.st_size if found.is_file else 0 for found in self.found()]
        return sum(sizes) + (self.mnesia.bytes if self.mnesia else 0), len(sizes)

    def _is_left_out(self, folder: str, name: str) -> bool:
        path = os.path.join(folder, name)
        if folder == os.path.join(self.data, OURS):
            return name != journal.FILE
        return name.startswith((BEFORE, RESTORED)) or path in (
            *self.elsewhere,
            self.mnesia.folder if self.mnesia else "",
        )


def sources(context: Context) -> Sources:
    """What there is to be backed up. Raises `Failure` backup_failed where Mnesia keeps its tables elsewhere."""
    data = data_of(context)
    saved = mnesia_of(context.link) if context.site.node is not None else None
    if saved is not None and not saved.folder.startswith(data + "/"):
        message = "Mnesia's folder, {}, is not in the data folder, {}.".format(saved.folder, data)
        raise Failure("backup_failed", message, detail={"mnesia": saved.folder, "data": data})
    ours = tuple(os.path.realpath(path) for path in (context.site.backups, context.site.staging))
    return Sources(data, release.etc_of(context.site.base), saved, ours)


def lacking(wanted: Sources, is_down: bool) -> Optional[str]:
    """What is not where a backup would take it from, as a sentence; None where all is there.

    Of a node that is down the tables have to be in the data folder itself. If they are not, the folder may be another
    one than the node's, for its settings may be in an environment that can't be seen; or a link leads to them.
    """
    conf = os.path.join(wanted.etc, release.CONF)
    if not os.path.exists(conf):
        return "{} is not there.".format(conf)
    if not is_down:
        return None
    folder = os.path.join(wanted.data, "mnesia")
    tables = [folder, *(os.path.join(folder, name) for name in _names(folder))]
    if len(tables) == 1:
        return "There are no tables of Mnesia in {}.".format(folder)
    away = next((path for path in tables if os.path.realpath(path) != path), None)
    return None if away is None else "{} leads to {}, which is not copied.".format(away, os.path.realpath(away))


def _names(folder: str) -> List[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable([folder], error)


def leads_out(wanted: Sources, found: Found) -> bool:
    """Whether what was found is a link to something that no backup has."""
    if not stat.S_ISLNK(found.stat.st_mode) or not os.path.exists(found.source):
        return False
    return not (os.path.realpath(found.source) + "/").startswith((wanted.data + "/", wanted.etc + "/"))


def restored(context: Context) -> Tuple[Place, Place]:
    """The folders of the node that are restored: its settings and its data."""
    run, backups = context.request["run"], os.path.realpath(context.site.backups)
    folders = (("etc", release.etc_of(context.site.base)), ("data", data_of(context)))
    etc, data = (Place(name, path, run, _on_the_way(path, backups)) for name, path in folders)
    return etc, data


def _on_the_way(folder: str, path: str) -> Tuple[str, ...]:
    """The name in a folder by which the way to `path` goes; none where it does not lie in there."""
    inner = path[len(folder) + 1 :] if path.startswith(folder + "/") else ""
    return (inner.partition("/")[0],) if inner else ()


def data_of(context: Context) -> str:
    """The data folder, wherever a link of that name leads."""
    return os.path.realpath(context.site.data_dir)


def boots(base: str) -> str:
    """The version that a root boots now. Raises `Failure` as `release.read_tree`."""
    return release.read_tree(release.boot_chain(base)[-1]).version


def node_of(context: Context) -> Optional[str]:
    """The name of the node: of the one that runs, or as the inventory or the folder of its Mnesia has it."""
    told = context.result.node or context.request["node"].get("name")
    if told:
        return str(told)
    names = _names(os.path.join(context.site.data_dir, "mnesia"))
    return names[0] if len(names) == 1 and "@" in names[0] else None
