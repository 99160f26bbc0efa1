"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the folder in which a host's backups lie."""

import os
import stat
import time
from typing import Any, Dict, List, NamedTuple, Optional

from ..files import remove_file, remove_tree, sync_dir
from ..protocol import Failure
from . import manifest
from .manifest import Manifest


class Backup(NamedTuple):
    """A backup on disk: its `path`, its `name`, what it `says` of itself, or `why` it is not whole."""

    path: str
    name: str
    says: Optional[Manifest]
    why: str

    def facts(self) -> Dict[str, Any]:
        """What is told of it: {"name", "path", "whole", "why", "at", "node", "version", "bytes", "age"}."""
        told = self.says or {}
        age = None if self.says is None else max(0, int(time.time()) - self.says["at"] // 1000)
        return {
            "name": self.name,
            "path": self.path,
            "whole": self.says is not None,
            "why": self.why,
            "at": told.get("at"),
            "node": told.get("node"),
            "version": told.get("release"),
            "bytes": told.get("bytes"),
            "age": age,
        }


def backups(folder: str) -> List[Backup]:
    """All that is in the folder of backups, whole or not, oldest first; those without a time come first."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names]
    found = [_look(path) for path in paths if os.path.isdir(path) and not os.path.islink(path)]
    return sorted(found, key=lambda backup: (backup.says or {}).get("at", 0))


def newest(folder: str, node: Optional[str], release: Optional[str] = None) -> Optional[Backup]:
    """The newest whole backup of a node, and of a release if one is given. None where there is none.

    Whose name is not known, of the node or of the backup, may be any.
    """
    for backup in reversed(backups(folder)):
        says = backup.says
        if says and (None in (node, says["node"]) or node == says["node"]) and release in (None, says["release"]):
            return backup
    return None


def remove_unfinished(folder: str) -> List[str]:
    """Removes what has no manifest: copies that were cut short, and backups half removed. Returns their names."""
    removed = []
    for backup in backups(folder):
        if not os.path.lexists(os.path.join(backup.path, manifest.FILE)):
            remove_tree(backup.path)
            removed.append(backup.name)
    return removed


def keep_newest(folder: str, node: Optional[str], count: int) -> List[str]:
    """Removes the whole backups of a node but for the newest `count`; returns their names. Damaged ones are left."""
    whole = [backup for backup in backups(folder) if backup.says and backup.says["node"] == node]
    removed = []
    for backup in whole[: max(0, len(whole) - count)]:
        # The manifest first: what is half removed is no backup.
        remove_file(os.path.join(backup.path, manifest.FILE))
        sync_dir(backup.path)
        remove_tree(backup.path)
        removed.append(backup.name)
    return removed


def duration(seconds: int) -> str:
    """A span of time for a sentence."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return "{} {}".format(seconds // size, unit)
    return "{} seconds".format(seconds)


def _look(path: str) -> Backup:
    name = os.path.basename(path)
    try:
        says = manifest.read(path)
    except OSError as error:
        return Backup(path, name, None, "its manifest can't be read: {}".format(error.strerror))
    except Failure as failure:
        return Backup(path, name, None, failure.message)
    lacking = next((file["path"] for file in says["files"] if not _is_there(path, file)), None)
    if lacking is not None:
        return Backup(path, name, None, "{} is missing or of another size".format(lacking))
    return Backup(path, name, says, "")


def _is_there(folder: str, file: Dict[str, Any]) -> bool:
    """Whether a file of a manifest is there, by kind and size; `check` compares what is in it too."""
    try:
        found = os.lstat(os.path.join(folder, file["path"]))
    except OSError:
        return False
    if file["kind"] == "file":
        return stat.S_ISREG(found.st_mode) and found.st_size == file["size"]
    return stat.S_ISLNK(found.st_mode) if file["kind"] == "link" else stat.S_ISDIR(found.st_mode)
