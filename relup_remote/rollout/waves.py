"""Which host's turn it is: the order of hosts, their waves, and how many may fail. Pure.

Waves are given by sizes, ``1,25%,100%``: each a number of hosts or a share of all of them, rounded up. The last one is
repeated until no host is left.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relup_remote.usage import UsageError

CANARY_FIRST = "1,100%"
"""One host as the canary, then all the others."""

ROLES = ("replicant", "core")
"""Replicants hold no data of the cluster, so they go first."""

ORDERS: dict[str, Sequence[str]] = {"replicants-first": ROLES, "cores-first": ROLES[::-1], "inventory": ()}
"""The orders hosts can be taken in, by role; within a role it is that of the inventory."""


@dataclass(frozen=True)
class Amount:
    """A number of hosts, or a share of all of them in percent."""

    number: int
    is_share: bool = False

    def of(self, hosts: int, *, up: bool) -> int:
        """How many of so many ``hosts`` it comes to, rounded up or down."""
        if not self.is_share:
            return self.number
        return (math.ceil if up else math.floor)(hosts * self.number / 100)

    def __str__(self) -> str:
        return f"{self.number}%" if self.is_share else str(self.number)


def amount(option: str, text: str, minimum: int = 0) -> Amount:
    """Read ``3`` or ``25%``. Raises `UsageError` (``bad_option``), naming the ``option``."""
    found = re.fullmatch(r"([0-9]{1,6})(%?)", text.strip())
    if not found or int(found[1]) < minimum or (found[2] and int(found[1]) > 100):
        raise UsageError("bad_option", f"--{option}: {text!r} is neither a number of hosts nor a share such as 25%")
    return Amount(int(found[1]), bool(found[2]))


def sizes(text: str) -> list[Amount]:
    """Read the sizes of waves. Raises `UsageError` (``bad_option``)."""
    return [amount("waves", word, minimum=1) for word in text.split(",")]


def split(hosts: Sequence[str], wanted: Sequence[Amount]) -> list[list[str]]:
    """``hosts`` in waves of the ``wanted`` sizes."""
    waves: list[list[str]] = []
    taken = 0
    while taken < len(hosts):
        size = wanted[min(len(waves), len(wanted) - 1)].of(len(hosts), up=True)
        waves.append(list(hosts[taken : taken + size]))
        taken += size
    return waves


def ordered(hosts: Sequence[str], roles: Mapping[str, str | None], order: str) -> list[str]:
    """``hosts`` by role; one whose role is not known counts as a core."""
    ranks = ORDERS[order]
    return sorted(hosts, key=lambda host: ranks.index(roles.get(host) or "core") if ranks else 0)
