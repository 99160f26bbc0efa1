"""A disk with no space, or no inodes: `disk_full` wherever it is met. A row that has begun is ended all the same."""

import ast
import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relup_remote.core import files, recovery
from relup_remote.core.agent import CODE, Agent, outcome_of
from relup_remote.core.context import Context
from relup_remote.core.erlang import term
from relup_remote.core.files import reserve, write_whole
from relup_remote.core.journal import Journal
from relup_remote.core.kept import key
from relup_remote.core.lock import Lock
from relup_remote.core.protocol import Failure
from relup_remote.core.site import Site
from relup_remote.core.steps import apply
from relup_remote.core.steps import restart as restart_step
from relup_remote.core.steps.restart import _largest_tables, check_restart

from .backups import NODE, Node
from .demo import running_demo
from .lent import Vms
from .others import as_root, by_nobody, mounted
from .vm import eventually

pytestmark = as_root
LITTLE = files.SPARE_FILES + 8
"""Inodes: enough for the spare ones, too few for all that a node has."""

OWNER = {"command": "status", "operator": "alice@desk", "run": "run-1"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=256k,nr_inodes=200,mode=700", "tmpfs") as path:
        yield path


def without_inodes(disk: Path) -> None:
    """Take all that are left."""
    (disk / "taken").mkdir()
    with contextlib.suppress(OSError):
        for number in range(1000):
            (disk / "taken" / str(number)).touch()


def without_space(disk: Path) -> None:
    """Take all that is left."""
    with contextlib.suppress(OSError), (disk / "taken").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


@contextlib.contextmanager
def disk_full() -> Iterator[None]:
    with pytest.raises(Failure) as caught:
        yield
    assert caught.value.err_type == "disk_full"


def test_what_is_not_written_whole_leaves_nothing(disk: Path) -> None:
    (disk / "file").write_bytes(b"old")
    without_space(disk)
    with disk_full():
        write_whole(str(disk / "file"), bytes(100_000))
    with disk_full():
        reserve(str(disk / "file"), 100_000)
    assert sorted(path.name for path in disk.iterdir()) == ["file", "taken"]
    assert (disk / "file").read_bytes() == b"old"


def test_the_compiled_agent(disk: Path) -> None:
    """It is not kept, which is no failure, and leaves nothing half."""
    wanted = key(b"source", [])
    without_space(disk)
    CODE.keep(str(disk), wanted, bytes(1000))
    assert [path.name for path in disk.iterdir()] == ["taken"]
    assert CODE.find(str(disk), wanted) is None


def test_the_lock(disk: Path) -> None:
    (disk / "lock").touch(0o600)
    without_space(disk)
    with disk_full(), Lock(str(disk), OWNER):
        pass
    (disk / "taken").unlink()
    with Lock(str(disk), OWNER):
        pass
    (disk / "lock").unlink()
    without_inodes(disk)
    with disk_full(), Lock(str(disk), OWNER):
        pass


@pytest.mark.parametrize("take", [without_space, without_inodes])
def test_the_agent(disk: Path, take: Callable[[Path], None]) -> None:
    take(disk)
    agent = Agent.__new__(Agent)
    with disk_full():
        agent._compile(str(disk / "relup_agent_1_looks.erl"), b"-module(relup_agent_1_looks).\n" * 1000)


def test_a_row_of_the_history_is_ended_without_inodes(disk: Path) -> None:
    journal = Journal(str(disk))
    row = journal.begin("run-1", "alice@desk", "5.10.4", "5.10.5", {})
    without_inodes(disk)
    journal.note(row, {"changed": True})
    journal.finish(row, "marker_failed", "apply", "no space")
    assert [(found["status"], found["result"]) for found in journal.rows()] == [("finished", "marker_failed")]


@pytest.mark.parametrize("take", [without_space, without_inodes])
def test_the_work_of_a_request_that_looks_finds_room_elsewhere(
    node: Node, disk: Path, take: Callable[[Path], None]
) -> None:
    context = node.context("verify")
    context.site = Site(str(node.root), str(disk), None, None)
    take(disk)
    before = sorted(path.name for path in disk.iterdir())
    work = Path(context.work())
    assert (work.parent, work.stat().st_mode & 0o777) == (Path("/dev/shm"), 0o700)
    write_whole(str(work / "source"), bytes(1 << 20))
    context.close()
    assert not work.exists()
    assert sorted(path.name for path in disk.iterdir()) == before


def test_the_work_of_a_request_is_beside_the_node_where_there_is_room(node: Node) -> None:
    context = node.context("verify")
    assert Path(context.work()).parent == node.data / "relup_remote" / "work"
    context.close()


@pytest.mark.parametrize("take", [without_space, without_inodes])
def test_a_history_that_can_not_be_begun(disk: Path, take: Callable[[Path], None]) -> None:
    take(disk)
    with pytest.raises(Failure) as caught:
        Journal(str(disk)).begin("run-1", "alice@desk", None, None, {})
    assert caught.value.err_type in ("disk_full", "journal_unusable")


def test_inodes_are_counted_before_they_are_needed(disk: Path) -> None:
    files.space("/", 1, 10)
    with pytest.raises(Failure) as caught:
        files.space(str(disk), 0, 3000)
    assert (caught.value.err_type, caught.value.detail["needed_files"]) == ("disk_full", 3100)


def test_the_files_of_a_backup_are_counted_before_it_begins(node: Node) -> None:
    with mounted(node.backups, "-t", "tmpfs", "-o", f"nr_inodes={LITTLE},mode=700", "tmpfs"):
        assert node.refused("backup") == ["disk_full"]


def test_the_files_of_a_restore_are_counted_before_it_begins(node: Node) -> None:
    node.run("backup")
    kept = node.data.rename(node.root / "kept")
    with mounted(node.data, "-t", "tmpfs", "-o", f"nr_inodes={LITTLE},mode=700", "tmpfs"):
        assert node.refused("restore") == ["disk_full"]
        assert [path.name for path in node.data.iterdir()] in ([], ["relup_remote"])
    node.data.rmdir()
    kept.rename(node.data)
    assert node.run("restore").result.outcome == "restored"


def test_a_node_is_not_restarted_without_room(node: Node) -> None:
    """Mnesia writes tables anew when it starts, and drops what finds no room."""
    node.deploy("5.10.5")
    kept = node.data.rename(node.root / "kept")
    with mounted(node.data, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"):
        with pytest.raises(Failure) as caught:
            node.run("rollback")
        assert (caught.value.err_type, caught.value.detail["folder"]) == ("disk_full", str(node.data))
        assert "may lose tables" in caught.value.message
    node.data.rmdir()
    kept.rename(node.data)
    # The largest table has to fit once more.
    os.truncate(node.data / "mnesia" / NODE / "schema.DAT", 1 << 43)
    with pytest.raises(Failure) as caught:
        node.run("rollback")
    assert caught.value.err_type == "disk_full"
    assert caught.value.detail["needed_bytes"] == (1 << 43) + files.SPARE_BYTES
    assert (node.root / "relup" / "current").read_text() == "5.10.5"


def test_the_room_is_that_of_the_file_system_where_the_tables_are(node: Node) -> None:
    node.deploy("5.10.5")
    tables = node.data / "mnesia"
    kept = tables.rename(node.root / "kept")
    with mounted(tables, "-t", "tmpfs", "-o", "size=70m,mode=700", "tmpfs"):
        (tables / NODE).mkdir()
        with (tables / NODE / "schema.DAT").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, 60 << 20)
        assert_refused(node, str(tables / NODE))
    tables.rmdir()
    with mounted(node.root / "small", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs") as small:
        (small / NODE).mkdir()
        tables.symlink_to(small)
        assert_refused(node, str(tables / NODE))
        tables.unlink()
    kept.rename(tables)
    (tables / NODE).rename(node.root / "kept")
    with mounted(node.root / "own", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs") as own:
        (tables / NODE).symlink_to(own)
        assert_refused(node, str(tables / NODE))


def test_a_hop_that_ends_on_a_full_disk_restarts_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was room when it began. Whoever finds out that the node has to restart looks again."""
    node.deploy("5.10.5")
    stopped: list[object] = []
    monkeypatch.setattr(restart_step, "_stop", lambda *given: stopped.append(given))
    monkeypatch.setattr(restart_step, "_start", lambda *given: stopped.append(given))
    failed = {"result": "state_change_failed", "n": 3, "undone": False, "restart": True, "message": "it says no"}
    ways: dict[str, Callable[[Context], object]] = {
        "its outcome": lambda context: apply.finish(context, failed),
        "no outcome": lambda context: apply.finish(context, None),
        "an attempt of a dead core": lambda context: recovery._end_hop(context, failed),
        "a rollback": lambda context: restart_step.restart(context, restart_step.NO_CHANGE),
    }
    monkeypatch.setattr(recovery, "_agent_waits", lambda _context: True)
    kept = node.data.rename(node.root / "kept")
    with mounted(node.data, "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"):
        for way, ends in ways.items():
            context = node.context("upgrade", on_failure="restart")
            with pytest.raises(Failure) as caught:
                ends(context)
            assert (way, caught.value.err_type) == (way, "disk_full")
            assert caught.value.message.endswith("may lose tables, or fail to start. So it was not restarted.")
            assert (caught.value.detail["folder"], caught.value.detail["next_boot"]) == (
                str(node.data),
                str(node.root / "relup" / "5.10.5"),
            )
        assert "it says no" not in caught.value.message
    node.data.rmdir()
    kept.rename(node.data)
    assert stopped == []


def test_all_that_starts_a_node_looks_for_room_first() -> None:
    """Nothing but `restart` runs what starts a node, and that looks for room before all else."""
    starts: set[tuple[str, str]] = set()
    for file in CORE.rglob("*.py"):
        for function in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)):
            for call in (each for each in ast.walk(function) if isinstance(each, ast.Call)):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                if name == "restart_command" or (name == "_wrapper" and ast.unparse(call.args[1]) == "'start'"):
                    starts.add((file.name, function.name))
    # The second asks sudo whether we may.
    assert starts == {("restart.py", "_restart_service"), ("service.py", "check_permitted"), ("restart.py", "_start")}
    source = ast.parse((CORE / "steps" / "restart.py").read_text())
    functions = {node.name: node for node in source.body if isinstance(node, ast.FunctionDef)}
    for name in ("_start", "_restart_service"):
        callers = {each for each, body in functions.items() if f"{name}(context" in ast.unparse(body) and each != name}
        assert callers == {"restart"}
    assert ast.unparse(functions["restart"].body[1]).startswith("try:\n    check_room(context)")


CORE = Path(restart_step.__file__).parents[1]


def assert_refused(node: Node, folder: str) -> None:
    with pytest.raises(Failure) as caught:
        check_restart(node.context("rollback"))
    assert (caught.value.err_type, caught.value.detail["folder"]) == ("disk_full", folder)


def test_folders_of_others_beside_the_tables_hide_none_of_them(node: Node) -> None:
    """Whatever the order in which they are found."""
    tables = node.data / "mnesia"
    os.truncate(tables / NODE / "schema.DAT", 500 << 20)
    for name in ("lost+found", "0", "zz", "emqx"):
        (tables / name).mkdir(0o700)
    (tables / NODE / "closed").mkdir(0o700)
    (tables / NODE).chmod(0o755)
    tables.chmod(0o755)
    node.data.chmod(0o755)

    def look() -> None:
        for name in (NODE, None):
            node.name = name  # type: ignore[assignment]
            context = node.context("rollback")
            context.site = Site(".", "data", None, None)
            assert _largest_tables(context) == [(f"data/mnesia/{NODE}", 500 << 20)]

    node.root.chmod(0o755)
    by_nobody(node.root, look)


def test_room_that_is_not_known_is_said_to_be_unknown(node: Node) -> None:
    node.root.chmod(0o755)
    node.data.chmod(0o755)

    def look() -> None:
        context = node.context("rollback")
        context.site = Site(".", "data", None, None)
        for _ in range(2):
            check_restart(context)
        [warning] = context.result.warnings
        assert warning["err_type"] == "cannot_read_file"
        assert "not known whether the node will have room" in warning["message"]

    for closed in (node.data / "mnesia" / NODE, node.data / "mnesia"):
        closed.chmod(0o700)
        by_nobody(node.root, look)
        closed.chmod(0o755)


def test_how_a_hop_ended_is_written_down_all_the_same(vms: Vms, tmp_path: Path, disk: Path) -> None:
    """Room for it is kept before the hop begins; the marker finds none, and that is what the outcome says."""
    outcome, marker = disk / "outcome", disk / "marker"
    (tmp_path / "vm").mkdir()
    with running_demo(vms, tmp_path / "vm") as demo:
        for take in (without_space, without_inodes):
            reserve(str(outcome), 64 << 10)
            take(disk)
            hop = "{load_module, emqx_release}, {load_module, demo_calls}"
            demo.agent.start(demo.request(hop, outcome=str(outcome), marker=str(marker)))
            assert eventually(outcome.exists)
            assert outcome_of(term.decode(outcome.read_bytes()))["result"] == "marker_failed"
            assert not marker.exists()
            assert not outcome.with_name("outcome.tmp").exists()
            for path in disk.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            demo.agent.release()


def test_no_room_to_keep(disk: Path) -> None:
    with disk_full():
        reserve(str(disk / "outcome"), 1 << 20)
