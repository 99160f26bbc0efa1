"""Backing up and restoring nodes whose folders are not as a tarball leaves them."""

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import commands
from relup_remote.core.backup import manifest, mounts, movable, store, swap
from relup_remote.core.backup.mounts import mount_point_of
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure
from relup_remote.core.release import data_dir_of
from relup_remote.core.site import locate
from tests.points import Points

from .backups import NODE, Node, in_memory
from .others import NOBODY, as_root, become_nobody, mounted


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory: these tests wait for the disk at each step."""
    with in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "emqx")
    yield made
    for path in tmp_path.rglob("certs"):
        path.chmod(0o700)


SOME = 8
"""Moves of a restore that are enough where not all points are tried: each takes three commands, which wait for the disk
until all is durable that anybody has written."""


class Cut(BaseException):
    """The end of a core that is killed."""


def failing(patch: pytest.MonkeyPatch, move: int, error: BaseException) -> list[str]:
    """Has the move of that number fail, or be the last thing that is done; the names that were to be moved."""
    original, names = swap._move, list[str]()

    def moving(place: swap.Place, name: str, source: str, target: str) -> None:
        names.append(name)
        if len(names) == move:
            raise error
        original(place, name, source, target)

    patch.setattr(swap, "_move", moving)
    return names


def some(points: Points, name: str, names: Sequence[str], first: int) -> Iterator[int]:
    """The moves to try of a restore that moves ``names`` in this order, from the ``first``: with all points each.

    Else one of each kind, and some others.
    """
    # Each name is moved aside, and then its copy takes its place.
    seen = [names[:move].count(each) for move, each in enumerate(names)]
    moves = range(first, len(names) + 1)
    taken = points.named(name).taken(moves, kind=lambda move: (seen[move - 1], names[move - 1] == "emqx.conf"))
    return islice(taken, len(moves) if points.all else SOME)


def journal(node: Node) -> Path:
    return node.data / "relup_remote" / swap.FILE


# ------------------------------------------------------------------------------- where only emqx.conf tells of the data


def elsewhere(node: Node, folder: Path, *, is_package: bool) -> None:
    """Let the node have its data in a folder that only its emqx.conf names, and, as in a package, its settings outside
    of the root."""
    if is_package:
        shutil.move(node.etc, folder / "etc")
        node.etc = folder / "etc"
        emqx_vars = node.root / "releases" / "emqx_vars"
        emqx_vars.write_text(f'REL_VSN="5.10.4"\nEMQX_ETC_DIR="{node.etc}"\n')
    shutil.move(node.data, folder / "var")
    node.data = folder / "var"
    (node.etc / "emqx.conf").write_text(f'node {{ name = "{NODE}", data_dir = "{node.data}" }}\n')
    wrapper = node.root / "bin" / "emqx"
    wrapper.parent.mkdir()
    wrapper.touch()


def asked(node: Node, command: str, run: str) -> Context:
    """Carry out a command as a host does, which is told of the root and nothing more."""
    told = {"root_dir": str(node.root), "name": NODE}
    request = {"command": command, "operator": "alice@desk", "run": run, "node": told, "options": {}}
    context = Context(request, locate(told), node.events.append, io.BytesIO())
    try:
        commands.run(context)
    finally:
        context.close()
    return context


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "relup_" not in str(path.relative_to(folder)))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("is_package", [False, True])
def test_a_restore_finds_its_way_whatever_it_has_moved(node: Node, tmp_path: Path, *, is_package: bool) -> None:
    elsewhere(node, tmp_path, is_package=is_package)
    asked(node, "backup", "run-1")
    wanted = contents(node.data), contents(node.etc)
    (node.data / "configs" / "cluster.hocon").write_text("retained = 2")
    assert asked(node, "restore", "run-2").result.outcome == "restored"
    assert (contents(node.data), contents(node.etc)) == wanted


@pytest.mark.parametrize("is_package", [False, True])
def test_a_restore_that_was_cut_off_is_known_and_gone_on_with(
    node: Node, tmp_path: Path, points: Points, *, is_package: bool
) -> None:
    elsewhere(node, tmp_path, is_package=is_package)
    asked(node, "backup", "run-1")
    wanted = contents(node.data), contents(node.etc)
    with pytest.MonkeyPatch.context() as patch:
        names = failing(patch, 0, Cut())
        asked(node, "restore", "run-2")
    assert len(names) > 10
    for move in some(points, f"restore of a {'package' if is_package else 'tarball'}, cuts", names, 2):
        with points.trying(move):
            with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
                failing(patch, move, Cut())
                asked(node, "restore", f"run-3-{move}")
            assert data_dir_of(str(node.root)) == str(node.data)
            with pytest.raises(Failure) as caught:
                asked(node, "backup", "run-4")
            assert caught.value.err_type == "half_restored"
            assert asked(node, "restore", f"run-5-{move}").result.steps[-1].detail["went_on"] is True
            assert (contents(node.data), contents(node.etc)) == wanted


# ------------------------------------------------------------------------------------------------- what can't be moved


def test_a_move_that_fails_has_all_taken_back(node: Node, points: Points) -> None:
    node.run("backup")
    with pytest.MonkeyPatch.context() as patch:
        names = failing(patch, 0, Cut())
        node.run("restore", "run-2")
    (node.data / "new").write_text("since")
    before = node.facts()
    errors = {"cannot_write_file": OSError(5, "I/O"), "no_write_permission": Failure("no_write_permission")}
    for move in some(points, "restore, moves that fail", names, 1):
        with points.trying(move):
            for err_type, error in errors.items():
                context = node.context("restore", f"run-3-{move}-{err_type}")
                with pytest.MonkeyPatch.context() as patch, pytest.raises(Failure) as caught:
                    failing(patch, move, error)
                    commands.run(context)
                context.close()
                assert caught.value.err_type == err_type
                assert not context.changed
                assert node.facts() == before
                assert not journal(node).exists()
    assert node.run("restore", "run-4").result.outcome == "restored"


def test_where_nothing_can_be_taken_back_either_it_says_so(node: Node) -> None:
    node.run("backup")
    wanted = node.facts()
    context = node.context("restore", "run-2")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Failure) as caught:
        failing(patch, 4, Failure("no_write_permission"))
        patch.setattr(swap.Swap, "back", lambda _self: (_ for _ in ()).throw(Failure("no_write_permission")))
        commands.run(context)
    context.close()
    assert "half restored" in caught.value.message
    assert context.changed
    assert caught.value.changed
    assert node.refused("backup") == []
    assert node.run("restore", "run-3").result.steps[-1].detail["went_on"] is True
    assert node.facts() == wanted


def test_a_journal_that_can_not_be_written_leaves_no_copies(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run("backup")
    before = node.facts()

    def full(*_arguments: Any) -> None:
        raise Failure("disk_full")

    monkeypatch.setattr(swap, "write_whole", full)
    with pytest.raises(Failure, match="disk_full"):
        node.run("restore", "run-2")
    assert node.facts() == before
    assert not list(node.root.glob("*/relup_*-*"))


@pytest.fixture
def nobodys() -> Iterator[Node]:
    """A node of the user `NOBODY`, where he can get to it, with a backup."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Node(Path(folder) / "emqx")
        made.run("backup")
        for path in [made.root, *made.root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        yield made


def by_nobody(act: Callable[[], object]) -> str:
    """What comes of it when that user does something: its failure, or nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"it did not end"
        try:
            become_nobody()
            act()
            said = b""
        except Failure as failure:
            said = str(failure).encode()
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return file.read()


@as_root
def test_a_folder_that_its_own_mode_keeps_in_its_place_is_moved(nobodys: Node) -> None:
    # Loads what a restore needs, which that user may not read.
    nobodys.context("restore").journal.rows()
    wanted = nobodys.facts()
    assert stat.S_IMODE((nobodys.etc / "certs").stat().st_mode) == 0o500
    (nobodys.data / "new").touch()
    assert by_nobody(lambda: nobodys.run("restore", "run-2")) == ""
    assert nobodys.facts() == wanted
    assert stat.S_IMODE((nobodys.etc / "relup_before-run-2" / "certs").stat().st_mode) == 0o500


@as_root
@pytest.mark.parametrize("kind", ["a folder", "in a sticky folder"])
def test_what_belongs_to_another_user_is_refused_before_anything_is_moved(nobodys: Node, kind: str) -> None:
    path = nobodys.etc / "certs"
    if kind == "in a sticky folder":
        path = nobodys.data / "configs"
        nobodys.data.chmod(0o1777)
        os.chown(nobodys.data, 0, 0)
    os.chown(path, 0, 0)
    path.chmod(0o755)
    before = nobodys.facts()
    said = by_nobody(lambda: nobodys.run("restore", "run-2"))
    assert said.startswith(f"cannot_write_file: {path} belongs to another user")
    assert nobodys.facts() == before
    assert by_nobody(lambda: nobodys.run("backup", "run-3")) == ""


@as_root
def test_a_mount_point_at_any_depth_is_refused_and_told_by_the_backup(node: Node) -> None:
    disk = node.data / "mnesia" / "other disk"
    with mounted(disk, "-t", "tmpfs", "none"):
        assert node.refused("restore") == ["no_backup", "cannot_write_file"]
        context = node.run("backup")
        assert node.refused("restore") == ["cannot_write_file"]
    (warning,) = context.result.warnings
    assert f"{disk} is a mount point" in warning["message"]


@as_root
def test_a_disk_that_is_not_mounted_is_not_restored_beside(node: Node, tmp_path: Path) -> None:
    """What would be put into the mount point is hidden as soon as the disk is mounted again."""
    shutil.move(node.data, tmp_path / "content")
    with mounted(node.data, "-t", "tmpfs", "none"):
        shutil.copytree(tmp_path / "content", node.data, dirs_exist_ok=True, symlinks=True)
        node.run("backup")
        assert node.run("restore", "run-2").result.outcome == "restored"
    assert not list(node.data.iterdir())
    assert node.refused("restore") == ["not_mounted"]
    # Our lock.
    assert [path.name for path in node.data.iterdir()] == ["relup_remote"]
    assert node.run("restore", "run-3", restore_force=True).result.outcome == "restored"
    assert (node.data / "configs" / "cluster.hocon").exists()


@as_root
def test_a_disk_within_the_data_that_is_not_mounted_is_known(node: Node, tmp_path: Path) -> None:
    tables = node.data / "mnesia"
    shutil.move(tables, tmp_path / "tables")
    with mounted(tables, "-t", "tmpfs", "none"):
        shutil.copytree(tmp_path / "tables", tables, dirs_exist_ok=True)
        node.run("backup")
        # The mount point can't be moved.
        assert node.refused("restore") == ["cannot_write_file"]
    assert node.refused("restore") == ["not_mounted"]
    assert node.run("restore", "run-2", restore_force=True).result.outcome == "restored"
    assert contents(tables) == contents(tmp_path / "tables")


@as_root
def test_a_bind_mount_of_a_disk_that_is_not_mounted_is_known(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount point is one also then: an empty folder of the root's file system is mounted there."""
    monkeypatch.setattr(mounts, "ROOT", str(tmp_path))
    shutil.move(node.data, tmp_path / "content")
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "none"):
        with mounted(node.data, "--bind", disk):
            shutil.copytree(tmp_path / "content", node.data, dirs_exist_ok=True, symlinks=True)
            node.run("backup")
            assert node.run("restore", "run-2").result.outcome == "restored"
        node.data.rmdir()
    with mounted(node.data, "--bind", disk):
        assert node.refused("restore") == ["not_mounted"]


