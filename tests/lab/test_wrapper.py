"""The wrapper of the lab's release: it finds its tree, keeps data at the base, and says what went wrong."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import build
from lab.cluster import Lab
from lab.layout import LOOPBACK
from lab.release.wrapper import Feature, leave_out
from relup_remote.core import boot, running_node
from tests.lab.cluster import until
from tests.lab.ports import free_ports

PORTS = free_ports()

NODE = f"emqx5@{LOOPBACK}"
COOKIE = "a cookie with 'quotes'"
Wrapper = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A release unpacked where quoting matters, and configured."""
    root = tmp_path / 'it\'s a "root"'
    unpack("5.10.4-lab", root)
    (root / "etc" / "emqx.conf").write_text(
        f"node.name = {NODE}\nnode.cookie = {COOKIE}\nnode.data_dir = my data\n"
        f"node.dist_base_port = {PORTS.dist}\ncluster.static.seeds = {NODE}\n"
        f"listeners.tcp.default.bind = {LOOPBACK}:{PORTS.mqtt}\n"
    )
    return root


@pytest.fixture
def emqx(root: Path) -> Iterator[Wrapper]:
    """Runs the wrapper; the node is stopped in the end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(root / "bin" / "emqx"), *arguments]
        return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=120)

    yield run
    run("stop")
    assert run("pid").returncode == 1


def unpack(version: str, directory: Path) -> None:
    tarball = build.build_release(version, Lab().releases)
    shutil.unpack_archive(tarball, directory)


def deploy(version: str, tree: Path, base: Path) -> Path:
    """Put a release in front of a tree, as a hot upgrade does, with its files where the base has them."""
    deployed = tree / "relup" / version
    unpack(version, deployed)
    for kept_at_base in ("data", "etc", "log", "plugins"):
        shutil.rmtree(deployed / kept_at_base)
    boot.repair(str(deployed), str(base))
    (tree / "relup" / "current").write_text(version)
    return deployed


def test_node_from_start_to_stop(emqx: Wrapper, root: Path) -> None:
    assert emqx("ping").returncode == 1
    assert "not running" in emqx("stop").stderr
    started = emqx("start")
    assert started.returncode == 0, started.stderr
    assert emqx("ping").stdout == "pong\n"
    again = emqx("start")
    assert again.returncode == 1
    assert "running already" in again.stderr
    assert emqx("ctl", "status").stdout == f"Node '{NODE}' 5.10.4-lab is started\n"
    assert emqx("ctl", "nonsense").returncode == 1
    assert emqx("eval", "emqx:data_dir()").stdout == '"my data"\n'
    assert "boom" in emqx("eval", "error(boom)").stderr
    assert "syntax error" in emqx("eval", "1 +").stderr
    pid = int(emqx("pid").stdout)
    assert Path(f"/proc/{pid}/cwd").readlink() == root
    assert Path(f"/proc/{pid}/comm").read_text() == "beam.smp\n"
    assert Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"emqx5\0")
    assert [path.stat().st_mode & 0o777 for path in (root / "my data" / "configs").glob("vm.*.args")] == [0o600]
    assert emqx("stop").returncode == 0
    assert emqx("ping").returncode == 1


def test_no_restart_unless_it_is_let_in(emqx: Wrapper, root: Path) -> None:
    refused = emqx("restart")
    assert (refused.returncode, "restart" in refused.stderr) == (1, False)
    leave_out(root, [Feature.NO_RESTART])
    assert "not running" in emqx("restart").stderr


def test_check_config_reads_the_configuration_and_writes_no_file(emqx: Wrapper, root: Path) -> None:
    before = sorted(path for path in root.rglob("*") if path.is_file())
    assert emqx("check_config").returncode == 0
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before
    conf = root / "etc" / "emqx.conf"
    conf.write_text(f"{conf.read_text()}node.nonsense = 1\n")
    wrong = emqx("check_config")
    assert wrong.returncode == 1
    assert "unknown key node.nonsense" in wrong.stderr
    leave_out(root, [Feature.CHECK_CONFIG])
    assert "usage" in emqx("check_config").stderr


@pytest.mark.parametrize("command", ["start", "foreground", "console", "check_config", "stop", "ctl"])
def test_nothing_works_without_the_configuration_of_its_own_tree(emqx: Wrapper, root: Path, command: str) -> None:
    (root / "etc").rename(root / "etc-away")
    refused = emqx(command)
    assert (refused.returncode, refused.stderr) == (1, f"emqx.conf is not found in {root / 'etc'}\n")
    (root / "etc-away").rename(root / "etc")


def test_node_that_boots_slowly_and_shells_attached_to_it(emqx: Wrapper, root: Path) -> None:
    conf = root / "etc" / "emqx.conf"
    # Long enough for two calls of the wrapper on a busy machine.
    conf.write_text(f"{conf.read_text()}node.boot_seconds = 15\n")
    starting = subprocess.Popen([root / "bin" / "emqx", "start"], cwd="/", stdout=subprocess.DEVNULL)
    until("the VM answers", lambda: emqx("ping").returncode == 0)
    early = emqx("ctl", "status")
    assert (early.returncode, early.stdout) == (1, "Command table is initializing.\n")
    assert starting.wait(timeout=60) == 0
    assert emqx("ctl", "status").returncode == 0
    operator, terminal = os.openpty()
    shell = subprocess.Popen(
        [root / "bin" / "emqx", "remote_console"], stdin=terminal, stdout=terminal, stderr=terminal
    )
    try:
        os.write(operator, b"{shell, node()}.\n")
        seen = b""
        while f"{{shell,'{NODE}'}}".encode() not in seen:
            seen += os.read(operator, 4096)
        os.write(operator, b"halt().\n")
        while b"restricted" not in seen:
            seen += os.read(operator, 4096)
        # While it is there, and nodetool comes and goes, the node is one.
        found = running_node.find(str(root), None)
        assert found is not None
        assert found.os_pid == int(emqx("pid").stdout)
    finally:
        shell.kill()
        shell.wait()
        for end in (operator, terminal):
            os.close(end)


def test_deployed_trees_chain_and_data_stays_at_the_base(emqx: Wrapper, root: Path) -> None:
    assert emqx("start").returncode == 0
    tree = root
    for version in ("5.10.5-lab", "5.10.6-lab"):
        tree = deploy(version, tree, root)
        assert emqx("stop").returncode == 0
        begun = emqx("start")
        assert begun.returncode == 0, begun.stderr
        assert emqx("eval", "emqx_release:version()").stdout == f'"{version}"\n'
        assert emqx("root_dir").stdout == f"{tree}\n"
        assert Path(f"/proc/{int(emqx('pid').stdout)}/cwd").readlink() == root
    assert (root / "my data" / "mnesia" / NODE / "schema.DAT").is_file()
    assert not list((root / "relup").rglob("my data")) + list((root / "relup").rglob("emqx.log"))


def test_deployed_tree_whose_folders_are_its_own_does_not_boot(emqx: Wrapper, root: Path) -> None:
    deployed = deploy("5.10.5-lab", root, root)
    unpack("5.10.5-lab", deployed)
    shutil.rmtree(deployed / "etc")
    for command in ("start", "check_config", "ctl"):
        refused = emqx(command)
        assert (refused.returncode, refused.stderr) == (1, f"emqx.conf is not found in {deployed}/etc\n")
    (root / "relup" / "current").unlink()


def test_marker_that_leads_nowhere_is_named(emqx: Wrapper, root: Path) -> None:
    (root / "relup").mkdir()
    marker = root / "relup" / "current"
    marker.write_text("9.9.9")
    refused = emqx("start")
    assert refused.returncode == 1
    assert f"{marker} leads to" in refused.stderr
    marker.unlink()


def test_node_that_can_not_start_is_an_error(emqx: Wrapper, root: Path) -> None:
    (root / "releases" / "5.10.4-lab" / "start.boot").unlink()
    refused = emqx("start")
    assert refused.returncode == 1
    assert f"See {root / 'log' / 'start.log'}" in refused.stderr
