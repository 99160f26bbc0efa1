"""A node that is down is started by its wrapper only where nothing of what it was started with is lost."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from relup_remote.core import commands, history, wrapper
from relup_remote.core.context import Context
from relup_remote.core.erlang.link import Peer
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode

from .backups import NODE, Node
from .vm import eventually

WRAPPER = """#!/bin/sh
# Follows relup/current; there is a check_config.
echo "$1 name=$EMQX_NODE__NAME" >>"{asked}"
[ "$1" = check_config ]
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path / "emqx")
    made.deploy("5.10.5")
    path = made.root / "bin" / "emqx"
    path.parent.mkdir()
    path.write_text(WRAPPER.format(asked=tmp_path / "asked"))
    path.chmod(0o755)
    return made


def noted(node: Node, **env: str) -> None:
    """Let the history tell of an attempt that found the node running with that environment."""
    vm = subprocess.Popen(
        ["sh", "-c", "echo up; read _"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert vm.stdout
        assert vm.stdout.readline() == "up\n"
        root = str(node.root)
        running = RunningNode(vm.pid, 0, NODE, root, root, str(node.data), Peer(NODE, "", "", list))
        context = node.context("upgrade", "run-0")
        context.site.node = running
        context.result.running = None
        context.site.make_ours()
        history.begin(context, {})
        history.finish(context, "success")
    finally:
        vm.communicate("\n", timeout=30)


def rolled_back(node: Node, run: str = "run-1") -> tuple[Context, Failure]:
    context = node.context("rollback", run)
    with pytest.raises(Failure) as caught:
        commands.run(context)
    context.close()
    return context, caught.value


def test_a_node_with_settings_in_its_environment_is_not_started_without_them(node: Node, tmp_path: Path) -> None:
    noted(node, EMQX_NODE__NAME=NODE, EMQX_NODE__COOKIE="secret", EMQX_LOG__LEVEL="info")
    context, failure = rolled_back(node)
    assert failure.err_type == "restart_failed"
    assert failure.detail["environment"] == ["EMQX_NODE__COOKIE", "EMQX_NODE__NAME"]
    assert "EMQX_NODE__COOKIE, EMQX_NODE__NAME" in failure.message
    assert "Start it by hand" in failure.message
    assert not (node.root / "relup" / "current").exists()
    assert context.changed
    assert "start" not in [line.split()[0] for line in (tmp_path / "asked").read_text().splitlines()]
    assert "secret" not in repr(context.journal.rows())


def test_one_that_had_none_is_started(node: Node, tmp_path: Path) -> None:
    noted(node, EMQX_LOG__LEVEL="info")
    _, failure = rolled_back(node)
    # This wrapper can't.
    assert failure.message.startswith("The wrapper's start ended with 1")
    assert (tmp_path / "asked").read_text().splitlines()[-1] == "start name="


@pytest.mark.parametrize("whole", [False, True])
def test_a_wrapper_that_writes_without_end_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, whole: bool
) -> None:
    monkeypatch.setattr(wrapper, "_MOST_SAID", 1 << 20)
    monkeypatch.setattr(wrapper, "_LOOK", 0.01)
    log = tmp_path / "log"
    ran = wrapper.run(["yes"], {"PATH": os.environ["PATH"]}, str(tmp_path), 3600, str(log), whole)
    assert (ran.status, ran.began) == (None, True)
    assert ran.said.endswith("It wrote more than 1 MB.\n")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nor_does_what_it_has_started_but_a_vm_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapper, "_MOST_SAID", 1 << 20)
    monkeypatch.setattr(wrapper, "_LOOK", 0.01)
    # As `erl -detached` does it, the VM has a session of its own. Both numbers are there before anything is written.
    vm_starts = "setsid sh -c 'echo $$ >vm; exec sleep 600' >/dev/null 2>&1 & until [ -s vm ]; do :; done"
    script = f"{vm_starts}; sh -c 'echo $$ >child; exec yes' & wait"
    ran = wrapper.run(["sh", "-c", script], dict(os.environ), str(tmp_path), 3600, str(tmp_path / "log"))
    assert ran.said.endswith("It wrote more than 1 MB.\n")
    child, vm = (int((tmp_path / name).read_text()) for name in ("child", "vm"))
    try:
        eventually(lambda: not runs(child))
        assert runs(vm)
    finally:
        os.kill(vm, signal.SIGKILL)
