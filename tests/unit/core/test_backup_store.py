"""Backups as they lie on disk: which are whole, which is the newest, which go, and what an upgrade asks for."""

import io
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import checks
from relup_remote.core.backup import manifest, store
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure
from relup_remote.core.site import Site

NODE = "emqx@10.0.0.1"
HOUR = 3600


def backup(folder: Path, name: str, age: int = 0, node: str | None = NODE, release: str = "5.10.4") -> Path:
    """Puts a complete backup there, `age` seconds old."""
    path = folder / name
    (path / "data").mkdir(parents=True)
    (path / "data" / "a").write_text("abc")
    (path / "data" / "b").symlink_to("a")
    files = [
        {"path": "data", "kind": "folder", "mode": 0o700, "mtime": 1},
        {"path": "data/a", "kind": "file", "mode": 0o600, "mtime": 1, "size": 3, "sha256": "0" * 64},
        {"path": "data/b", "kind": "link", "target": "a"},
    ]
    says = {
        "name": name, "run": name, "operator": "alice@desk", "at": int((time.time() - age) * 1000), "node": node,
        "root": "/opt/emqx", "data_dir": "/opt/emqx/data", "etc_dir": "/opt/emqx/etc", "version": release,
        "marker": None, "release": release, "mnesia": {}, "bytes": 3, "changing": [], "files": files,
    }  # fmt: skip
    manifest.write(str(path), says)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "relup_backups"
    path.mkdir(mode=0o700)
    return path


def numbered(folder: Path, name: str, number: int, age: int = 0) -> None:
    """Puts a complete backup with a number there."""
    path = str(backup(folder, name, age))
    manifest.write(path, dict(manifest.read(path), number=number))


def kept(folder: Path) -> list[store.Backup]:
    return store.backups(str(folder))


def names(folder: Path) -> list[str]:
    return [found.name for found in kept(folder)]


# ------------------------------------------------------------------------------------------------- which are whole


def test_a_manifest_is_read_as_it_was_written(folder: Path) -> None:
    path = backup(folder, "run-1")
    found = manifest.read(str(path))
    assert (found["name"], found["format"], found["files"][1]["size"]) == ("run-1", manifest.FORMAT, 3)
    assert (path / manifest.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('"5.10.4"', '"5.10.5"'),
        lambda text: text[:-2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: "\udcff" + text,
    ],
)
def test_a_manifest_that_was_changed_makes_no_backup(folder: Path, spoil: Any) -> None:
    path = backup(folder, "run-1") / manifest.FILE
    path.write_text(spoil(path.read_text()), errors="surrogateescape")
    (found,) = kept(folder)
    assert found.says is None
    assert found.why.startswith(str(path))
    assert store.newest(kept(folder), NODE) is None


def test_a_manifest_of_right_digest_that_lacks_something(folder: Path) -> None:
    path = backup(folder, "run-1")
    says = manifest.read(str(path))
    del says["files"]
    manifest.write(str(path), says)
    assert "lacks required entries" in kept(folder)[0].why


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "data" / "a").unlink(),
        lambda path: (path / "data" / "a").write_text("abcd"),
        lambda path: (path / "data" / "b").unlink(),
        lambda path: (path / "data").rename(path / "elsewhere"),
    ],
)
def test_a_backup_that_lacks_files_is_not_whole(folder: Path, spoil: Any) -> None:
    spoil(backup(folder, "run-1"))
    (found,) = kept(folder)
    assert found.why.startswith("data")
    facts = found.facts()
    assert (facts["whole"], facts["node"], facts["why"]) == (False, NODE, found.why)
    assert store.newest(kept(folder), NODE) is None


def test_the_newest_is_of_the_node_and_of_the_release(folder: Path) -> None:
    backup(folder, "c-old", age=30)
    backup(folder, "b-new", age=20, release="5.10.5")
    backup(folder, "a-other", age=10, node="emqx@10.0.0.2")
    assert names(folder) == ["c-old", "b-new", "a-other"]

    def newest(*wanted: Any) -> str | None:
        found = store.newest(kept(folder), *wanted)
        return found and found.name

    assert newest(NODE) == "b-new"
    assert newest(NODE, "5.10.4") == "c-old"
    assert newest(None) == "a-other"
    assert newest("emqx@10.0.0.3") is None
    backup(folder, "d-nameless", node=None)
    assert newest("emqx@10.0.0.3") == "d-nameless"


