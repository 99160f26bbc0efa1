"""A manifest whose paths lead out of the backup, or of the folder that is restored: refused, and nothing is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.backup import manifest
from relup_remote.core.backup.manifest import is_inside

from .backups import Node

Edit = Callable[[dict[str, Any]], Any]


def entry(says: dict[str, Any], path: str) -> dict[str, Any]:
    """What the manifest says of a file."""
    (found,) = [told for told in says["files"] if told["path"] == path]
    return dict[str, Any](found)


def moved(path: str) -> Edit:
    return lambda says: says["files"].append({**entry(says, "data/empty"), "path": path})


def below_a_link(says: dict[str, Any]) -> None:
    says["files"].append({"path": "data/out", "kind": "link", "target": "../../outside"})
    says["files"].append({**entry(says, "data/empty"), "path": "data/out/planted"})


def tables_below_a_link(says: dict[str, Any]) -> None:
    says["files"].append({"path": "data/out", "kind": "link", "target": "../../outside"})
    says["files"].append({**entry(says, "data/empty"), "path": manifest.TABLES})
    says["mnesia"] = {"saved": "tables", "folder": "out", "tables": 1}


def tables_elsewhere(says: dict[str, Any]) -> None:
    says["files"].append({**entry(says, "data/empty"), "path": manifest.TABLES})
    says["mnesia"] = {"saved": "tables", "folder": "../../outside", "tables": 1}


EDITS: dict[str, Edit] = {
    "up": moved("data/../../outside/planted"),
    "up at once": moved("../outside/planted"),
    "absolute": moved("/outside/planted"),
    "up at the end": moved("data/.."),
    "nothing": moved(""),
    "an empty name": moved("data//planted"),
    "NUL": moved("data/a\0b"),
    "no text": lambda says: says["files"].append({**entry(says, "data/empty"), "path": 7}),
    "neither data nor settings": moved("bin/emqx"),
    "twice": moved("data/empty"),
    "below a link": below_a_link,
    "tables below a link": tables_below_a_link,
    "tables elsewhere": tables_elsewhere,
    "tables that are not there": lambda says: says.update(mnesia={"saved": "tables", "folder": "mnesia", "tables": 1}),
    "an unknown kind": lambda says: says["files"].append({"path": "data/x", "kind": "device"}),
    "no entry": lambda says: says["files"].append("data/x"),
    "a mode that is none": lambda says: says["files"].append(
        {**entry(says, "data/empty"), "path": "data/x", "mode": "7"}
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, what: str) -> None:
    node = Node(tmp_path / "emqx")
    outside = tmp_path / "outside"
    outside.mkdir()
    node.run("backup")
    folder = node.backups / "run-1"
    says = manifest.read(str(folder))
    del says["format"]
    EDITS[what](says)
    manifest.write(str(folder), says)
    before = node.facts()
    assert "backup_damaged" in node.refused("restore", backup="run-1")
    assert (node.facts(), list(outside.iterdir())) == (before, [])


@pytest.mark.parametrize("path", ["a", "a/b", "..a/b..", "a b"])
def test_paths_that_stay_inside(path: str) -> None:
    assert is_inside(path)
