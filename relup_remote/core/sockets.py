"""Payload, shipped to hosts (Python 3.6 and up, standard library only): who listens on this host, and where.

A node is connected to at an address on which its own process listens, so that the cookie's digest is shown to nobody
else. Who listens on the same port at another address is in nobody's way.
"""

import itertools
import os
import socket
import struct
from typing import AbstractSet, Iterator, List, NamedTuple, Tuple

from .opening import open_table

Place = Tuple[str, int]
"""An address and a port."""

_ANY = ("0.0.0.0", "::")  # noqa: S104 (what is compared with, not what is bound to)
_MAPPED = "::ffff:"


class Listener(NamedTuple):
    """A socket that listens: at `host`, which may be any address, and `port`; of the user `uid`, known by `inode`."""

    host: str
    port: int
    uid: int
    inode: str


def listeners(proc: str = "/proc") -> List[Listener]:
    """The TCP sockets that listen where we can connect to: in our network, which may be another than a process's.

    Source of the format: the kernel's "proc_net_tcp"; it lists those that listen first, before what may be a million
    connections of clients, which are not read.
    """
    found: List[Listener] = []
    for table in ("tcp", "tcp6"):
        try:
            with open_table(os.path.join(proc, "net", table)) as file:
                rows = (line.split() for line in itertools.islice(file, 1, None))
                for row in itertools.takewhile(lambda row: row[3] == "0A", rows):
                    host, _, port = row[1].partition(":")
                    found.append(Listener(_address(host), int(port, 16), int(row[7]), row[9]))
        except OSError:
            continue
    return found


def _address(digits: str) -> str:
    """An address from /proc/net: words of 32 bits, each in the machine's own order of bytes."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack("={}I".format(len(words)), *words)
    host = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
    return host[len(_MAPPED) :] if host.startswith(_MAPPED) and "." in host else host


def of_process(folder: str, uid: int) -> List[Place]:
    """Where the process of a /proc folder, of the user `uid`, listens and can be connected to; none where it has ended.

    One with capabilities of its own shows its sockets to none but root; then all that its user listens on counts.
    """
    everyone = listeners(os.path.dirname(folder))
    try:
        entries = sorted(os.listdir(os.path.join(folder, "fd")), key=int)
    except PermissionError:
        own = [listener for listener in everyone if listener.uid == uid]
    except OSError:
        return []
    else:
        own = _own(folder, entries, everyone, uid)
    ours = {listener.inode for listener in own}
    others = [listener for listener in everyone if listener.inode not in ours]
    places = [place for listener in own for place in _reached(listener) if not _is_taken(place, listener, others)]
    return sorted(set(places), key=lambda place: (place[1], ":" in place[0], place))


def _own(folder: str, entries: List[str], everyone: List[Listener], uid: int) -> List[Listener]:
    by_inode = {listener.inode: listener for listener in everyone}
    missing = {listener.inode for listener in everyone if listener.uid == uid} or set(by_inode)
    own = []
    for entry in entries:
        if not missing:
            # What a broker opened after its listeners are a million connections of clients.
            break
        try:
            target = os.readlink(os.path.join(folder, "fd", entry))
        except OSError:
            # Closed meanwhile.
            continue
        inode = target[8:-1] if target.startswith("socket:[") else ""
        if inode in by_inode:
            own.append(by_inode[inode])
            missing.discard(inode)
    return own


def _reached(listener: Listener) -> Iterator[Place]:
    """Where a listener can be connected to from this host."""
    if listener.host == "::":
        yield "::1", listener.port
    # One of any IPv6 address takes IPv4 as well, unless it was told not to.
    yield "127.0.0.1" if listener.host in _ANY else listener.host, listener.port


def _is_taken(place: Place, listener: Listener, others: List[Listener]) -> bool:
    """Whether another socket than `listener` would be connected to there.

    The one of the very address comes first, and for an IPv4 address that of any IPv4 address before one of any IPv6.
    """
    if listener.host == place[0]:
        return False
    host, port = place
    first = {(host, port)} | ({("0.0.0.0", port)} if listener.host == "::" and ":" not in host else set())  # noqa: S104
    return any(other[:2] in first for other in others)


def of_others(uids: AbstractSet[int], proc: str = "/proc") -> List[Place]:
    """Where processes of other users than `uids` listen; an address that is any other stays so."""
    return [listener[:2] for listener in listeners(proc) if listener.uid not in uids]


def takes(places: List[Place], host: str, port: int) -> bool:
    """Whether who connects to `host` and `port` may come to one of the places."""
    any_host = "::" if ":" in host else "0.0.0.0"  # noqa: S104
    return any(place in places for place in ((host, port), (any_host, port), ("::", port)))
