"""Backing up and restoring a node that is down: what is copied, what is refused, and what a cut leaves."""

import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import checks, commands, files
from relup_remote.core.backup import copying, manifest, state, store, swap
from relup_remote.core.erlang.link import Peer
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode
from relup_remote.core.steps import restore
from tests.points import Points

from .backups import NODE, Node, in_memory
from .others import NOBODY, as_root


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory: these tests wait for the disk at each step."""
    with in_memory(tmp_path) as folder:
        yield folder


def saved(node: Node, name: str = "run-1") -> dict[str, dict[str, Any]]:
    """What the manifest of a backup says of each file."""
    return {told["path"]: told for told in manifest.read(str(node.backups / name))["files"]}


# ------------------------------------------------------------------------------------------------- backing up


def test_all_is_copied_and_told(node: Node) -> None:
    context = node.run("backup")
    assert context.result.outcome == "backed up"
    says = manifest.read(str(node.backups / "run-1"))
    assert (says["node"], says["root"], says["release"], says["version"], says["marker"]) == (
        NODE, str(node.root), "5.10.4", None, None
    )  # fmt: skip
    assert says["mnesia"] == {"saved": "files", "folder": None, "tables": None, "by_table": {}}
    assert says["operator"] == "alice@desk"
    found = saved(node)
    copied = node.backups / "run-1"
    for path, told in found.items():
        original, copy = node.root / path, copied / path
        if told["kind"] == "file":
            content = original.read_bytes()
            assert copy.read_bytes() == content
            assert (told["size"], told["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
            assert (told["mode"], told["mtime"]) == (
                stat.S_IMODE(original.stat().st_mode), original.stat().st_mtime_ns
            )  # fmt: skip
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert {path: told["target"] for path, told in found.items() if told["kind"] == "link"} == {
        "data/link": "configs/cluster.hocon", "data/dangling": "/nowhere"
    }  # fmt: skip
    assert found["etc/certs"] == {
        "path": "etc/certs", "kind": "folder", "mode": 0o500, "mtime": (node.etc / "certs").stat().st_mtime_ns
    }  # fmt: skip
    assert says["bytes"] == sum(told.get("size", 0) for told in found.values())
    assert stat.S_IMODE(copied.stat().st_mode) == stat.S_IMODE(node.backups.stat().st_mode) == 0o700
    progress = [event for event in node.events if event["event"] == "progress"]
    assert progress[-1] == {
        "event": "progress", "step": "backup", "done": says["bytes"], "total": says["bytes"], "unit": "bytes"
    }  # fmt: skip


def test_pipes_sockets_and_what_is_ours_or_put_aside_is_left_out_and_the_history_is_not(node: Node) -> None:
    os.mkfifo(node.data / "pipe")
    folder = os.open(node.data, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        # By a short name: that of a socket may have no more than a hundred characters.
        listening.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        ours = node.data / "relup_remote"
        (ours / "staging").mkdir(parents=True, mode=0o700)
        ours.chmod(0o700)
        (ours / "staging" / "emqx.tar.gz").write_text("big")
        (node.data / "relup_before-run-0").mkdir()
        (node.etc / "relup_restored-run-0").mkdir()
        node.context("backup").journal.begin("run-0", "bob", "5.10.3", "5.10.4", {})
        node.run("backup")
    names = [path for path in saved(node) if "relup_" in path or path.endswith(("pipe", "socket"))]
    assert names == ["data/relup_remote", "data/relup_remote/journal.sqlite3"]


def test_a_backup_folder_within_the_data_is_left_out(node: Node) -> None:
    context = node.context("backup")
    context.site.backups = str(node.data / "keep" / "n1")
    commands.run(context)
    says = manifest.read(str(node.data / "keep" / "n1" / "run-1"))
    assert "data/keep" in [told["path"] for told in says["files"]]
    assert not [told for told in says["files"] if told["path"].startswith("data/keep/")]


def test_a_run_may_make_several(node: Node) -> None:
    names = [node.run("backup").result.facts["backup"]["name"] for _ in range(3)]
    assert names == ["run-1", "run-1-2", "run-1-3"]
    assert {path.name for path in node.backups.iterdir()} == {"lock", *names}


def test_only_the_newest_are_kept(node: Node) -> None:
    removed = [node.run("backup", f"run-{number}", keep=2).result.steps[-1].detail["removed"] for number in range(5)]
    assert removed == [[], [], ["run-0"], ["run-1"], ["run-2"]]
    assert {path.name for path in node.backups.iterdir()} == {"lock", "run-3", "run-4"}


def test_the_backup_from_before_an_upgrade_is_kept_while_there_is_a_way_back(node: Node) -> None:
    node.run("backup", "before")
    node.deploy("5.10.5")
    for number in range(4):
        node.run("backup", f"run-{number}", keep=2)
    assert {path.name for path in node.backups.iterdir()} == {"lock", "before", "run-2", "run-3"}
    (node.root / "relup" / "current").unlink()
    node.run("backup", "after", keep=2)
    assert {path.name for path in node.backups.iterdir()} == {"lock", "run-3", "after"}


def growing(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    """Lets a file grow each time that it is copied, so many times."""
    original = copying._copy_file
    grown: list[str] = []

    def copy_file(source: str, target: str, progress: copying.Progress) -> Any:
        copied = original(source, target, progress)
        if source == str(path) and len(grown) < times:
            grown.append(source)
            with path.open("a") as file:
                file.write("more")
            return (*copied[:3], os.lstat(source))
        return copied

    monkeypatch.setattr(copying, "_copy_file", copy_file)


@pytest.mark.parametrize(("times", "told"), [(2, []), (99, ["data/configs/cluster.hocon"])])
def test_a_file_that_changes_is_copied_again_and_told_if_it_does_not_stop(
    node: Node, monkeypatch: pytest.MonkeyPatch, times: int, told: list[str]
) -> None:
    path = node.data / "configs" / "cluster.hocon"
    growing(monkeypatch, path, times)
    context = node.run("backup")
    assert manifest.read(str(node.backups / "run-1"))["changing"] == told
    assert ["cluster.hocon" in warning["message"] for warning in context.result.warnings] == [True] * len(told)
    assert node.run("backup-verify").result.outcome == "verified"


def test_a_file_that_goes_while_it_is_copied_is_no_failure(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = node.data / "empty"
    original = copying._copy_file

    def copy_file(source: str, target: str, progress: copying.Progress) -> Any:
        if source == str(gone):
            gone.unlink()
        return original(source, target, progress)

    monkeypatch.setattr(copying, "_copy_file", copy_file)
    node.run("backup")
    assert "data/empty" not in saved(node)
    assert node.run("backup-verify").result.outcome == "verified"


def test_a_backup_that_fails_leaves_no_folder(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise Failure("disk_full")

    monkeypatch.setattr(copying, "_copy_file", fail)
    with pytest.raises(Failure):
        node.run("backup")
    assert store.backups(str(node.backups)) == []


def test_what_was_cut_short_is_removed_by_the_next(node: Node) -> None:
    node.run("backup")
    (node.backups / (store.PARTIAL + "run-0") / "data").mkdir(parents=True)
    assert node.run("backup", "run-2").result.steps[-1].detail["unfinished"] == ["run-0"]
    assert {path.name for path in node.backups.iterdir()} == {"lock", "run-1", "run-2"}


def test_all_refusals_of_a_backup_at_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    monkeypatch.setattr(checks, "may_write", lambda path: False)
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("key.pem"))
    assert node.refused("backup") == ["no_write_permission", "disk_full", "cannot_read_file"]
    assert not node.backups.exists()


# ------------------------------------------------------------------------------------------------- verifying


Damage = Callable[[Path], object]


def instead(make: Damage) -> Damage:
    """Puts something else in the place of what is there."""

    def damage(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        make(path)

    return damage


DAMAGE: dict[str, tuple[str, Damage]] = {
    "contents": ("data/mnesia/emqx1@127.0.0.1/schema.DAT", lambda path: path.write_bytes(bytes(300_000))),
    "cut": ("data/configs/cluster.hocon", lambda path: path.write_text("re")),
    "longer": ("data/empty", lambda path: path.write_text("x")),
    "missing": ("etc/emqx.conf", Path.unlink),
    "a link in place of a file": ("etc/emqx.conf", instead(lambda path: path.symlink_to("/etc/hosts"))),
    "a pipe in place of a file": ("etc/emqx.conf", instead(os.mkfifo)),
    "a link that leads elsewhere": ("data/link", instead(lambda path: path.symlink_to("elsewhere"))),
    "a file in place of a link": ("data/dangling", instead(Path.touch)),
    "a folder is missing": ("data/configs", shutil.rmtree),
    "a file in place of a folder": ("etc", instead(Path.touch)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_named(node: Node, kind: str) -> None:
    path, damage = DAMAGE[kind]
    node.run("backup")
    damage(node.backups / "run-1" / path)
    with pytest.raises(Failure) as caught:
        node.run("backup-verify")
    assert caught.value.err_type == "backup_damaged"
    assert path in [item["path"] for item in caught.value.detail["damaged"]]
    assert path in caught.value.message
    before = node.facts()
    assert node.refused("restore") == ["backup_damaged"]
    assert node.facts() == before


def test_a_restore_says_what_it_would_refuse_and_changes_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert node.refused("restore", dry_run=True) == ["no_backup"]
    node.run("backup")
    before = node.facts()
    ready = node.run("restore", dry_run=True).result
    assert (ready.outcome, ready.steps, [each["name"] for each in ready.facts["backups"]]) == ("ready", [], ["run-1"])
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    assert node.refused("restore", dry_run=True) == ["disk_full"]
    monkeypatch.undo()
    (node.backups / "run-1" / "data/mnesia/emqx1@127.0.0.1/schema.DAT").unlink()
    assert node.refused("restore", dry_run=True) == ["backup_damaged"]
    node.deploy("5.10.5")
    assert node.refused("restore", dry_run=True) == ["backup_damaged", "backup_version_differs"]
    # A look makes no folder, takes nothing aside, and leaves no row.
    assert {name: node.facts()[name] for name in before} == before


def test_a_damaged_manifest_is_named(node: Node) -> None:
    node.run("backup")
    path = node.backups / "run-1" / manifest.FILE
    path.write_text(path.read_text().replace("alice", "mallory"))
    with pytest.raises(Failure) as caught:
        node.run("backup-verify")
    assert (caught.value.err_type, caught.value.detail["damaged"][0]["path"]) == ("backup_damaged", str(path))
    assert node.refused("restore")[0] == "backup_damaged"


def test_a_manifest_that_is_gone_is_told_by_all_commands_of_backups(node: Node) -> None:
    name = "2026-11-29T20-51-38-jnd8"
    node.run("backup")
    node.run("backup", name)
    (node.backups / name / manifest.FILE).unlink()
    listed = node.run("backups").result.facts["backups"]
    assert [(each["name"], each["why"]) for each in listed] == [(name, "it has no manifest.json"), ("run-1", "")]
    with pytest.raises(Failure) as caught:
        node.run("backup-verify")
    assert (caught.value.err_type, name in caught.value.message) == ("backup_damaged", True)
    assert node.refused("restore", dry_run=True)[0] == "backup_damaged"
    assert node.run("backup-verify", backup="run-1").result.outcome == "verified"
    made = node.run("backup", "run-2", keep=1).result
    assert f"does not remove them: {name}." in made.warnings[0]["message"]
    assert (node.backups / name).is_dir()
    assert node.run("backup-verify").result.facts["backup"]["name"] == "run-2"


@as_root
def test_where_the_data_is_gone_the_backups_tell_whose_it_was(node: Node) -> None:
    node.run("backup")
    os.chown(node.backups, NOBODY, -1)
    assert node.context("restore").site.owner() == os.geteuid()
    shutil.rmtree(node.data)
    assert node.context("restore").site.owner() == NOBODY


def test_without_a_backup_there_is_nothing_to_verify(node: Node) -> None:
    for name in ("", "run-1", "../etc"):
        with pytest.raises(Failure) as caught:
            node.run("backup-verify", backup=name)
        assert caught.value.err_type == "no_backup"
        assert caught.value.hint is not None and "--no-backup" not in caught.value.hint, "an option of upgrade"
        assert "`inv backup`" in caught.value.hint, "a list of none helps nobody"
    node.run("backup")
    with pytest.raises(Failure) as caught:
        node.run("backup-verify", backup="run-2")
    assert caught.value.hint is not None and "`inv backup.list`" in caught.value.hint


# ------------------------------------------------------------------------------------------------- restoring


def test_all_is_as_it_was_and_what_was_there_is_put_aside(node: Node) -> None:
    before = node.facts()
    node.run("backup")
    (node.data / "configs" / "cluster.hocon").write_text("retained = 2")
    (node.data / "new").write_text("since")
    (node.data / "link").unlink()
    context = node.run("restore", "run-2")
    assert context.result.outcome == "restored"
    assert node.facts() == before
    aside = node.data / "relup_before-run-2"
    assert (aside / "configs" / "cluster.hocon").read_text() == "retained = 2"
    assert (aside / "new").read_text() == "since"
    assert (node.etc / "relup_before-run-2" / "emqx.conf").read_text() == "node.name = a"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert context.result.steps[-1].detail["aside"] == [str(aside), str(node.etc / "relup_before-run-2")]
    row = context.journal.rows()[-1]
    assert (row["result"], row["target_vsn"], row["options"]) == (
        "success", "5.10.4", {"restore": "run-1", "force": False}
    )  # fmt: skip


def test_data_and_settings_may_be_gone(node: Node) -> None:
    before = node.facts()
    node.context("backup").site.make_ours()
    node.context("backup").journal.begin("run-0", "bob", "5.10.3", "5.10.4", {})
    node.run("backup")
    shutil.rmtree(node.data)
    (node.etc / "certs").chmod(0o700)
    shutil.rmtree(node.etc)
    context = node.run("restore", "run-2")
    assert node.facts() == before
    assert context.result.steps[-1].detail["aside"] == []
    # The history of the backup goes on, for there was none.
    assert [row["run"] for row in context.journal.rows()] == ["run-0", "run-2"]


def test_a_history_that_is_there_is_not_replaced_by_that_of_the_backup(node: Node) -> None:
    node.run("backup")
    node.context("restore").journal.begin("run-5", "bob", "5.10.4", "5.10.5", {})
    context = node.run("restore", "run-6")
    assert [row["run"] for row in context.journal.rows()] == ["run-5", "run-6"]


def test_the_tables_become_what_mnesia_starts_from(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run("backup")
    folder = node.backups / "run-1"
    shutil.rmtree(folder / "data" / "mnesia")
    (folder / manifest.TABLES).write_bytes(b"tables")
    says = manifest.read(str(folder))
    says["files"] = [told for told in says["files"] if not told["path"].startswith("data/mnesia")]
    says["files"].append(copying.told_of(manifest.TABLES, str(folder / manifest.TABLES), quiet()))
    says["mnesia"] = {"saved": "tables", "folder": f"mnesia/{NODE}", "tables": 1}
    manifest.write(str(folder), says)
    # It writes them once more when it starts, which takes as much room again.
    needed = says["bytes"] + len(b"tables") + files.SPARE_BYTES
    with monkeypatch.context() as little:
        little.setattr(files, "free_bytes", lambda path: needed - 1)
        assert node.refused("restore") == ["disk_full"]
        little.setattr(files, "free_bytes", lambda path: needed)
        node.run("restore", "run-2")
    assert {path.name: path.read_bytes() for path in (node.data / "mnesia" / NODE).iterdir()} == {
        "FALLBACK.BUP": b"tables"
    }


def quiet() -> copying.Progress:
    return copying.Progress(lambda event: None, "backup", 0)


def test_a_backup_is_chosen_by_name(node: Node) -> None:
    node.run("backup")
    (node.data / "new").write_text("since")
    node.run("backup", "run-2")
    node.run("restore", "run-3", backup="run-1")
    assert not (node.data / "new").exists()
    node.run("restore", "run-4")
    assert (node.data / "new").read_text() == "since"


def test_a_backup_of_another_release_or_root_needs_force(node: Node) -> None:
    node.run("backup")
    folder = str(node.backups / "run-1")
    manifest.write(folder, dict(manifest.read(folder), root="/opt/other"))
    node.deploy("5.10.5")
    before = node.facts()
    assert node.refused("restore") == ["backup_of_another_node", "backup_version_differs"]
    assert node.facts() == before
    assert node.run("restore", restore_force=True).result.outcome == "restored"


def test_a_backup_of_another_name_is_refused_even_so(node: Node) -> None:
    node.run("backup")
    folder = str(node.backups / "run-1")
    manifest.write(folder, dict(manifest.read(folder), node="emqx2@127.0.0.1"))
    assert node.refused("restore", backup="run-1", restore_force=True) == ["backup_of_another_node"]
    assert node.refused("restore", restore_force=True) == ["no_backup"]


def test_no_room_is_refused_before_anything_is_copied(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run("backup")
    monkeypatch.setattr(files, "free_bytes", lambda path: 1000)
    assert node.refused("restore") == ["disk_full"]


def test_a_restore_that_fails_before_anything_is_moved_leaves_no_copies(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.run("backup")
    before = node.facts()

    def fail(*_: Any) -> None:
        raise Failure("disk_full")

    monkeypatch.setattr(restore, "sync_all", fail)
    context = node.context("restore", "run-2")
    with pytest.raises(Failure):
        commands.run(context)
    assert not context.changed
    assert node.facts() == before
    assert not list(node.root.glob("*/relup_*-*"))


def test_a_lock_of_another_run_keeps_the_restore_away(node: Node) -> None:
    node.run("backup")
    ours = node.data / "relup_remote"
    (ours / "cluster_lock").write_text('{"run": "run-8", "operator": "bob@desk", "since": 1, "why": "disks"}')
    with pytest.raises(Failure) as caught:
        node.run("restore", "run-9")
    assert caught.value.err_type == "cluster_locked"
    assert node.refused("restore", dry_run=True) == ["cluster_locked"]
    node.vm = silent(node)
    assert node.refused("restore", dry_run=True) == ["cluster_locked", "node_running"]


def silent(node: Node) -> RunningNode:
    """A VM that does not answer."""
    peer = Peer(NODE, "", "/none", list)
    return RunningNode(os.getpid(), os.getuid(), NODE, str(node.root), str(node.root), str(node.data), peer)


def test_the_backups_of_a_node_that_does_not_answer_can_be_looked_at(node: Node) -> None:
    node.run("backup")
    node.vm = silent(node)
    assert [each["name"] for each in node.run("backups").result.facts["backups"]] == ["run-1"]
    assert node.run("backup-verify").result.outcome == "verified"
    with pytest.raises(Failure) as caught:
        node.run("backup", "run-2")
    assert caught.value.err_type == "node_unreachable"


# ------------------------------------------------------------------------------------------------- being cut off


class Cut(BaseException):
    """The end of the core, as SIGKILL: no handler runs on."""


def cut_at(monkeypatch: pytest.MonkeyPatch, count: int | None) -> list[str]:
    """Ends the core at its so-manieth rename, folder or removal; returns what of these it does, by name."""
    done: list[str] = []

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            done.append(original.__name__)
            if count is not None and len(done) > count:
                raise Cut
            return original(*arguments, **named)

        return call

    for name in ("rename", "mkdir", "unlink"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return done


def acts(command: Callable[[], object]) -> list[tuple[int, str]]:
    """All renames, folders and removals of a command that is not cut off, numbered."""
    with pytest.MonkeyPatch.context() as patch:
        done = cut_at(patch, None)
        command()
    return list(enumerate(done))


def test_a_backup_that_is_cut_off_anywhere_is_none_and_the_next_clears_it(tmp_path: Path, points: Points) -> None:
    def backed_up_twice(name: str) -> Node:
        node = Node(tmp_path / name)
        node.run("backup", "run-0")
        node.run("backup", "run-1", keep=1)
        return node

    whole = backed_up_twice("whole")
    left = set()
    cuts = acts(lambda: commands.run(whole.context("backup", "run-2", keep=1)))
    for cut in points.named("backup, cuts").taken(cuts, kind=lambda cut: cut[1]):
        with points.trying(cut):
            node = backed_up_twice(str(cut[0]))
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
                cut_at(patch, cut[0])
                commands.run(node.context("backup", "run-2", keep=1))
            left |= {path.name for path in node.backups.iterdir()}
            for backup in store.backups(str(node.backups)):
                if not backup.cut_short:
                    assert node.run("backup-verify", backup=backup.name).result.outcome == "verified"
            node.run("backup", "run-3", keep=1)
            assert {path.name for path in node.backups.iterdir()} == {"lock", "run-3"}
    assert len(cuts) > 10
    all_left = {"lock", "run-1", "run-2", store.PARTIAL + "run-2", store.PARTIAL + "run-1"}
    assert left == all_left if points.all else left <= all_left


def test_a_restore_that_is_cut_off_anywhere_can_be_run_again(tmp_path: Path, points: Points) -> None:
    def backed_up(name: str) -> Node:
        node = Node(tmp_path / name)
        node.run("backup")
        return node

    def restore_since(node: Node) -> None:
        (node.data / "new").write_text("since")
        commands.run(node.context("restore", "run-2"))

    whole = backed_up("whole")
    cuts = acts(lambda: restore_since(whole))
    for cut in points.named("restore, cuts").taken(cuts, kind=lambda cut: cut[1]):
        with points.trying(cut):
            node = backed_up(str(cut[0]))
            before = node.facts()
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
                cut_at(patch, cut[0])
                restore_since(node)
            halfway = (node.data / "relup_remote" / swap.FILE).exists()
            assert halfway or node.facts() in (before, {**before, **changed(node, "data/new")})
            node.run("restore", "run-3")
            assert node.facts() == before
            assert [path.read_text() for path in node.data.glob("relup_before-*/new")] == ["since"]
            assert not list(node.root.glob("*/relup_restored-*"))
            assert not (node.data / "relup_remote" / swap.FILE).exists()
    assert len(cuts) > 20


def changed(node: Node, path: str) -> dict[str, str]:
    """What is there of a path that was not there before."""
    return {path: node.facts()[path]} if path in node.facts() else {}


HALFWAY_REFUSED = (
    *("plan", "stage", "prepare", "upgrade", "verify", "cleanup", "rollback", "backup", "lock", "logs-clear"),
)


def half_restored(node: Node, moves: int = 3, **options: str) -> None:
    """Cuts a restore off after so many moves."""
    with pytest.MonkeyPatch.context() as patch:
        done: list[str] = []

        def move(place: swap.Place, name: str, source: str, target: str) -> None:
            if len(done) == moves:
                raise Cut
            done.append(name)
            original(place, name, source, target)

        original = swap._move
        patch.setattr(swap, "_move", move)
        with pytest.raises(Cut):
            node.run("restore", "run-2", **options)


def test_a_node_that_is_half_restored_is_said_to_be(node: Node) -> None:
    node.run("backup")
    before = node.facts()
    half_restored(node)
    context = node.context("status")
    with pytest.raises(Failure):
        commands.run(context)
    assert context.result.facts["state"] == "half-restored"
    assert "inv restore" in context.result.facts["state_text"]
    node.run("restore", "run-3")
    assert node.facts() == before


def test_a_restore_that_is_cut_off_before_its_first_move_leaves_the_node_as_it_was(node: Node) -> None:
    node.run("backup")
    half_restored(node, moves=0)
    assert swap.unfinished(str(node.data / "relup_remote")) is not None
    # Somebody starts it, it writes, and stops.
    (node.data / "configs" / "cluster.hocon").write_text("retained = 2")
    since = node.facts()
    assert node.run("backup", "run-3").result.outcome == "backed up"
    with pytest.raises(Failure) as caught:
        node.run("verify", "run-4")
    assert caught.value.err_type != "half_restored"
    # The next one is not the one that was cut off.
    context = node.run("restore", "run-5")
    assert context.result.steps[-1].detail["went_on"] is False
    assert node.facts() == since
    assert not list(node.root.glob("*/relup_restored-*"))
    assert swap.unfinished(context.site.ours) is None


@pytest.mark.parametrize("command", HALFWAY_REFUSED)
def test_what_a_half_restored_node_refuses(node: Node, command: str) -> None:
    for number in range(3):
        node.run("backup", f"run-{number}")
    half_restored(node)
    kept = {path.name for path in node.backups.iterdir()}
    with pytest.raises(Failure) as caught:
        node.run(command, "run-9", keep=1)
    assert caught.value.err_type == "half_restored"
    assert "inv restore" in caught.value.hint
    assert {path.name for path in node.backups.iterdir()} == kept
    for looking in ("logs", "backups", "backup-verify"):
        node.run(looking, "run-9")


def test_the_settings_are_the_first_to_go_and_the_last_to_come(node: Node) -> None:
    (node.etc / "acl.conf").write_text("{allow, all}.")
    node.run("backup")
    names: list[tuple[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        original = swap._move

        def move(place: swap.Place, name: str, source: str, target: str) -> None:
            names.append((place.name, name))
            original(place, name, source, target)

        patch.setattr(swap, "_move", move)
        node.run("restore", "run-2")
    assert names[0] == names[-1] == ("etc", "emqx.conf")
    assert [name for name, _ in names] == sorted([name for name, _ in names[: len(names) // 2]], reverse=True) + sorted(
        [name for name, _ in names[len(names) // 2 :]]
    )


def started_at(patch: pytest.MonkeyPatch, look: int, err_type: str = "node_starting") -> list[int]:
    """Has the node seen to be started at the so-manieth look at whether it is stopped; the looks that there were."""
    looks: list[int] = []

    def require_stopped(_context: Any) -> None:
        looks.append(len(looks))
        if len(looks) == look:
            raise Failure(err_type, "Process 7 is starting the node.", detail={"os_pids": [7]})

    patch.setattr(state, "require_stopped", require_stopped)
    return looks


def test_a_node_that_is_started_meanwhile_has_all_moves_taken_back(tmp_path: Path, points: Points) -> None:
    def changed_since(name: str) -> Node:
        node = Node(tmp_path / name)
        node.run("backup")
        (node.data / "new").write_text("since")
        (node.data / "configs" / "cluster.hocon").write_text("retained = 2")
        return node

    whole = changed_since("whole")
    with pytest.MonkeyPatch.context() as patch:
        looks = started_at(patch, 0)
        commands.run(whole.context("restore", "run-2"))
    expected = {"node_started", "node_running", "node_starting"}
    found = set()
    for look in points.named("restore, starts").taken(range(1, len(looks) + 1)):
        with points.trying(look):
            node = changed_since(str(look))
            before = node.facts()
            context = node.context("restore", "run-2")
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Failure) as caught:
                started_at(patch, look, ("node_starting", "node_running")[look % 2])
                commands.run(context)
            context.close()
            found.add(caught.value.err_type)
            assert caught.value.err_type in expected
            assert not context.changed
            assert node.facts() == before
            assert not list(node.root.glob("*/relup_*-*"))
            assert swap.unfinished(context.site.ours) is None
            assert node.run("restore", "run-3").result.outcome == "restored"
    assert len(looks) > 10
    assert "node_started" in found or not points.all


def test_what_a_start_makes_in_between_is_kept_when_moves_are_taken_back(node: Node) -> None:
    node.run("backup")
    (node.data / "configs" / "cluster.hocon").write_text("retained = 2")
    before = node.facts()
    with pytest.MonkeyPatch.context() as patch:
        looks = started_at(patch, 99)
        original = swap._move

        def move(place: swap.Place, name: str, source: str, target: str) -> None:
            original(place, name, source, target)
            if name == "configs" and len(looks) < 99:
                (node.data / "configs").mkdir()
                (node.data / "configs" / "app.config").write_text("made by a start")
                looks.extend(range(98 - len(looks)))

        patch.setattr(swap, "_move", move)
        with pytest.raises(Failure, match="started the node"):
            node.run("restore", "run-2")
    assert node.facts() == before
    assert (node.data / "relup_before-run-2-since" / "configs" / "app.config").read_text() == "made by a start"


def test_a_node_that_was_started_while_its_files_were_copied_has_no_backup_of_that(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    started_at(monkeypatch, 2, "node_running")
    with pytest.raises(Failure) as caught:
        node.run("backup")
    assert caught.value.err_type == "node_running"
    assert store.backups(str(node.backups)) == []


def test_a_restore_that_is_gone_on_with_needs_no_backup_any_more(node: Node) -> None:
    before = node.facts()
    node.run("backup")
    half_restored(node)
    shutil.rmtree(node.backups / "run-1")
    context = node.run("restore", "run-3")
    assert context.result.steps[-1].detail["went_on"] is True
    assert node.facts() == before
    assert context.journal.rows()[-1]["options"]["restore"] == "run-1"


def test_another_backup_may_be_asked_for_after_a_cut(node: Node) -> None:
    wanted = node.facts()
    node.run("backup")
    (node.data / "new").write_text("since")
    node.run("backup", "run-1b")
    half_restored(node)
    node.run("restore", "run-3", backup="run-1")
    assert node.facts() == wanted


@pytest.mark.parametrize("moves", [1, 5, 10])
def test_a_restore_whose_copies_were_removed_after_a_cut_begins_again(node: Node, moves: int) -> None:
    before = node.facts()
    node.run("backup")
    (node.data / "new").write_text("since")
    node.run("backup", "run-1b")
    (node.data / "newer").write_text("since")
    half_restored(node, moves, backup="run-1")
    for path in (*node.data.glob("relup_restored-*"), *node.etc.glob("relup_restored-*")):
        shutil.rmtree(path)
    with pytest.raises(Failure) as caught:
        node.run("backup", "run-3")
    assert caught.value.err_type == "half_restored"
    detail = node.run("restore", "run-4").result.steps[-1].detail
    assert (detail["went_on"], detail["name"]) == (False, "run-1")
    assert node.facts() == before
    put_aside = [path.name for folder in detail["aside"] for path in Path(folder).iterdir()]
    assert {"new", "newer", "emqx.conf"} <= set(put_aside)


def test_a_journal_that_can_not_be_read_is_named(node: Node) -> None:
    node.run("backup")
    ours = Path(node.context("backup").site.make_ours())
    (ours / swap.FILE).write_text("{")
    (ours / swap.FILE).chmod(0o600)
    with pytest.raises(Failure) as caught:
        node.run("restore", "run-2")
    assert caught.value.err_type == "half_restored"
    assert str(ours / swap.FILE) in caught.value.message
    told = node.run("backups", "run-3").result
    assert [warning["message"] for warning in told.warnings] == [f"{caught.value.message} {caught.value.hint}"]
    assert "restore_left" not in told.facts


def test_a_restore_of_which_only_the_journal_is_left_is_done(node: Node) -> None:
    node.run("backup")
    before = node.facts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swap.Swap, "end", lambda self: (_ for _ in ()).throw(Cut))
        with pytest.raises(Cut):
            node.run("restore", "run-2")
    assert node.facts() == before
    # The node may be started, and writes.
    (node.data / "since").write_text("written since")
    assert node.run("backup", "run-3").result.outcome == "backed up"
    node.run("restore", "run-4", backup="run-3")
    assert (node.data / "since").read_text() == "written since"


def test_a_file_that_can_not_be_read_is_named_and_not_its_copy(tmp_path: Path) -> None:
    """It opens as any other, and its first bytes can't be had."""
    unread = copying.Found("mem", "/proc/self/mem", Path("/proc/self/mem").stat())
    with pytest.raises(Failure) as caught:
        copying.copy(unread, str(tmp_path / "copy"), copying.Progress(lambda _event: None, "backup", 0))
    assert (caught.value.err_type, caught.value.detail["paths"]) == ("cannot_read_file", ["/proc/self/mem"])
