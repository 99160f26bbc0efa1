"""`inv runs` over many runs: how long it takes once they have ended, and the first time, when nothing is kept yet."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from relup_remote.core.protocol import Result
from relup_remote.rollout import overview
from relup_remote.rollout.ledger import Ledger, record
from relup_remote.rollout.plan import Member, Plan

TARGET_S = 2.0
HOSTS = [f"n{number}" for number in range(8)]


def main(arguments: Sequence[str]) -> int:
    """Prints the times; 0 if the list comes within the target."""
    parser = argparse.ArgumentParser(prog="bench runs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000, help="number of runs (default 10000)")
    count = parser.parse_args(arguments).runs
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        runs = state / "relup_remote" / "runs"
        for number in range(count):
            _make(runs, number)
        taken = _list(state)
    print(f"{count} runs: listed in {taken:.2f} s, at most {TARGET_S:g} s")
    return 0 if taken <= TARGET_S else 1


def _make(runs: Path, number: int) -> None:
    name = f"2026-{1 + number % 12:02}-{1 + number % 28:02}T{number % 24:02}-00-00-{number:05}"
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


def _list(state: Path) -> float:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "relup_remote", "runs"],
        env={"XDG_STATE_HOME": str(state), "PATH": ""},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=600,
    )
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
