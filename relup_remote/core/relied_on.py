"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what a proof that a tree boots relies on.

A wrapper that reads the configuration is a VM that starts, and takes seconds. So a proof holds for a while, as long as
nothing of this has changed, as far as the file system tells without reading it all:

- the files of the tree, and of the base what its wrapper is,
- the files in the configuration's folder and in the data folder's ``configs``,
- the VM, whose environment has settings, and the process that serves a run's requests, which has ours.

A file that is written anew has another time of change; only somebody who sets the clock could hide that. What can't be
told this way is not relied on: a configuration that includes files from elsewhere, or links to folders.
"""

import hashlib
import os
import re
import stat
from typing import List, Optional, Tuple

from . import processes
from .files import tree_files
from .opening import read_small
from .protocol import Failure
from .site import STAMP, Site

_OF_THE_BASE = ("bin", "releases/emqx_vars")
_OF_THE_DATA = "configs"
_NOT_OF_THE_TREE = "{}/log".format(STAMP)
_MOST_FILES = 5000
"""In folders of configurations."""

_ELSEWHERE = re.compile(rb"^(?!\s*(?:#|//)).*(?:\binclude\b|\bfile\s*\(|file:)", re.MULTILINE)
"""HOCON that takes in a file, and a value that is one's content."""


def digest(tree: str, site: Site, etc: str) -> Optional[str]:
    """A digest of all that the proof of a deployed tree relies on; None where more may matter than can be told.

    `etc` is the configuration's folder.
    """
    if tree == site.base or site.node is None:
        return None
    parent = os.getppid()
    who = [os.geteuid(), site.node.os_pid, site.node.started, parent, processes.started("/proc/{}".format(parent))]
    hasher = hashlib.sha256("{}\n".format(who).encode("utf-8"))
    try:
        configurations = [*_files(etc), *_files(os.path.join(site.data_dir, _OF_THE_DATA))]
        if len(configurations) > _MOST_FILES or any(_leads_elsewhere(path) for path, _ in configurations):
            return None
        of_base = [each for name in _OF_THE_BASE for each in _files(os.path.join(site.base, name))]
        for path, found in [*configurations, *of_base, *sorted(tree_files(tree, leave_out=_NOT_OF_THE_TREE))]:
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
                return None
            about = [found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, found.st_size]
            line = "{}\0{}{}{}\n".format(path, about, found.st_mtime_ns, found.st_ctime_ns)
            hasher.update(line.encode("utf-8", "surrogateescape"))
    except (Failure, OSError):
        return None
    return hasher.hexdigest()


def _files(path: str) -> List[Tuple[str, os.stat_result]]:
    """A file, or all below a folder. Of a link there is what it is, and what it leads to."""
    if not os.path.isdir(path):
        return [(path, os.lstat(path)), (path, os.stat(path))]
    below = [(os.path.join(path, name), found) for name, found in tree_files(os.path.realpath(path))]
    links = [(name, os.stat(name)) for name, found in below if stat.S_ISLNK(found.st_mode)]
    return sorted(below + links, key=lambda each: each[0])


def _leads_elsewhere(path: str) -> bool:
    return path.endswith((".conf", ".hocon")) and bool(_ELSEWHERE.search(read_small(path, links=True) or b""))
