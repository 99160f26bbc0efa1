"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what a backup says of itself.

A backup is a folder with these in it::

    manifest.json    written last
    mnesia.BUP       the tables of a node that ran, as mnesia:backup/1 writes them (see mnesia.py)
    data/            the node's data folder, without Mnesia's where its tables are in mnesia.BUP
    etc/             the node's settings

manifest.json is one object::

    {"format": 1, "number": 12, "name": "<run>", "run": "<run>", "operator": "alice@desk", "at": <ms since the epoch>,
     "node": "emqx@10.0.0.1" | null, "root": "/opt/emqx", "data_dir": "/opt/emqx/data", "etc_dir": "/opt/emqx/etc",
     "mounts": {"data": {"point": "/opt/emqx/data", "within": ["mnesia"], "on_root": false},
                "etc": {"point": "/", "within": [], "on_root": true}},
     "version": "5.10.4" | null, "marker": "5.10.4" | null, "release": "5.10.4",
     "mnesia": {"saved": "tables" | "files" | "none", "folder": "mnesia/emqx@10.0.0.1" | null, "tables": 17,
                "by_table": {"emqx_session": {"storage": "disc_copies", "saved": "snapshot" | "rows" | "definition"}}},
     "bytes": 1234567, "changing": ["data/log/trace.log"],
     "files": [{"path": "data/a", "kind": "file", "mode": 384, "mtime": <ns>, "size": 12, "sha256": "<64 hex>"},
               {"path": "data/b", "kind": "link", "target": "a"},
               {"path": "data/c", "kind": "folder", "mode": 448, "mtime": <ns>}],
     "sha256": "<64 hex>"}

``number`` is its place in the order of the backups there, see store.py. ``mounts`` says on which file systems the
folders lay, see mounts.py; older backups do not say it. ``version`` is what ran, ``release`` what the
data is of: that, or else what the root would have booted. ``by_table`` says of each table how it was saved, see
mnesia.py. ``changing`` names files that were being written to while they were copied. ``sha256`` is that of all the
rest.
"""

import hashlib
import json
import os
from typing import Any, Dict, Iterator, Optional

from ..files import write_whole
from ..opening import open_ours
from ..protocol import Failure

FILE = "manifest.json"
TABLES = "mnesia.BUP"
FORMAT = 1

Manifest = Dict[str, Any]

_MAX_BYTES = 256 << 20
"""As much as is read of a manifest: a million files have less to say."""

_KINDS: Dict[str, Any] = {
    "name": str,
    "run": str,
    "operator": str,
    "at": int,
    "root": str,
    "data_dir": str,
    "etc_dir": str,
    "release": str,
    "mnesia": dict,
    "bytes": int,
    "changing": list,
    "files": list,
}


def write(folder: str, manifest: Manifest) -> None:
    """Makes the backup in `folder` a whole one. Raises `Failure` as `write_whole`."""
    said = dict(manifest, format=FORMAT)
    whole = dict(said, sha256=_digest(said))
    write_whole(os.path.join(folder, FILE), json.dumps(whole, sort_keys=True, indent=1).encode("utf-8"))


def read(folder: str) -> Manifest:
    """What the backup in `folder` says of itself.

    Raises `Failure` backup_damaged, untrusted_file, and OSError where there is no manifest to be read.
    """
    path = os.path.join(folder, FILE)
    with os.fdopen(open_ours(path, os.O_RDONLY), "rb") as file:
        content = file.read(_MAX_BYTES)
    try:
        found = json.loads(content.decode("utf-8"))
        told = found.pop("sha256")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise _damaged(path, "it is not what was written")
    if found.get("format") != FORMAT:
        raise _damaged(path, "its format, {}, is not known".format(found.get("format")))
    if told != _digest(found):
        raise _damaged(path, "it is not what was written")
    number, mounts = found.get("number", 0), found.get("mounts", {})
    is_right = all(isinstance(found.get(name), kind) for name, kind in _KINDS.items())
    if not is_right or not isinstance(number, int) or not isinstance(mounts, dict):
        raise _damaged(path, "it lacks required entries")
    wrong = _wrong_path(found)
    if wrong is not None:
        raise _damaged(path, wrong)
    return dict(found)


_OF_KINDS: Dict[str, Dict[str, Any]] = {
    "file": {"mode": int, "mtime": int, "size": int, "sha256": str},
    "link": {"target": str},
    "folder": {"mode": int, "mtime": int},
}


def _wrong_path(found: Manifest) -> Optional[str]:
    """Why what is named would not lie in the backup, and in the folder that is restored; None where all does.

    Nothing leads up, nothing is given twice, and nothing lies below a link, through which it would be written
    elsewhere.
    """
    links, seen = set(), set()
    for told in found["files"]:
        kind = told.get("kind") if isinstance(told, dict) else None
        if kind not in _OF_KINDS or not all(type(told.get(key)) is of for key, of in _OF_KINDS[kind].items()):
            return "it does not say what {!r} is".format(told)
        path = told.get("path")
        if not is_inside(path) or path.partition("/")[0] not in ("data", "etc", TABLES):
            return "it names {!r}, which is outside of the backup".format(path)
        if path in seen:
            return "it names {!r} twice".format(path)
        seen.add(path)
        if kind == "link":
            links.add(path)
    saved, folder = (found["mnesia"].get(key) for key in ("saved", "folder"))
    if folder is not None:
        if not is_inside(folder):
            return "it names {!r}, which is outside of the backup".format(folder)
        seen.add("data/{}/{}".format(folder, TABLES))
    if saved == "tables" and (folder is None or TABLES not in seen):
        return "it does not describe the tables"
    through = next((path for path in sorted(seen) for above in _above(path) if above in links), None)
    return None if through is None else "it names {!r}, which lies below a link".format(through)


def is_inside(path: Any) -> bool:
    """Whether a path that was read leads from a folder to what is in it."""
    return isinstance(path, str) and "\0" not in path and not {"", ".", ".."} & set(path.split("/"))


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _digest(said: Manifest) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8")).hexdigest()


def _damaged(path: str, why: str) -> Failure:
    return Failure("backup_damaged", "{}: {}.".format(path, why), detail={"damaged": [{"path": path, "why": why}]})
