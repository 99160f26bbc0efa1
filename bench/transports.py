"""Requests to many hosts by each way of SSH: the first of a command, and those after it, which find what stands.

The core is that of the bench `session`, kept on the hosts beforehand. A run of an upgrade asks a host nine times. The
baseline is a connection and a core for each request.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from tabulate import tabulate

from relup_remote.ways import Ways

from . import _hosts
from .session import no_op_core, ours

BASELINE = "fabric, each alone"
CONTESTANTS = (BASELINE, "fabric", "openssh")
REQUESTS = 9


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if each transport logged in once to each host."""
    parser = argparse.ArgumentParser(prog="bench transports", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=16, help="number of hosts (default 16)")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-transports-") as temporary:
        folder = Path(temporary)
        with _hosts.hosts(folder, options.hosts) as hosts:
            servers = [int(file.read_text()) for file in folder.glob("n*/ssh/sshd.pid")]
            ask = partial(ours, no_op_core(folder / "core"))
            _hosts.seconds_for_all(ask, hosts)
            for name in CONTESTANTS:
                before, client, server = entries(folder), _cpu_here(), _cpu_of(servers)
                with ExitStack() as stack:
                    ways = None if name == BASELINE else stack.enter_context(Ways())
                    reached = [replace(host, transport=name.split(",")[0], ways=ways) for host in hosts]
                    seconds = [_hosts.seconds_for_all(ask, reached) for _ in range(REQUESTS)]
                started = [(now - then) / len(hosts) for now, then in zip(entries(folder), before, strict=True)]
                cpu = [(_cpu_here() - client) * 1000 / len(hosts), (_cpu_of(servers) - server) * 1000 / len(hosts)]
                rows.append([name, seconds[0], statistics.median(seconds[1:]), *started, *cpu])
    print(f"{options.hosts} hosts, {REQUESTS} requests")
    told = ["", "first s", "next, median s", "logins a host", "cores a host", "client CPU ms a host", "host CPU ms"]
    print(tabulate(rows, headers=told, floatfmt=".2f"))
    missed = any(entries != 1 for name, _first, _next, *counts, _client, _host in rows[1:] for entries in counts)
    print(f"target, one login and one core a host: {'MISSED' if missed else 'met'}")
    return int(missed)


def entries(folder: Path) -> list[int]:
    """How often somebody has logged in to any of the hosts, and started something there."""
    logs = [log.read_text() for log in folder.glob("n*/ssh/sshd.log")]
    return [sum(log.count(words) for log in logs) for words in ("Accepted publickey", "Starting session")]


def _cpu_here() -> float:
    """CPU seconds of this process, and of those of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _cpu_of(servers: Sequence[int]) -> float:
    """CPU seconds of all sessions that the servers have had, once these have ended."""
    total = 0.0
    for pid in servers:
        while Path(f"/proc/{pid}/task/{pid}/children").read_text().strip():
            time.sleep(0.01)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