def test_the_latest_is_not_passed_over_where_it_is_damaged(folder: Path) -> None:
    backup(folder, "old", age=20)
    (backup(folder, "damaged", age=10) / "data" / "a").unlink()
    backup(folder, store.PARTIAL + "cut")
    backup(folder, "other", node="emqx@10.0.0.2")
    newest, latest = store.newest(kept(folder), NODE), store.latest(kept(folder), NODE)
    assert (newest and newest.name, latest and latest.name) == ("old", "damaged")


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: path.write_text("{}")], ids=["gone", "not as written"])
def test_a_backup_that_lost_its_manifest_is_a_damaged_one_in_its_place(folder: Path, lost: Any) -> None:
    names_of_runs = [f"2026-11-2{day}T20-51-38-jnd8" for day in range(1, 4)]
    for number, name in enumerate(names_of_runs, 1):
        numbered(folder, name, number, age=40 - number)
    path = folder / names_of_runs[1]
    lost(path / manifest.FILE)
    os.utime(path, (time.time() - 38, time.time() - 37.5))
    assert names(folder) == names_of_runs
    assert not kept(folder)[1].whole
    assert not kept(folder)[1].cut_short
    newest = folder / names_of_runs[2]
    lost(newest / manifest.FILE)
    found = store.latest(kept(folder), NODE)
    assert found is not None
    assert (found.name, manifest.FILE in found.why) == (names_of_runs[2], True)
    assert store.remove_unfinished(str(folder)) == []
    assert store.damaged(str(folder)) == names_of_runs[1:]


def test_there_may_be_no_folder(tmp_path: Path) -> None:
    assert store.backups(str(tmp_path / "none")) == []
    assert store.newest(store.backups(str(tmp_path / "none")), NODE) is None


# ------------------------------------------------------------------------------------------------- which go


def test_what_was_cut_short_goes_and_what_is_damaged_stays(folder: Path) -> None:
    backup(folder, "whole")
    backup(folder, store.PARTIAL + "cut")
    (backup(folder, "damaged") / manifest.FILE).write_text("{}")
    # Whoever names a folder for backups that he has other things in keeps them.
    (folder / "mine").mkdir()
    (folder / "link").symlink_to("whole")
    assert {found.name: found.cut_short for found in kept(folder)} == {
        "whole": False,
        "cut": True,
        "damaged": False,
    }
    assert store.remove_unfinished(str(folder)) == ["cut"]
    assert (folder / "mine").is_dir()
    assert sorted(names(folder)) == ["damaged", "whole"]


def test_the_oldest_whole_ones_of_the_node_go(folder: Path) -> None:
    for age in range(5, 0, -1):
        backup(folder, f"run-{age}", age=age)
    backup(folder, "other", age=50, node="emqx@10.0.0.2")
    (backup(folder, "damaged", age=60) / "data" / "a").unlink()
    assert store.keep_newest(str(folder), NODE, 2, "run-1") == ["run-5", "run-4", "run-3"]
    assert sorted(names(folder)) == ["damaged", "other", "run-1", "run-2"]
    assert store.keep_newest(str(folder), NODE, 2, "run-1") == []


def test_the_one_just_made_stays_though_others_were_made_while_the_clock_was_ahead(folder: Path) -> None:
    for age in (-90_000, -80_000, 0):
        backup(folder, f"run{age}", age=age)
    assert store.keep_newest(str(folder), NODE, 2, "run0") == ["run-80000"]
    assert sorted(names(folder)) == ["run-90000", "run0"]


def test_the_newest_of_the_release_that_a_rollback_goes_back_to_is_kept(folder: Path) -> None:
    for number, release in enumerate(["5.10.4", "5.10.4", "5.10.5", "5.10.5", "5.10.5"]):
        backup(folder, f"run-{number}", age=9 - number, release=release)
    assert store.keep_newest(str(folder), NODE, 2, "run-4", "5.10.4") == ["run-0", "run-2"]
    assert store.keep_newest(str(folder), NODE, 2, "run-4", "5.10.4") == []
    assert store.keep_newest(str(folder), NODE, 2, "run-4") == ["run-1"]


# ------------------------------------------------------------------------------------------------- what is asked for


