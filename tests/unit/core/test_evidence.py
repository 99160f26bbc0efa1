"""That a node is stopped, or not there, is told on evidence only: a real VM, looked for in all the wrong ways."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import processes, running_node, wrapper
from relup_remote.core.erlang.link import Peer, connect
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import CommandLine, RunningNode
from relup_remote.core.site import Site, locate

from .others import NOBODY, as_root, become_nobody, by_nobody, holding, mounted
from .rooted import Root, make_root
from .test_running_node import Proc
from .vm import Vm, eventually

NAME = "rooted@127.0.0.1"
JAILED = "jailed@127.0.0.1"
ABSENT = "absent@127.0.0.1"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Root:
    return make_root(tmp_path_factory.mktemp("rooted"))


@pytest.fixture(scope="module")
def node(root: Root, epmd: int) -> Iterator[Vm]:
    with root.node(epmd, NAME) as vm:
        yield vm


@pytest.fixture
def stopped(tmp_path: Path) -> Root:
    """A root from which nothing runs."""
    return make_root(tmp_path)


def failure(call: Callable[[], object]) -> Failure:
    with pytest.raises(Failure) as caught:
        call()
    assert caught.value.hint
    return caught.value


# ------------------------------------------------------------------------------------------------- a node that runs


def test_a_node_is_found_by_its_root(node: Vm, root: Root) -> None:
    found = root.site(name=NAME, data_dir=str(root.data)).node
    assert found is not None
    assert (found.os_pid, found.runs()) == (node.process.pid, True)


@pytest.mark.usefixtures("node")
def test_a_root_is_the_same_by_a_link(root: Root, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(root.path)
    found = locate({"root_dir": str(tmp_path / "other")}).node
    assert found is not None
    assert found.name == NAME


@as_root
@pytest.mark.usefixtures("node")
def test_a_root_is_the_same_by_a_mount(root: Root, tmp_path: Path) -> None:
    with mounted(tmp_path / "other", "--bind", root.path) as other:
        found = locate({"root_dir": str(other)}).node
    assert found is not None
    assert found.name == NAME


@pytest.mark.parametrize("name", ["other@127.0.0.1", "rooted@h", "roote"])
def test_a_name_that_does_not_match_is_an_error(node: Vm, root: Root, name: str) -> None:
    error = failure(lambda: root.site(name=name))
    assert (error.err_type, error.detail["pid"]) == ("node_name_differs", node.process.pid)
    assert NAME in error.message
    assert name in error.message


@pytest.mark.usefixtures("node")
def test_a_node_of_the_same_root_with_another_data_folder_is_another(root: Root, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert root.site(name="other@127.0.0.1", data_dir=str(tmp_path / "data")).node is None
    assert failure(lambda: root.site(name=NAME, data_dir=str(tmp_path / "data"))).err_type == "data_dir_differs"


@as_root
def test_a_root_that_was_moved_away_from_under_its_node(stopped: Root, epmd: int) -> None:
    with stopped.node(epmd, "moved@127.0.0.1") as vm:
        moved = stopped.path.rename(stopped.path.with_name("moved"))
        try:
            error = failure(lambda: locate({"root_dir": str(moved)}))
            assert (error.err_type, error.detail["pid"]) == ("data_in_use", vm.process.pid)
            # By its name alone: what it says of its root is not so.
            assert failure(lambda: locate({"name": "moved@127.0.0.1"})).err_type == "untrusted_process"
        finally:
            moved.rename(stopped.path)


def test_a_node_that_is_started_while_it_is_looked_for(node: Vm, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look comes too early."""
    looks: list[Any] = []
    find = running_node.find

    def look(*asked: Any) -> RunningNode | None:
        looks.append(asked)
        return find(*asked) if looks[1:] else None

    monkeypatch.setattr(running_node, "find", look)
    found = root.site(name=NAME).node
    assert found is not None
    assert found.os_pid == node.process.pid


def test_a_vm_that_ends_is_known_to_have_ended(stopped: Root, epmd: int) -> None:
    with stopped.node(epmd, "ended@127.0.0.1"):
        found = stopped.site().node
        assert found is not None
        assert found.runs()
    assert not found.runs()
    assert not found._replace(started="1").runs()


# ------------------------------------------------------------------------------------------------- a node that does not


def test_a_node_that_is_stopped(stopped: Root) -> None:
    site = stopped.site(name=NAME)
    assert (site.node, site.data_dir) == (None, str(stopped.data))