@as_root
def test_a_disk_that_is_mounted_elsewhere_is_restored_to(node: Node, tmp_path: Path) -> None:
    shutil.move(node.data, tmp_path / "content")
    for number in (1, 2):
        disk = tmp_path / f"disk {number}"
        with mounted(disk, "-t", "tmpfs", "none"):
            shutil.copytree(tmp_path / "content", disk / "data", symlinks=True)
            node.data.unlink(missing_ok=True)
            node.data.symlink_to(disk / "data")
            if number == 1:
                node.run("backup")
            assert node.run("restore", f"run-{number + 1}").result.outcome == "restored"


@as_root
def test_a_link_to_a_disk_that_is_not_mounted_is_known(node: Node, tmp_path: Path) -> None:
    shutil.move(node.data, tmp_path / "content")
    disk = tmp_path / "disk"
    with mounted(disk, "-t", "tmpfs", "none"):
        shutil.copytree(tmp_path / "content", disk / "data", symlinks=True)
        node.data.symlink_to(disk / "data")
        node.run("backup")
    (disk / "data").mkdir()
    assert node.refused("restore") == ["not_mounted"]


def test_where_mount_points_can_not_be_read_nothing_is_said_of_them(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.run("backup")
    with pytest.raises(Failure, match="no file system") as caught:
        mounts.mount_points(str(tmp_path / "none"))
    monkeypatch.setattr(mounts, "mount_points", lambda _table="": (_ for _ in ()).throw(caught.value))
    assert node.refused("restore") == ["cannot_read_file"]


def test_a_backup_that_says_nothing_of_mounts_is_restored(node: Node) -> None:
    node.run("backup")
    folder = str(node.backups / "run-1")
    says = manifest.read(folder)
    del says["mounts"]
    manifest.write(folder, says)
    assert node.run("restore").result.outcome == "restored"


def test_the_mount_point_of_a_folder(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("".join(f"1 2 0:3 / {point} rw - x y z\n" for point in ("/", "/var", r"/var/a\040b", "/va", "/")))
    paths = ("/var/a b/c", "/var/a", "/var", "/vars", "/")
    assert [mount_point_of(path, str(table)) for path in paths] == ["/var/a b", "/var", "/var", "/", "/"]


def test_mount_points_that_are_in_nobodys_way(node: Node, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    data = swap.Place("data", str(node.data), "run-1", ("keep",))
    for inner in ("", "/relup_remote", "/relup_before-run-0/x", "/keep/n1", "x"):
        table.write_text(f"36 35 98:0 / {node.data}{inner} rw - ext4 /dev/sda rw\n")
        assert movable.fixed(data, str(table)) is None
    table.write_text(f"36 35 98:0 / {node.data}/mnesia/a\\040b rw - ext4 /dev/sda rw\n")
    fixed = f"{node.data}/mnesia/a b is a mount point and can't be moved aside."
    assert movable.fixed(data, str(table)) == (fixed, movable.UNMOUNT)


# ------------------------------------------------------------------------------------------------- what a backup lacks


def no_settings(node: Node, _outside: Path) -> str:
    node.etc.rename(node.root / "old")
    return "emqx.conf is not there"


def no_configuration(node: Node, _outside: Path) -> str:
    (node.etc / "emqx.conf").unlink()
    return "emqx.conf is not there"


def no_tables(node: Node, _outside: Path) -> str:
    shutil.rmtree(node.data / "mnesia" / NODE)
    return "There are no tables"


def no_mnesia(node: Node, _outside: Path) -> str:
    shutil.rmtree(node.data / "mnesia")
    return "There are no tables"


def no_data(node: Node, _outside: Path) -> str:
    shutil.rmtree(node.data)
    return "data is not there"


def linked_mnesia(node: Node, outside: Path) -> str:
    shutil.move(node.data / "mnesia", outside)
    (node.data / "mnesia").symlink_to(outside)
    return "which is not copied"


def linked_tables(node: Node, outside: Path) -> str:
    shutil.move(node.data / "mnesia" / NODE, outside)
    (node.data / "mnesia" / NODE).symlink_to(outside)
    return "which is not copied"


@pytest.mark.parametrize(
    "lacks", [no_settings, no_configuration, no_data, no_tables, no_mnesia, linked_mnesia, linked_tables]
)
def test_a_backup_without_settings_or_tables_is_none(
    node: Node, tmp_path: Path, lacks: Callable[[Node, Path], str]
) -> None:
    said = lacks(node, tmp_path / "outside")
    with pytest.raises(Failure, match=said) as caught:
        node.run("backup")
    assert caught.value.err_type == "backup_incomplete"
    assert store.backups(str(node.backups)) == []


def test_links_that_lead_to_what_is_not_copied_are_told(node: Node, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (node.data / "durable").symlink_to(tmp_path / "outside")
    (node.etc / "inner").symlink_to(node.data / "configs")
    (warning,) = node.run("backup").result.warnings
    assert (
        warning["message"]
        == f"These links lead to files that are not in the backup: data/durable to {tmp_path / 'outside'}."
    )


# ------------------------------------------------------------------------------------------------- folders of our own


def test_backups_within_the_data_stay_where_they_are(node: Node) -> None:
    def run(command: str, number: int) -> Context:
        context = node.context(command, f"run-{number}")
        context.site.backups = str(node.data / "keep" / "n1")
        context.site.staging = str(node.data / "tarballs" / "relup_remote")
        try:
            commands.run(context)
        finally:
            context.close()
        return context

    staged = node.data / "tarballs" / "relup_remote" / "emqx.tar.gz"
    staged.parent.mkdir(parents=True)
    staged.touch()
    run("backup", 1)
    assert not list(node.data.glob("keep/n1/run-1/data/tarballs/relup_remote"))
    (node.data / "new").touch()
    assert run("restore", 2).result.outcome == "restored"
    assert not (node.data / "new").exists()
    assert [backup["name"] for backup in run("backups", 3).result.facts["backups"]] == ["run-1"]
    assert not list(node.data.glob("relup_before-*/keep"))


def test_folders_that_were_gone_have_the_modes_that_they_had(node: Node) -> None:
    node.etc.chmod(0o755)
    node.data.chmod(0o750)
    node.run("backup")
    (node.etc / "certs").chmod(0o700)
    shutil.rmtree(node.etc)
    shutil.rmtree(node.data)
    before = os.umask(0o077)
    try:
        node.run("restore", "run-2")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (node.etc, node.data)] == [0o755, 0o750]


@as_root
def test_settings_that_only_their_owner_may_read_are_read_by_him(nobodys: Node) -> None:
    conf = nobodys.etc / "emqx.conf"
    conf.chmod(0o600)
    os.chown(conf, 2, 2)
    said = by_nobody(lambda: data_dir_of(str(nobodys.root)))
    assert said == f"wrong_user: {conf} can't be read by nobody: it belongs to bin."


def test_links_to_settings_of_a_tarball(node: Node, tmp_path: Path) -> None:
    shutil.move(node.etc, tmp_path / "etc")
    node.etc.symlink_to(tmp_path / "etc")
    assert data_dir_of(str(node.root)) == str(node.data)
    node.run("backup")
    node.run("restore", "run-2")
    assert node.etc.is_symlink()
