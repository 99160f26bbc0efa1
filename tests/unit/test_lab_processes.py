"""Only what was recognised is ended, and its end is awaited."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import pytest

from lab import node, processes, sshd
from lab.layout import Layout

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"


@pytest.fixture
def idler() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing; it has answered once, so that it surely is what it was started as."""
    with subprocess.Popen(["cat", "-"], env={"HOME": "/srv/n1"}, stdin=PIPE, stdout=PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"there?\n")
        assert process.stdout.readline() == b"there?\n"
        yield process
        process.kill()


def test_a_process_is_described_by_what_it_runs(idler: subprocess.Popen[bytes]) -> None:
    assert processes.executable(idler.pid) == "cat"
    assert processes.arguments(idler.pid) == ["cat", "-"]
    assert processes.environment(idler.pid) == {"HOME": "/srv/n1"}
    assert processes.parent(idler.pid) == os.getpid()
    assert processes.describe(idler.pid) == f"pid {idler.pid} (cat: cat)"


def test_a_process_lives_until_it_has_ended(idler: subprocess.Popen[bytes]) -> None:
    assert processes.lives(idler.pid)
    idler.kill()
    os.waitid(os.P_PID, idler.pid, os.WEXITED | os.WNOWAIT)
    # Nobody has asked for its status yet.
    assert not processes.lives(idler.pid)
    idler.wait()
    assert not processes.lives(idler.pid)


def test_it_is_found_by_what_recognises_it(idler: subprocess.Popen[bytes]) -> None:
    assert processes.find(lambda pid: processes.parent(pid) == os.getpid() and processes.executable(pid) == "cat") == [
        idler.pid
    ]


def test_a_recognised_process_is_ended(idler: subprocess.Popen[bytes]) -> None:
    assert processes.end(idler.pid, lambda pid: processes.executable(pid) == "cat")
    assert idler.wait(timeout=0) == -signal.SIGTERM


def test_another_process_under_the_same_pid_is_left_alone(idler: subprocess.Popen[bytes]) -> None:
    assert not processes.end(idler.pid, lambda pid: processes.executable(pid) == "sshd")
    assert not processes.kill(idler.pid, lambda pid: processes.executable(pid) == "sshd")
    assert idler.poll() is None


def test_a_process_deaf_to_sigterm_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes.end(process.pid, lambda _: True, timeout=0.05)
        assert process.wait(timeout=0) == -signal.SIGKILL


def test_a_process_that_is_gone_is_nothing_to_do(idler: subprocess.Popen[bytes]) -> None:
    idler.kill()
    idler.wait()
    assert not processes.end(idler.pid, lambda _: True)
    assert processes.arguments(idler.pid) == []
    assert processes.executable(idler.pid) == ""
    assert processes.environment(idler.pid) == {}
    assert processes.parent(idler.pid) == 0


@pytest.mark.parametrize("text", ["", "no pid\n"])
def test_a_pid_file_without_a_pid_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pid"
    assert processes.read_pid(path) is None
    path.write_text(text)
    assert processes.read_pid(path) is None


def test_a_stale_pid_file_is_not_taken_for_our_server(tmp_path: Path, idler: subprocess.Popen[bytes]) -> None:
    host = Layout(tmp_path, nodes=1).hosts[0]
    host.ssh_dir.mkdir(parents=True)
    (host.ssh_dir / "sshd.pid").write_text(f"{idler.pid}\n")
    assert sshd.pid(host) is None
    assert not sshd.stop(host)
    assert idler.poll() is None


COMMAND_LINE = ["emqx1", "--", "-root", "{root}", "-name", "emqx1@127.0.0.1", "-emqx_data_dir", "{root}/data"]


@pytest.mark.parametrize(
    ("executable", "changed", "expected"),
    [
        ("beam.smp", {}, True),
        ("beam.smp", {3: "{root}/relup/5.10.5-lab"}, True),
        ("beam.smp", {3: "/opt/emqx"}, False),
        ("beam.smp", {3: "{root}-other"}, False),
        ("beam.smp", {5: "emqx2@127.0.0.1"}, False),
        ("beam.smp", {6: "-extra"}, False),
        ("cat", {}, False),
    ],
    ids=["the node", "in a deployed tree", "another root", "a root like ours", "another name", "an escript", "no VM"],
)
def test_a_node_is_recognised_by_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str, changed: dict[int, str], expected: bool
) -> None:
    host = Layout(tmp_path, nodes=1).hosts[0]
    words = [changed.get(i, word).format(root=host.root) for i, word in enumerate(COMMAND_LINE)]
    monkeypatch.setattr(processes, "executable", lambda _: executable)
    monkeypatch.setattr(processes, "arguments", lambda _: words)
    assert node.is_node(4711, host) is expected


def test_the_tree_to_boot_is_followed_through_markers(tmp_path: Path) -> None:
    host = Layout(tmp_path, nodes=1).hosts[0]
    first = host.root / "relup" / "5.10.5-lab"
    second = first / "relup" / "5.10.6-lab"
    second.mkdir(parents=True)
    assert node.boot_root(host) == host.root
    (host.root / "relup" / "current").write_text("5.10.5-lab")
    assert node.boot_root(host) == first
    (first / "relup" / "current").write_text("5.10.6-lab\n")
    assert node.boot_root(host) == second


def test_a_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    path.write_text("old")
    path.chmod(0o644)
    node.write_secret(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_cookie_is_made_once(tmp_path: Path) -> None:
    first = node.make_cookie(tmp_path / "cookie")
    assert len(first) == 32
    assert node.make_cookie(tmp_path / "cookie") == first
