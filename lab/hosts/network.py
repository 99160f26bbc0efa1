"""Addresses, and the cables between machines: see `lab.hosts.switch`."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import processes
from lab.errors import LabError
from lab.hosts import switch
from lab.hosts.room import Room

OPERATOR = "operator"
"""The cable of the room itself, where the operator's commands run."""

NET4, NET6 = "10.77.0", "fd77:"
"""The addresses are the lab's own: nothing is routed in or out of it."""


def address(number: int, family: int = 4) -> str:
    """The address of a place in the network."""
    return f"{NET4}.{number}" if family == 4 else f"{NET6}:{number}"


class Network:
    """The switch of a room, and a namespace for each machine, which keeps its addresses while the machine is off."""

    def __init__(self, room: Room, state: Path) -> None:
        self._room = room
        self._links = state / "links.json"
        self._pid_file = state / "switch.pid"
        self._log = state / "switch.log"

    def up(self, numbers: dict[str, int]) -> None:
        """Make the cables for machines by their names and numbers. Raises `LabError` (``no_network``)."""
        self._write({})
        words = ["python3", "-I", switch.__file__, str(self._links), OPERATOR, *numbers]
        with self._log.open("wb") as log:
            started = subprocess.Popen(
                self._room.within(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert started.stdout is not None
        with started.stdout:
            if started.stdout.readline() != b"ready\n":
                raise LabError("no_network", "The machines' network could not be made.", f"See {self._log}.")
        # nsenter has started it in a process of its own, for the sake of the namespace of processes.
        self._pid_file.write_text(str(processes.children(started.pid)[0]))
        self._plug(f"lan-{OPERATOR}", 1)
        for name, number in numbers.items():
            self._room.run("ip", "netns", "add", name)
            self._room.run("ip", "link", "set", f"lan-{name}", "netns", name, "name", "lan")
            self._plug("lan", number, "-n", name)
            self._room.run("ip", "-n", name, "link", "set", "lo", "up")

    def _plug(self, device: str, number: int, *where: str) -> None:
        self._room.run("ip", *where, "address", "add", f"{address(number)}/24", "dev", device)
        self._room.run("ip", *where, "address", "add", f"{address(number, 6)}/64", "dev", device, "nodad")
        self._room.run("ip", *where, "link", "set", device, "up")

    def link(self, name: str, **how: Any) -> None:
        """What the cable of a machine does from now on, see `lab.hosts.switch.Cable.set`; nothing: it is whole."""
        links = json.loads(self._links.read_text())
        links[name] = how
        self._write(links)
        pid = processes.read_pid(self._pid_file)
        assert pid is not None, "the network was never up"
        self._room.hang_up(pid)

    def hide(self, numbers: Sequence[int]) -> None:
        """Leave the operator no way to some machines, but by others."""
        for number in numbers:
            self._room.run("ip", "route", "add", "unreachable", address(number))

    def _write(self, links: dict[str, Any]) -> None:
        part = self._links.with_suffix(".part")
        part.write_text(json.dumps(links))
        part.rename(self._links)
