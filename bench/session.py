"""Seven small steps on many hosts at once: one run of the core against seven `Connection.run`s of Fabric.

Both connect anew each time, a thread a host. The core is the real one, except that its `main` goes through the steps of
an upgrade without doing any; it imports all that an upgrade does. *First time* is with nothing kept on the hosts: the
core is sent; here they have the client's kind of Python, so that it compiles the core for them, anew each time. The
contestants take turns.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tabulate import tabulate

import relup_remote.core
from relup_remote.core.protocol import STEPS
from relup_remote.host import Host, session
from relup_remote.host.payload import Payload, build
from relup_remote.inventory import HostSettings

from . import _hosts

TARGET = 1.0
FIRST, KEPT, BASELINE = "ours, first time", "ours, core kept", "Connection.run, seven times"

MAIN = '''\
"""Payload, shipped to hosts (Python 3.6 and up, standard library only): goes through the steps and does none."""

import json
import pkgutil  # noqa: F401
import sqlite3  # noqa: F401
import sys

from . import archive, commands  # noqa: F401
from .erlang import consult  # noqa: F401
from .protocol import STEPS, Result, Step, encode


def main() -> int:
    """Answers any request."""
    json.loads(sys.stdin.buffer.readline().decode("utf-8"))
    result = Result()
    for name in STEPS:
        sys.stdout.buffer.write(encode({"event": "step", "step": name, "status": "start"}))
        result.steps.append(Step(name, "unchanged", 0.0, {}))
        sys.stdout.buffer.write(encode(dict(result.steps[-1].to_json(), event="step")))
        sys.stdout.buffer.flush()
    sys.stdout.buffer.write(encode(result.to_json()))
    sys.stdout.buffer.flush()
    return 0
'''


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if ours takes no longer than the baseline, by median, the first time too."""
    parser = argparse.ArgumentParser(prog="bench session", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--hosts", type=int, default=16, help="number of hosts (default 16)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-session-") as name:
        folder = Path(name)
        with _hosts.hosts(folder, options.hosts) as hosts:
            seconds = measure(no_op_core(folder / "core"), folder, hosts, options.rounds)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    rows = [[name, min(runs), medians[name], medians[name] / medians[BASELINE]] for name, runs in seconds.items()]
    print(f"{options.hosts} hosts")
    print(tabulate(rows, headers=["", "best s", "median s", "ratio"], floatfmt=".2f"))
    missed = max(medians[FIRST], medians[KEPT]) > TARGET * medians[BASELINE]
    print(f"target, both of ours at most {TARGET} of {BASELINE}: {'MISSED' if missed else 'met'}")
    return int(missed)


def measure(core: Payload, folder: Path, hosts: Sequence[HostSettings], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, by contestant."""
    contestants: dict[str, Callable[[HostSettings], None]] = {
        FIRST: partial(ours, core),
        KEPT: partial(ours, core),
        BASELINE: baseline,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for host in hosts:
            shutil.rmtree(folder / host.name / "home" / ".cache", ignore_errors=True)
        session.compiled.cache_clear()
        # The second of ours must come after the first, which leaves the core for it.
        for name, work in contestants.items():
            seconds[name].append(_hosts.seconds_for_all(work, hosts))
    return seconds


def no_op_core(folder: Path) -> Payload:
    """The core with another `main`, by way of a copy in ``folder``."""
    shutil.copytree(relup_remote.core.__path__[0], folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "main.py").write_text(MAIN)
    return build(folder)


def ours(core: Payload, settings: HostSettings) -> None:
    """Connect, ship the core if need be, have it go through the steps."""
    with Host(settings, core) as host:
        result = host.run({}, None, lambda _event: None)
    if len(result["steps"]) != len(STEPS):
        raise RuntimeError(f"{settings.name}: {result}")


def baseline(settings: HostSettings) -> None:
    """Connect, and run a command for each step."""
    with _hosts.fabric_connection(settings) as connection:
        for _ in STEPS:
            connection.run("true", hide=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
