"""The network of the machines: a switch, a program of its own (standard library only).

    python -I switch.py LINKS NAME…

Each NAME gets a cable, whose other end is the device `lan-NAME` of this network namespace. It can be moved into another
one. LINKS is a JSON file: for each name, what its cable does to frames, see `Cable`. It is read at the start and after
each SIGHUP. The program says `ready` once all devices are there.

`tc netem` would do the same, but kernels that are built for small virtual machines lack it.
"""

import contextlib
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
TUNSETIFF, TUNSETCARRIER = 0x400454CA, 0x400454E2
"""Source: linux/if_tun.h."""
FRAME = 65536
GROUP = 1
"""The bit in the first byte of an address that is meant for more than one machine."""


class Cable:
    """One end of the network: a TAP device, and what happens to frames on the way to and from it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", f"lan-{name}".encode(), IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(self.file, TUNSETIFF, request)
        self.set({})

    def set(self, link: dict[str, Any]) -> None:
        """``delay``: seconds, each way. ``loss``: the share of frames that get lost. ``passes``: false swallows all.
        ``plugged``: false is a cable that was pulled: the device knows."""
        self.delay = float(link.get("delay", 0))
        self.loss = float(link.get("loss", 0))
        plugged = bool(link.get("plugged", True))
        self.passes = bool(link.get("passes", True)) and plugged
        fcntl.ioctl(self.file, TUNSETCARRIER, struct.pack("i", plugged))

    def loses(self) -> bool:
        """Whether the frame in hand gets lost."""
        return not self.passes or (self.loss > 0 and random.random() < self.loss)


def main(links: Path, names: list[str]) -> None:
    """Carry frames until killed."""
    cables = {cable.file: cable for cable in map(Cable, names)}
    places: dict[bytes, Cable] = {}
    late: list[tuple[float, int, Cable, bytes]] = []
    number = itertools.count()

    def read_links(*_: object) -> None:
        found = json.loads(links.read_text())
        for cable in cables.values():
            cable.set(found.get(cable.name, {}))

    def deliver(cable: Cable, frame: bytes) -> None:
        if not cable.loses():
            # While the device is down, or its queue is full, the frame is lost.
            with contextlib.suppress(OSError):
                os.write(cable.file, frame)

    read_links()
    signal.signal(signal.SIGHUP, read_links)
    print("ready", flush=True)
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        for file in select.select(list(cables), [], [], wait)[0]:
            source = cables[file]
            try:
                frame = os.read(file, FRAME)
            except OSError:
                continue
            if source.loses():
                continue
            places[frame[6:12]] = source
            known = None if frame[0] & GROUP else places.get(frame[:6])
            for target in [known] if known else [cable for cable in cables.values() if cable is not source]:
                delay = source.delay + target.delay
                if delay:
                    heapq.heappush(late, (time.monotonic() + delay, next(number), target, frame))
                else:
                    deliver(target, frame)
        while late and late[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(late)
            deliver(target, frame)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