def refusals(folder: Path, **options: Any) -> tuple[list[Failure], dict[str, Any] | None]:
    """What stands in the way of an upgrade, of what it asks of backups, and the fact that it tells."""
    site = Site(str(folder.parent), str(folder.parent / "data"), None, None)
    context = Context({"run": "r", "options": options}, site, lambda _: None, io.BytesIO())
    context.result.node = NODE
    return checks.refusals(context, checks.OF_BACKUP), context.result.facts["backup"]


def test_without_a_backup(folder: Path) -> None:
    ((failure,), fact) = refusals(folder, backup_age=24 * HOUR)
    assert (failure.err_type, failure.stage, fact) == ("no_backup", "backup", None)
    assert refusals(folder) == ([], None)


def test_a_backup_of_another_node_does_not_count(folder: Path) -> None:
    backup(folder, "other", node="emqx@10.0.0.2")
    assert refusals(folder, backup_age=HOUR)[0][0].err_type == "no_backup"


def test_a_backup_that_is_too_old(folder: Path) -> None:
    backup(folder, "run-1", age=50 * HOUR)
    ((failure,), fact) = refusals(folder, backup_age=24 * HOUR)
    assert (failure.err_type, failure.message) == (
        "backup_too_old",
        "The newest complete backup, run-1, is 2 days old.",
    )
    assert fact is not None
    assert (fact["name"], fact["bytes"], fact["version"], fact["whole"]) == ("run-1", 3, "5.10.4", True)
    assert json.dumps(failure.detail)
    assert refusals(folder, backup_age=51 * HOUR)[0] == []


def test_a_young_backup_does(folder: Path) -> None:
    backup(folder, "run-1", age=50 * HOUR)
    backup(folder, "run-2", age=HOUR)
    found, fact = refusals(folder, backup_age=24 * HOUR)
    assert found == []
    assert fact is not None
    assert fact["name"] == "run-2"
    assert HOUR <= fact["age"] < HOUR + 600


def test_a_backup_that_is_damaged_does_not_count(folder: Path) -> None:
    (backup(folder, "run-1") / "data" / "a").unlink()
    assert refusals(folder, backup_age=HOUR)[0][0].err_type == "no_backup"


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"),
    (7199, "119 minutes"), (7200, "2 hours"), (172_800, "2 days")])  # fmt: skip
def test_how_long_that_is(seconds: int, said: str) -> None:
    assert store.duration(seconds) == said


# ------------------------------------------------------------------------------------------------- the order


def test_the_order_is_that_of_the_numbers_whatever_the_clock_was(folder: Path) -> None:
    numbered(folder, "first", 1, age=-60)
    numbered(folder, "second", 2, age=5 * HOUR)
    numbered(folder, "third", 3, age=HOUR)
    backup(folder, "of-an-earlier-version", age=-30)
    assert names(folder) == ["of-an-earlier-version", "first", "second", "third"]
    assert store.next_number(str(folder)) == 4
    removed = store.keep_newest(str(folder), NODE, 2, "third")
    assert removed == ["of-an-earlier-version", "first"]


def test_a_date_in_the_future_is_told_and_does_for_nothing(folder: Path) -> None:
    numbered(folder, "ahead", 2, age=-90 * 24 * HOUR)
    facts = kept(folder)[0].facts()
    assert (facts["whole"], facts["ahead"], facts["age"]) == (True, True, None)
    assert store.newest(kept(folder), NODE) is None
    assert store.latest(kept(folder), NODE) is None
    numbered(folder, "real", 1, age=HOUR)
    found = store.newest(kept(folder), NODE)
    assert found is not None
    assert found.name == "real"
    numbered(folder, "later", 3)
    assert store.keep_newest(str(folder), NODE, 1, "later") == ["real", "ahead"]


def test_a_folder_that_can_not_be_looked_into_is_not_an_empty_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> list[str]:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(Failure) as caught:
        store.backups(str(folder))
    assert (caught.value.err_type, caught.value.detail["paths"]) == ("cannot_read_file", [str(folder)])
    monkeypatch.undo()
    assert store.backups(str(folder / "absent")) == []


def test_a_backup_that_goes_or_gets_its_name_while_all_are_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(folder, "a")
    backup(folder, "b")
    (folder / f"{store.PARTIAL}c").mkdir()
    looked_at = store._is_ours

    def others(path: str, name: str) -> bool:
        """Another core ends just after we have seen what is there."""
        found = looked_at(path, name)
        shutil.rmtree(folder / name)
        return found

    assert set(names(folder)) == {"a", "b", "c"}
    monkeypatch.setattr(store, "_is_ours", others)
    assert names(folder) == []
