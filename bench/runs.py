"""`inv runs` over many runs: how long it takes once they have ended, and the first time, when nothing is kept yet."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from relup_remote.core.protocol import Result
from relup_remote.rollout import overview
from relup_remote.rollout.ledger import Ledger, record
from relup_remote.rollout.plan import Member, Plan

from . import _watched

SECONDS, MEGABYTES = 1.0, 100
"""At most, of the CPU: whatever else the machine does must not count."""

HOSTS = [f"n{number}" for number in range(8)]


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if the list comes within the target once it has been shown before."""
    parser = argparse.ArgumentParser(prog="bench runs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="number of runs (default 10000)")
    count = parser.parse_args(arguments).runs
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        _make_all(state / "relup_remote" / "runs", count)
        for what in ("the first time", "after that", "and again"):
            before = os.times()
            ran = _watched.run([sys.executable, "-m", "relup_remote", "runs"], {"XDG_STATE_HOME": folder})
            if ran.status != 0 or ran.stdout.count("\n") < count:
                raise RuntimeError(f"ended with {ran.status}: {ran.stderr[-2000:]}")
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            rows.append((what, ran.seconds, cpu, ran.memory))
    print(f"{count} runs")
    print(tabulate(rows, headers=["", "seconds", "CPU seconds", "MB"], floatfmt=".2f"))
    is_met = rows[-1][2] <= SECONDS and rows[-1][3] <= MEGABYTES
    print(f"target, at most {SECONDS:g} CPU seconds and {MEGABYTES} MB: {'met' if is_met else 'MISSED'}")
    return int(not is_met)


def _make_all(runs: Path, count: int) -> None:
    """Runs that differ in their names: one is written as a rollout writes it, and copied."""
    first = _make(runs, 0)
    files = {file.name: file.read_text() for file in first.iterdir() if file.is_file()}
    for number in range(1, count):
        folder = runs / _name(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text.replace(first.name, folder.name))


def _name(number: int) -> str:
    return f"2026-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}-00-00-{number:05}"


def _make(runs: Path, number: int) -> Path:
    name = _name(number)
    members = tuple(Member(host, host) for host in HOSTS)
    made = Plan(
        run=name,
        command="upgrade",
        operator="alice@desk",
        started_at=number,
        version="1",
        inventory="hosts.yml",
        selection=(),
        target="1.1",
        tarball=None,
        hops=(),
        helpers=(),
        hosts=members,
        waves=(tuple(HOSTS),),
    )
    with Ledger.create(made.to_json(), runs) as ledger:
        for host in HOSTS:
            row = {"host": host, **Result().to_json(), "outcome": "upgraded"}
            ledger({"event": "host", "at": number, "host": host, "phase": "apply", "status": "end", "row": row})
        ledger({"event": "end", "at": number, "outcome": "done", "reason": None})
    written = record(ledger.path)
    assert written is not None
    overview.keep(written)
    return ledger.path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
