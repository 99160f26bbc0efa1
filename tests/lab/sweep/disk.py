"""What is on a node's disk, judged against the releases themselves."""

import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from relup_remote.core import cluster_lock, lock

DEPLOYED = ("bin", "lib", "releases")
"""The folders of a release that a tree has, besides ``erts-*``."""

STAMP = ".relup_remote.json"
JOURNAL = "journal.sqlite3"
TEMPORARY = ".relup_remote-"

Manifest = Mapping[str, str]
"""The files of a tree by name, each with its digest and whether it can be run."""


def manifest(tree: Path) -> Manifest:
    """All that a deployed tree holds, the tool's own stamp and trees below it left out."""
    found = {}
    for folder, _, names in os.walk(tree):
        inner = Path(folder).relative_to(tree)
        for name in names:
            path = Path(folder, name)
            if path != tree / STAMP:
                mode = "x" if os.access(path, os.X_OK) else "-"
                found[str(inner / name)] = mode + hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def of_release(unpacked: Path) -> Manifest:
    """What a deployed tree of an unpacked release has to hold."""
    return {
        name: digest
        for name, digest in manifest(unpacked).items()
        if name.split("/")[0] in DEPLOYED or name.startswith("erts-")
    }


def difference(found: Manifest, wanted: Manifest) -> str:
    """How a tree differs, in a phrase; empty where it does not."""
    counts = {
        "missing": len(wanted.keys() - found.keys()),
        "too many": len(found.keys() - wanted.keys()),
        "other": sum(found[name] != wanted[name] for name in found.keys() & wanted.keys()),
    }
    return ", ".join(f"{count} files {what}" for what, count in counts.items() if count)


def trees(root: Path) -> dict[str, Path]:
    """All below ``relup`` but the marker and what belongs to it, by name."""
    folder = root / "relup"
    return {path.name: path for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else {}


def marker(root: Path) -> str | None:
    """What the marker of a root says."""
    path = root / "relup" / "current"
    return path.read_text() if path.exists() else None


def attempts(ours: Path) -> list[dict[str, Any]]:
    """The rows of the history, oldest first."""
    if not (ours / JOURNAL).exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        # Whoever opens it finishes or undoes what a dead writer left; that is the tool's to do, not ours.
        for path in ours.glob(f"{JOURNAL}*"):
            shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder, JOURNAL))) as connection:
            connection.row_factory = sqlite3.Row
            # Whoever made the file may have ended before it held a table.
            if connection.execute("SELECT name FROM sqlite_master").fetchone() is None:
                return []
            return [dict(row) for row in connection.execute("SELECT * FROM attempts ORDER BY id")]


def unfinished(ours: Path) -> list[str]:
    """The runs whose attempt has not ended, by the history."""
    return [row["run"] for row in attempts(ours) if row["status"] != "finished"]


def leftovers(root: Path) -> list[str]:
    """What must not outlive a command that came to its end: temporary trees and files, work folders, locks."""
    ours = root / "data" / "relup_remote"
    found = [path for path in (root / "relup").glob("*") if path.name.startswith(TEMPORARY) or path.suffix == ".tmp"]
    found += [path for path in ours.rglob("*") if path.suffix in (".tmp", ".part")]
    found += [*(ours / "work").glob("*"), *ours.glob(cluster_lock.FILE)]
    if lock.holder(str(ours)) is not None:
        found.append(ours / "lock")
    return sorted({str(path.relative_to(root)) for path in found})
