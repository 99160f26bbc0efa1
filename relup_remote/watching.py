"""Looking at hosts again and again, until all is well and has stayed so."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from relup_remote.rollout.rows import Row, exit_status

INTERVAL = 2.0
"""Seconds between the end of a look and the next."""


@dataclass(frozen=True)
class Patience:
    """How long all has to be well, and how long that is waited for, in seconds."""

    stable: float = 10
    timeout: float = 120


@dataclass(frozen=True)
class Watched:
    """What was seen last, whether it was ``stable``, and after how many looks and seconds."""

    rows: list[Row]
    stable: bool
    looks: int
    seconds: float


def until_stable(
    look: Callable[[], list[Row]],
    wait: Callable[[float], bool],
    tell: Callable[[str], None],
    patience: Patience,
    clock: Callable[[], float] = time.monotonic,
) -> Watched:
    """Look until all rows have been good for `Patience.stable` in a row, or `Patience.timeout` is over.

    ``wait`` waits so many seconds, and says whether the operator wants no more; that ends it too. ``tell`` is told how
    each host is at first, and of what changes.
    """
    began = clock()
    good_since: float | None = None
    before: Mapping[str, str] = {}
    looks = 0
    while True:
        rows = look()
        now = clock()
        looks += 1
        standing = {row["host"]: _standing(row) for row in rows}
        for line in _changes(before, standing):
            tell(line)
        before = standing
        is_good = exit_status(rows) == 0
        good_since = None if not is_good else now if good_since is None else good_since
        lacking = INTERVAL if good_since is None else good_since + patience.stable - now
        left = began + patience.timeout - now
        if lacking <= 0 or left <= 0 or wait(min(INTERVAL, lacking, left)):
            return Watched(rows, lacking <= 0, looks, now - began)


def _standing(row: Row) -> str:
    """How a host is, in words."""
    error = row["error"]
    return f"{row['outcome']}, {error['err_type']}: {error['message']}" if error else str(row["outcome"])


def _changes(before: Mapping[str, str], standing: Mapping[str, str]) -> Iterator[str]:
    alike: dict[str, list[str]] = {}
    for host, how in standing.items():
        if before.get(host) != how:
            alike.setdefault(how, []).append(host)
    return (f"{', '.join(hosts)} {how}" for how, hosts in alike.items())
