"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the folder in which a host's backups lie.

Backups are in the order of their numbers, which each one's manifest has: one more than the highest that was there. The
clock is no order: it may have been wrong when any of them was made. Backups of an earlier version of this tool have no
number; they come before all others, by their dates. One that is dated in the future counts as whole, but its age is not
known: it does for no upgrade, and no restore takes it unless it is named. One whose manifest can't be read has its
place by the date of its folder.

The folder may be one that holds other things as well: nothing in it is touched but backups, and what has a name that
begins as `PARTIAL`, which a backup has until it is whole, and while it is removed. A folder with the name of a run and
without a manifest is a damaged backup: it got that name only when it was whole.
"""

import os
import re
import stat
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ..files import remove_tree, rename
from ..opening import names_in
from ..protocol import Failure
from . import manifest
from .manifest import Manifest

PARTIAL = ".relup_backup-"

_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-[a-z0-9]{4}(-\d+)?")
"""The name of a backup: its run's, and a number where the run made several."""

AHEAD = 120
"""Seconds that a backup may be dated ahead of this host's clock, which may have been set back a little since."""


class Backup(NamedTuple):
    """A backup on disk: its `path`, its `name`, when it was made (`at`), what it `says` of itself where that can be
    read, `why` it is not whole.

    `at` is in milliseconds since the epoch: as it says, else as its folder has it. One that was `cut_short` is no
    backup yet, or no more.
    """

    path: str
    name: str
    at: int
    says: Optional[Manifest]
    why: str = ""
    cut_short: bool = False

    @property
    def whole(self) -> bool:
        """Whether all is there that the manifest names, by kind and size."""
        return not self.why

    @property
    def number(self) -> int:
        """Its place in the order; 0 where it has none."""
        return int((self.says or {}).get("number", 0))

    @property
    def is_ahead(self) -> bool:
        """Whether it is dated in the future."""
        return self.at / 1000 > time.time() + AHEAD

    def facts(self) -> Dict[str, Any]:
        """What is told of it: {"name", "path", "whole", "why", "at", "ahead", "age", "node", "version" …}.

        ``age`` is in seconds, None where it is dated in the future.
        """
        told = self.says or {}
        return {
            "name": self.name,
            "path": self.path,
            "whole": self.whole,
            "why": self.why,
            "cut_short": self.cut_short,
            "at": self.at,
            "node": told.get("node"),
            "version": told.get("release"),
            "bytes": told.get("bytes"),
            "number": self.number,
            "ahead": self.is_ahead,
            "age": None if self.is_ahead else max(0, int(time.time()) - self.at // 1000),
        }


def backups(folder: str) -> List[Backup]:
    """All that is in the folder of backups, whole or not, oldest first. Raises `Failure` cannot_read_file."""
    looked = [_look(os.path.join(folder, name)) for name in names_in(folder) if _is_ours(folder, name)]
    found = [backup for backup in looked if backup is not None]
    known = [backup for backup in found if backup.says is not None]

    def place(backup: Backup) -> Tuple[int, bool, int]:
        if backup.says is not None:
            return backup.number, False, backup.at
        return max([other.number for other in known if other.at <= backup.at] or [0]), True, backup.at

    return sorted(found, key=place)


def next_number(folder: str) -> int:
    """The number of the next backup in the folder."""
    return 1 + max([backup.number for backup in backups(folder)] or [0])


def newest(found: List[Backup], node: Optional[str], release: Optional[str] = None) -> Optional[Backup]:
    """The newest whole one of those `found` that is of a node, and of a release if one is given. None without one.

    One that is dated in the future is passed over.

    Whose name is not known, of the node or of the backup, may be any.
    """
    fitting = [backup for backup in found if backup.whole and not backup.is_ahead and _is_of(backup, node)]
    return next((backup for backup in reversed(fitting) if release in (None, (backup.says or {})["release"])), None)


def latest(found: List[Backup], node: Optional[str]) -> Optional[Backup]:
    """As `newest`, but one that is damaged counts as well: it is not passed over in silence."""
    fitting = [backup for backup in found if not backup.cut_short and not backup.is_ahead and _is_of(backup, node)]
    return fitting[-1] if fitting else None


def _is_of(backup: Backup, node: Optional[str]) -> bool:
    return backup.says is None or None in (node, backup.says["node"]) or node == backup.says["node"]


def remove_unfinished(folder: str) -> List[str]:
    """Removes copies that were cut short, and backups half removed. Returns their names."""
    removed = []
    for backup in backups(folder):
        if backup.cut_short:
            remove_tree(backup.path)
            removed.append(backup.name)
    return removed


def keep_newest(folder: str, node: Optional[str], count: int, made: str, base: Optional[str] = None) -> List[str]:
    """Removes the complete backups of a node but for the newest `count`; returns their names. Damaged ones are left.

    The one just `made` counts as the newest. Where `count` is 0 all are kept. The newest of the release `base` is kept
    beside them: a rollback goes back to that release, and needs the data of it.
    """
    needed = None if base is None else newest(backups(folder), node, base)
    whole = [backup for backup in backups(folder) if backup.whole and (backup.says or {})["node"] == node]
    whole.sort(key=lambda backup: backup.name == made)
    removed = []
    for backup in whole[:-count] if count else []:
        if needed is not None and backup.name == needed.name:
            continue
        partial = os.path.join(folder, PARTIAL + backup.name)
        rename(backup.path, partial)
        remove_tree(partial)
        removed.append(backup.name)
    return removed


def damaged(folder: str) -> List[str]:
    """The names of the backups that are not whole, and not cut short. They are left for the operator to look at."""
    return [backup.name for backup in backups(folder) if not backup.whole and not backup.cut_short]


def duration(seconds: int) -> str:
    """A span of time for a sentence."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return "{} {}".format(seconds // size, unit)
    return "{} seconds".format(seconds)


def _is_ours(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    if os.path.islink(path) or not os.path.isdir(path):
        return False
    if name.startswith(PARTIAL) or _NAME.fullmatch(name):
        return True
    return os.path.lexists(os.path.join(path, manifest.FILE))


def _look(path: str) -> Optional[Backup]:
    """The backup in a folder; None where it is gone: another core gives a backup its name, or removes one."""
    name = os.path.basename(path)
    try:
        at = int(os.lstat(path).st_mtime * 1000)
    except FileNotFoundError:
        return None
    if name.startswith(PARTIAL):
        return Backup(path, name[len(PARTIAL) :], at, None, "it was cut short", cut_short=True)
    try:
        says = manifest.read(path)
    except FileNotFoundError:
        return Backup(path, name, at, None, "it has no " + manifest.FILE) if os.path.lexists(path) else None
    except OSError as error:
        return Backup(path, name, at, None, "its manifest can't be read: {}".format(error.strerror))
    except Failure as failure:
        return Backup(path, name, at, None, failure.message)
    at = int(says["at"])
    lacking = next((file["path"] for file in says["files"] if not _is_there(path, file)), None)
    if lacking is not None:
        return Backup(path, name, at, says, "{} is missing or of another size".format(lacking))
    return Backup(path, name, at, says)


def _is_there(folder: str, file: Dict[str, Any]) -> bool:
    """Whether a file of a manifest is there, by kind and size; `check` compares what is in it too."""
    try:
        found = os.lstat(os.path.join(folder, file["path"]))
    except OSError:
        return False
    if file["kind"] == "file":
        return stat.S_ISREG(found.st_mode) and found.st_size == file["size"]
    return stat.S_ISLNK(found.st_mode) if file["kind"] == "link" else stat.S_ISDIR(found.st_mode)