def test_a_process_that_writes_to_the_data_of_a_node_not_found(stopped: Root) -> None:
    refused_while_written_to(stopped, stopped.data)
    assert stopped.site().node is None


@as_root
def test_a_process_that_writes_to_it_by_another_path(stopped: Root, tmp_path: Path) -> None:
    with mounted(tmp_path / "elsewhere", "--bind", stopped.data) as elsewhere:
        refused_while_written_to(stopped, elsewhere)


def refused_while_written_to(stopped: Root, data: Path) -> None:
    log = data / "mnesia" / "LATEST.LOG"
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log.open("ab")) as process:
        try:
            error = failure(stopped.site)
            assert error.err_type == "data_in_use"
            (told,) = error.detail["open"]
            assert (told["pid"], told["path"]) == (process.pid, str(stopped.data / "mnesia" / "LATEST.LOG"))
        finally:
            process.kill()


def test_who_only_reads_the_data_or_writes_to_our_own_folder_is_in_nobodys_way(stopped: Root) -> None:
    ours = stopped.data / "relup_remote"
    ours.mkdir(mode=0o700)
    log = stopped.data / "mnesia" / "LATEST.LOG"
    with subprocess.Popen(["sleep", "60"], stdin=log.open(), stdout=(ours / "lock").open("w")) as process:
        try:
            assert stopped.site().node is None
        finally:
            process.kill()


# ------------------------------------------------------------------------------------------------- in a container


