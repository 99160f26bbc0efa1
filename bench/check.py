"""The check of a hop between two releases of 60 MB and 8,000 modules each, as an operator would call it.

Seconds are of the whole command; memory is the sum of what each of its two processes had at most.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from tabulate import tabulate

from . import _releases

SECONDS, MEGABYTES = 10, 500

_COMMAND = """
import resource, sys
from relup_remote.cli import main
try:
    main()
finally:
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(sum(peaks) * 1024, file=sys.stderr)
"""


class Run(NamedTuple):
    """A run: wall seconds, CPU seconds of all processes, and bytes of memory."""

    seconds: float
    cpu: float
    memory: int


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if the median run and the worst memory are within the targets."""
    parser = argparse.ArgumentParser(prog="bench check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs (default 5)")
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory(prefix="bench-check-") as name:
        folder = Path(name)
        tarballs = _releases.make(folder)
        hop = folder / "bench.relup"
        hop.write_text(_releases.hop())
        sizes = " and ".join(f"{tarball.stat().st_size / 1e6:.1f} MB" for tarball in tarballs)
        runs = [check(hop, *tarballs) for _ in range(rounds)]
    print(f"{sizes}, {_releases.MODULES:,} modules each, {_releases.CHANGED} of them changed")
    print(table(runs))
    is_met = (
        statistics.median(run.seconds for run in runs) < SECONDS and max(run.memory for run in runs) < MEGABYTES * 1e6
    )
    print(f"target, less than {SECONDS} s and {MEGABYTES} MB: {'met' if is_met else 'MISSED'}")
    return int(not is_met)


def check(hop: Path, old: Path, new: Path) -> Run:
    """A run of the command, which has to find all that differs, and nothing of it left out of the hop."""
    command = [sys.executable, "-c", _COMMAND, "hop.check", str(hop), "--from", str(old), "--to", str(new), "--json"]
    cpu, started = _cpu(), perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    found = json.loads(done.stdout)
    assert sum(map(len, found["modules"]["changed"].values())) == _releases.CHANGED
    assert found["counts"]["errors"] == 0
    assert "not_covered" not in [finding["err_type"] for finding in found["findings"]]
    return Run(seconds, _cpu() - cpu, int(done.stderr.split()[-1]))


def table(runs: Sequence[Run]) -> str:
    """Best, median and worst."""
    rows = [
        (column, min(values), statistics.median(values), max(values))
        for column, values in (
            ("seconds", [run.seconds for run in runs]),
            ("CPU seconds", [run.cpu for run in runs]),
            ("MB of memory", [run.memory / 1e6 for run in runs]),
        )
    ]
    return tabulate(rows, headers=["", "best", "median", "worst"], floatfmt=".1f")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
