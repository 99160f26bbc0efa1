"""Payload, shipped to hosts (Python 3.6 and up, standard library only): whether a backup is what was written."""

import os
import stat
from typing import Dict, List

from . import manifest
from .copying import Progress, Told, digest_of


def damaged(folder: str, says: manifest.Manifest, progress: Progress) -> List[Dict[str, str]]:
    """All files of the backup in `folder` that are not what its manifest says, as {"path", "why"}. Reads every one."""
    found = []
    for told in says["files"]:
        why = _wrong_with(os.path.join(folder, told["path"]), told, progress)
        if why:
            found.append({"path": told["path"], "why": why})
    progress.tell()
    return found


def _wrong_with(path: str, told: Told, progress: Progress) -> str:
    try:
        found = os.lstat(path)
        if kind_of(found) != told["kind"]:
            return "it is not a {}".format(told["kind"])
        if told["kind"] == "link" and os.readlink(path) != told["target"]:
            return "it leads elsewhere"
        if told["kind"] == "file" and found.st_size != told["size"]:
            return "it has {} bytes, not {}".format(found.st_size, told["size"])
        if told["kind"] == "file" and digest_of(path, progress) != told["sha256"]:
            return "its contents have changed"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return "it can't be read: {}".format(error.strerror)
    return ""


def kind_of(found: os.stat_result) -> str:
    """What a manifest calls such a thing."""
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"))
    return next((kind for fits, kind in kinds if fits(found.st_mode)), "special file")