@as_root
@pytest.mark.parametrize("on_host", ["a tree at the same path", "nothing"])
def test_a_node_in_a_container_is_refused(tmp_path: Path, on_host: str) -> None:
    jail = tmp_path / "jail"
    base = tmp_path / "emqx"
    if on_host != "nothing":
        make_root(tmp_path)
    inner = jail / base.relative_to("/")
    (inner / "erts-1" / "bin").mkdir(parents=True)
    program = inner / "erts-1" / "bin" / "beam.smp"
    shutil.copy("/bin/sh", program)
    said = subprocess.run(["ldd", "/bin/sh"], check=True, capture_output=True, text=True).stdout
    for library in {word for word in said.split() if word.startswith("/")}:
        target = jail / Path(library).relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    words = ["emqx", "-c", "echo ready; read _", "--", "-root", str(base), "-name", JAILED]
    process = subprocess.Popen(
        words,
        executable=f"{base}/erts-1/bin/beam.smp",
        preexec_fn=lambda: os.chroot(jail),  # noqa: PLW1509
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for settings in ({"root_dir": str(base)}, {"name": JAILED}, {"root_dir": str(base), "name": JAILED}):
            error = failure(lambda asked=settings: locate(asked))  # type: ignore[misc]
            assert (error.err_type, error.detail["pid"]) == ("node_in_container", process.pid)
    finally:
        process.communicate()
    if on_host != "nothing":
        assert locate({"root_dir": str(base)}).node is None
    else:
        assert failure(lambda: locate({"root_dir": str(base)})).err_type == "root_dir_not_found"


# ------------------------------------------------------------------------------------------------- what can't be seen


def asked_by_nobody(settings: dict[str, Any], proc: str = "/proc") -> str:
    """The error of who may see little, its owner and its message."""
    (read, write) = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become_nobody()
            locate(settings, proc)
            os.write(write, b"found")
        except Failure as found:
            os.write(write, f"{found.err_type} {found.detail.get('owner')} {found.message}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as file:
        return file.read()


@as_root
@pytest.mark.parametrize(("owner", "group", "mode", "asks_for"), [(0, 0, 0o700, "root"), (2, 2, 0o700, "bin")])
def test_a_root_below_a_folder_that_is_closed_to_us(
    stopped: Root, owner: int, group: int, mode: int, asks_for: str
) -> None:
    closed = stopped.path.parent
    for parent in closed.parents:
        if parent != Path("/") and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    os.chown(closed, owner, group)
    closed.chmod(mode)
    said = asked_by_nobody({"root_dir": str(stopped.path)})
    assert said.startswith(f"wrong_user {asks_for} ")
    assert f"{closed} is closed" in said


@as_root
def test_where_processes_are_hidden_nothing_is_said_to_be_absent(stopped: Root, tmp_path: Path) -> None:
    for parent in tmp_path.parents:
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    with mounted(tmp_path / "proc", "-t", "proc", "-o", "hidepid=2", "proc") as proc:
        for settings in ({"name": ABSENT}, {"root_dir": str(stopped.path)}):
            said = asked_by_nobody(settings, str(proc))
            assert said.startswith("wrong_user root Whether the node runs can't be seen"), said
        assert asked_by_nobody({"name": ABSENT}).startswith("node_not_running")
        assert failure(lambda: locate({"name": ABSENT}, str(proc))).err_type == "node_not_running"


def test_a_stopped_node_is_only_looked_for_where_the_inventory_says(tmp_path: Path) -> None:
    nowhere = failure(lambda: locate({"name": ABSENT}))
    assert (nowhere.err_type, "sets root_dir" in nowhere.hint) == ("node_not_running", True)
    assert "sets root_dir" not in failure(lambda: locate({"root_dir": "/", "name": ABSENT})).hint


def test_what_goes_while_a_folder_is_looked_at_hides_nothing_else(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").touch()
    found = processes._files(str(tmp_path), "")
    first = next(found)[0]
    gone = next(path for path in tmp_path.iterdir() if str(path) != first)
    gone.unlink()
    assert {first, *(path for path, _ in found)} == {str(path) for path in tmp_path.iterdir()}


@as_root
def test_an_environment_that_can_not_be_seen_is_not_an_empty_one(tmp_path: Path) -> None:
    def look() -> None:
        ready, say = os.pipe()
        child = os.fork()
        if child == 0:
            # As a program that has capabilities, which no other process of its user may look into.
            ctypes.CDLL(None).prctl(4, 0)
            os.write(say, b"x")
            signal.pause()
        try:
            os.read(ready, 1)
            folder = f"/proc/{child}"
            assert processes.environment(folder) is None
            root = str(tmp_path)
            peer = Peer("a@h", "", "", list)
            site = Site(root, root, None, RunningNode(child, NOBODY, "a@h", root, root, root, peer))
            assert wrapper.hides_environment(site)
            assert not wrapper.hides_environment(Site(root, root, None, None))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    by_nobody(tmp_path, look)


# ------------------------------------------------------------------------------------------------- tools beside a node


@pytest.mark.parametrize(
    ("words", "is_node"),
    [
        (["-name", "a@h"], True),
        (["-name", "a@h", "-user", "elixir", "-extra", "--no-halt"], True),
        (["-noshell", "-extra", "nodetool", "-name", "a@h"], False),
        (["-name", "a@h", "-run", "escript", "start", "-extra", "nodetool"], False),
        (["-name", "remsh1@h", "-remsh", "a@h"], False),
    ],
)
def test_what_is_a_tool_of_the_node_and_no_node(tmp_path: Path, words: list[str], is_node: bool) -> None:
    proc = Proc(tmp_path)
    proc.add(7, ["emqx", "--", "-root", "/opt/emqx", *words])
    assert (proc.find() is not None) is is_node


@pytest.mark.parametrize("words", [["-extra", "nodetool", "-name", NAME], ["-name", "c@127.0.0.1", "-remsh", NAME]])
def test_a_real_tool_beside_the_node(node: Vm, root: Root, words: list[str]) -> None:
    with root.tool(*words) as process:
        assert eventually(lambda: b"beam.smp" in Path(f"/proc/{process.pid}/comm").read_bytes())
        found = root.site(name=NAME).node
    assert found is not None
    assert found.os_pid == node.process.pid


def test_nothing_after_extra_is_an_option() -> None:
    line = CommandLine(["-name", "a@h", "-emqx_data_dir", "d", "-extra", "-name", "b@h", "-emqx_data_dir", "e"])
    assert (line.value("-name"), line.rest("-emqx_data_dir")) == ("a@h", "d")


def test_a_second_process_of_the_name_is_waited_for_if_it_ends_soon(tmp_path: Path) -> None:
    proc = Proc(tmp_path)
    proc.emqx(5)
    proc.emqx(6)
    ending = threading.Timer(0.3, lambda: shutil.rmtree(tmp_path / "6"))
    ending.start()
    started = time.monotonic()
    node = proc.find()
    ending.join()
    assert node is not None
    assert node.os_pid == 5
    assert time.monotonic() - started < 2


# ------------------------------------------------------------------------------------------------- where it listens


@as_root
def test_who_listens_on_the_nodes_port_at_another_address_is_in_nobodys_way(node: Vm, root: Root) -> None:
    found = root.site().node
    assert found is not None
    with holding(lambda: socket.create_server(("127.0.0.2", node.port))):
        link = connect(found.peer)
        assert (link.kind, link.why) == ("distribution", "")
        link.close()
