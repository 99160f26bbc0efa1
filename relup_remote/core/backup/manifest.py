"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what a backup says of itself.

A backup is a folder with these in it::

    manifest.json    written last
    mnesia.BUP       the tables of a node that ran, as mnesia:backup/1 writes them
    data/            the node's data folder, without Mnesia's where its tables are in mnesia.BUP
    etc/             the node's settings

manifest.json is one object::

    {"format": 1, "name": "<run>", "run": "<run>", "operator": "alice@desk", "at": <ms since the epoch>,
     "node": "emqx@10.0.0.1" | null, "root": "/opt/emqx", "data_dir": "/opt/emqx/data", "etc_dir": "/opt/emqx/etc",
     "version": "5.10.4" | null, "marker": "5.10.4" | null, "release": "5.10.4",
     "mnesia": {"saved": "tables" | "files" | "none", "folder": "mnesia/emqx@10.0.0.1" | null, "tables": 17},
     "bytes": 1234567, "changing": ["data/log/trace.log"],
     "files": [{"path": "data/a", "kind": "file", "mode": 384, "mtime": <ns>, "size": 12, "sha256": "<64 hex>"},
               {"path": "data/b", "kind": "link", "target": "a"},
               {"path": "data/c", "kind": "folder", "mode": 448, "mtime": <ns>}],
     "sha256": "<64 hex>"}

``version`` is what ran, ``release`` what the data is of: that, or else what the root would have booted. ``changing``
names files that were being written to while they were copied. ``sha256`` is that of all the rest.
"""

import hashlib
import json
import os
from typing import Any, Dict

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
    if not all(isinstance(found.get(name), kind) for name, kind in _KINDS.items()):
        raise _damaged(path, "it lacks what it should say")
    return dict(found)


def _digest(said: Manifest) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode("utf-8")).hexdigest()


def _damaged(path: str, why: str) -> Failure:
    return Failure("backup_damaged", "{}: {}.".format(path, why), detail={"damaged": [{"path": path, "why": why}]})
