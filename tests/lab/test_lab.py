"""The lab itself: starting twice, ports that are taken, other ways of distribution, and nothing left behind."""

import socket
import subprocess
from pathlib import Path

import pytest

from lab import processes
from lab.cluster import Lab
from lab.errors import LabError
from lab.layout import Ports
from tests.lab.cluster import BASE, FIRST, NOTHING, Tool, foreign
from tests.lab.ports import free_ports

PORTS = free_ports()


def living_in(folder: Path) -> list[int]:
    """Every process whose command line or environment names the folder."""

    def names_it(pid: int) -> bool:
        try:
            proc = Path("/proc") / str(pid)
            seen = (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        except OSError:
            return False
        return str(folder).encode() in seen

    return processes.find(names_it)


def test_up_twice_and_down_without_a_trace(tmp_path: Path) -> None:
    said: list[str] = []
    lab = Lab(tmp_path / "lab", nodes=1, ports=PORTS, say=said.append)
    try:
        lab.up()
        # Whoever has a lab that is up may make tables in it at once.
        assert lab.eval("n1", "mnesia:create_table(kept, [{disc_copies, [node()]}])") == "{atomic,ok}"
        pid = lab.node_pid("n1")
        assert pid is not None
        said.clear()
        lab.up()
        assert said == []
        assert lab.node_pid("n1") == pid
        assert living_in(tmp_path)
    finally:
        lab.down()
    assert living_in(tmp_path) == []


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", PORTS.mqtt + 1)):
        with pytest.raises(LabError) as caught:
            Lab(tmp_path / "lab", nodes=1, ports=PORTS).up()
        assert caught.value.err_type == "port_in_use"
        assert str(PORTS.mqtt + 1) in str(caught.value)
    assert living_in(tmp_path) == []


def test_node_that_registers_with_epmd(tmp_path: Path) -> None:
    """The same commands reach a node whose port epmd knows."""
    lab = Lab(tmp_path / "lab", nodes=1, ports=PORTS, epmd=True)
    try:
        lab.up()
        relup = Tool(lab.inventory_path)
        status = relup.run("status").row()
        assert (status["running"], status["facts"]["link"]) == (BASE, "distribution")
        ran = relup.run("upgrade", "--tarball", str(lab.tarball(FIRST)), "--yes")
        assert ran.status == 0, ran.stdout
        assert foreign(lab, "n1") == NOTHING
    finally:
        lab.down()
    assert living_in(tmp_path) == []


def test_tasks_say_what_they_do(tmp_path: Path) -> None:
    """`inv lab.up`, `lab.status` and `lab.down`, as a user runs them."""

    def inv(task: str, *options: str) -> str:
        words = [*Tool(tmp_path).words("", json=False)[:1], "-m", "invoke", task, "--directory", str(tmp_path / "lab")]
        done = subprocess.run([*words, *options], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        offset = str(PORTS.ssh - Ports().ssh)
        assert "lab is up: 3 hosts" in inv("lab.up", "--nodes", "1", "--hosts", "3", "--port-offset", offset)
        rows = [line.split() for line in inv("lab.status").splitlines()[2:]]
        assert [(row[0], row[2], row[3], row[5]) for row in rows] == [
            (host, "emqx1@127.0.0.1", "core", BASE) for host in ("n1", "n2", "n3")
        ]
    finally:
        assert "lab is down" in inv("lab.down")
    assert living_in(tmp_path) == []
