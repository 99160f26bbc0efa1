"""Requests to many hosts by each way of SSH: the first of a command, and those after it, which find what stands.

The core is that of the bench `session`, kept on the hosts beforehand. A run of an upgrade asks a host nine times.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from tabulate import tabulate

from relup_remote.ways import Ways

from . import _hosts
from .session import no_op_core, ours

WAYS = ("fabric", "openssh")
REQUESTS = 9


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if each transport logged in once to each host."""
    parser = argparse.ArgumentParser(prog="bench transports", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=16, help="number of hosts (default 16)")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-transports-") as name:
        folder = Path(name)
        with _hosts.hosts(folder, options.hosts) as hosts:
            ask = partial(ours, no_op_core(folder / "core"))
            _hosts.seconds_for_all(ask, hosts)
            for way in WAYS:
                before = _logins(folder)
                with Ways() as ways:
                    reached = [replace(host, transport=way, ways=ways) for host in hosts]
                    seconds = [_hosts.seconds_for_all(ask, reached) for _ in range(REQUESTS)]
                logins = (_logins(folder) - before) / len(hosts)
                rows.append([way, seconds[0], statistics.median(seconds[1:]), logins])
    print(f"{options.hosts} hosts, {REQUESTS} requests")
    print(tabulate(rows, headers=["", "first s", "next, median s", "logins a host"], floatfmt=".2f"))
    missed = any(row[-1] != 1 for row in rows)
    print(f"target, one login a host: {'MISSED' if missed else 'met'}")
    return int(missed)


def _logins(folder: Path) -> int:
    """How often somebody has logged in to any of the hosts."""
    return sum(log.read_text().count("Accepted publickey") for log in folder.glob("n*/ssh/sshd.log"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
