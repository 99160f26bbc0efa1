"""Ports for the labs of the tests, which may run beside one another: each lab has some of its own.

A block is so many ports of each of the kinds that a lab has (`lab.layout.Ports`). The kinds lie further apart than all
blocks together reach, and none comes near the ports that the kernel hands out.
"""

import os
from collections.abc import Iterator
from itertools import cycle

from lab.layout import Ports
from lab.ports import is_free

FIRST = 100
"""So far from the ports of a lab that is made by hand."""

BLOCK = 70
"""Ports of a block; more than the largest lab has hosts."""

BLOCKS, WORKERS = 11, 4
"""Blocks of a worker, and how many workers there may be at once."""


def worker() -> int:
    """The number of the process that runs these tests among those that run beside it, from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def blocks(number: int) -> Iterator[int]:
    """The blocks of a worker in turn, again and again, as they are shifted from the default ports."""
    # A worker that died is followed by one with a higher number.
    first = FIRST + number % WORKERS * BLOCKS * BLOCK
    yield from cycle(range(first, first + BLOCKS * BLOCK, BLOCK))


_mine = blocks(worker())


def free_ports() -> Ports:
    """Ports of a block in which no lab is."""
    for _ in range(BLOCKS):
        found = Ports().shifted(next(_mine))
        if all(is_free(base + 1) for base in (found.ssh, found.mqtt, found.dist)):
            return found
    raise AssertionError("all blocks of ports are in use")
