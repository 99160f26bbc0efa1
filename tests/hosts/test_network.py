"""The machines' network, without machines."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.hosts import network
from lab.hosts.image import TRIXIE
from lab.hosts.lab import Hosts
from lab.hosts.network import Network
from lab.hosts.room import Room

ASK = """
import socket, sys
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(float(sys.argv[2]))
asking.sendto(b"?", (sys.argv[1], 7))
print(asking.recv(1).decode())
"""

ANSWER = """
import socket
answering = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answering.bind(("0.0.0.0", 7))
while True:
    answering.sendto(b"!", answering.recvfrom(1)[1])
"""


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Namespaces, empty."""
    made = Room(tmp_path)
    made.open()
    yield made
    made.close()


def test_cables_delay_swallow_and_are_pulled(room: Room, tmp_path: Path) -> None:
    net = Network(room, tmp_path)
    net.up({"n1": 11, "n2": 12})
    room.run("sh", "-c", 'ip netns exec n1 python3 -c "$0" >/dev/null 2>&1 &', ANSWER)

    def ask(seconds: float = 30) -> float:
        began = time.monotonic()
        assert room.run("ip", "netns", "exec", "n2", "python3", "-c", ASK, network.address(11), str(seconds)) == "!\n"
        return time.monotonic() - began

    def is_silent() -> bool:
        with pytest.raises(LabError, match=r"timed out|unreachable"):
            ask(0.3)
        return True

    # It answers once it listens.
    while True:
        try:
            ask(0.3)
            break
        except LabError:
            continue
    net.link("n1", delay=0.4)
    assert ask() > 0.8
    net.link("n1", passes=False)
    assert is_silent()
    net.link("n1", plugged=False)
    assert is_silent()
    assert "NO-CARRIER" in room.run("ip", "-n", "n1", "link", "show", "lan")
    net.link("n1")
    ask()


def test_nothing_outlives_the_room(room: Room, tmp_path: Path) -> None:
    Network(room, tmp_path).up({"n1": 11})
    folder = room.files / "run" / "netns"
    assert [path.name for path in folder.iterdir()] == ["n1"]
    assert room.close()
    assert room.pid is None
    assert not room.close()
    with pytest.raises(LabError) as refusal:
        room.run("true")
    assert refusal.value.err_type == "lab_down"


def test_down_says_so_where_no_machine_is_up(tmp_path: Path) -> None:
    said: list[str] = []
    Hosts(tmp_path, say=said.append).down()
    assert said == ["no machine is up"]


def test_machines_stay_what_they_were_made_as(tmp_path: Path) -> None:
    assert len(Hosts.as_made(tmp_path, nodes=2).nodes) == 2
    (tmp_path / "made.json").write_text('{"nodes": 5, "bastion": true, "system": "trixie"}')
    there = Hosts.as_made(tmp_path)
    assert (len(there.machines), there.system) == (6, TRIXIE)
    with pytest.raises(LabError) as refusal:
        Hosts.as_made(tmp_path, nodes=2, bastion=True)
    assert (refusal.value.err_type, refusal.value.message) == (
        "made_otherwise",
        "There are machines that were made otherwise: nodes 5.",
    )
    there.forget()
    assert len(Hosts.as_made(tmp_path).machines) == 3
