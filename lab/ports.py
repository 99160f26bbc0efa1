"""Are the ports a lab needs free, and if not, who holds them?"""

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.layout import LOOPBACK
from lab.processes import describe

PROC = Path("/proc")
LISTEN = "0A"
"""State of a listening socket in `/proc/net/tcp`."""


@dataclass(frozen=True)
class Claim:
    """A port that is about to be used, and what for."""

    port: int
    purpose: str


class PortsInUse(LabError):
    """``port_in_use``: other processes listen where the lab wants to. Nothing was started."""

    def __init__(self, taken: Iterable[Claim]) -> None:
        lines = [f"  {claim.port} ({claim.purpose}): held by {holder(claim.port)}" for claim in taken]
        super().__init__(
            "port_in_use",
            "Ports the lab needs are in use, so nothing was started:\n" + "\n".join(lines),
            "Stop what holds them, or move the lab with `inv lab.up --port-offset 1000`.",
        )


def require_free(claims: Iterable[Claim]) -> None:
    """Raise `PortsInUse`, naming every port of ``claims`` that something listens on."""
    taken = [claim for claim in claims if not is_free(claim.port)]
    if taken:
        raise PortsInUse(taken)


def is_free(port: int) -> bool:
    """Whether loopback ``port`` could be listened on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, else the remains of closed connections would count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


def holder(port: int) -> str:
    """The process that listens on ``port``, as a phrase; processes of other users can't be seen by all."""
    inodes = listening_inodes(port)
    for directory in PROC.glob("[0-9]*"):
        if inodes & _socket_inodes(directory):
            return describe(int(directory.name))
    return "a process that can't be seen from here"


def listening_inodes(port: int) -> set[str]:
    """Inodes of the sockets that listen on ``port``, by `/proc/net/tcp{,6}` (proc(5))."""
    found = set()
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def _socket_inodes(process: Path) -> set[str]:
    inodes = set()
    try:
        for link in (process / "fd").iterdir():
            kind, _, inode = str(link.readlink()).partition(":")
            if kind == "socket":
                inodes.add(inode.strip("[]"))
    except OSError:
        # Gone meanwhile, or another user's.
        return inodes
    return inodes
