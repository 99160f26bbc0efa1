"""A wave after its preparation: how long it takes against what its slowest host must do, which is apply and verify.

Three real nodes behind real OpenSSH servers, a wave each, all gates, and a controller that has read the tarball before.
What a wave is made of is read from the run's own events. Logins and cores are counted in a run without post-checks,
which start processes for their looks.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from lab.cluster import Lab
from lab.layout import Ports

from ._watched import Watched
from .rollout import TARGET, inv
from .transports import entries

MOST = 2.0
"""How many times its slowest host's apply and verify a wave may take, by median."""

NODES = 3
PORTS = Ports().shifted(8700)
GATES = ("verify", "cluster", "connections", "postcheck")
NEEDED = ("apply", "verify")

Event = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Prints the tables; 0 if a wave takes at most `MOST` times its need, and a host has one login and one core."""
    parser = argparse.ArgumentParser(prog="bench wave", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of the upgrade (default 3)")
    options = parser.parse_args(arguments)
    parts: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-wave-") as name:
        folder = Path(name)
        lab = Lab(folder / "lab", nodes=NODES, ports=PORTS)
        try:
            lab.up()
            counted = entries(folder / "lab" / "hosts")
            events = upgrade(lab, folder, GATES[:-1])
            counted = [now - then for now, then in zip(entries(folder / "lab" / "hosts"), counted, strict=True)]
            counted.append(sum(event["event"] == "hello" for event in events))
            for _ in range(options.rounds):
                lab.reset()
                _whole(inv(lab, folder, "prepare", "--tarball", str(lab.tarball(TARGET))))
                parts += waves(upgrade(lab, folder, GATES))
        finally:
            lab.down()
    medians = {what: statistics.median(part[what] for part in parts) for what in parts[0]}
    need = medians[" and ".join(NEEDED)]
    print(f"{NODES} nodes, a wave each; medians of {len(parts)} waves")
    print(
        tabulate(
            [(what, took, took / need) for what, took in medians.items()], headers=["", "s", "ratio"], floatfmt=".2f"
        )
    )
    ratio = statistics.median(part["the wave"] / part[" and ".join(NEEDED)] for part in parts)
    logins, cores, requests = (count / NODES for count in counted)
    print(f"a host and run: {logins:g} logins, {cores:g} cores, {requests:.1f} requests")
    is_met = ratio <= MOST and logins == cores == 1
    print(f"{ratio:.2f} times apply and verify by median")
    print(f"target, at most {MOST} times that, one login, one core: {'met' if is_met else 'MISSED'}")
    return int(not is_met)


def upgrade(lab: Lab, folder: Path, gates: Sequence[str]) -> list[Event]:
    """Upgrade all nodes, one after the other; what the run told."""
    tarball = str(lab.tarball(TARGET))
    which = ["--waves", "1", "--gates", ",".join(gates)]
    _whole(inv(lab, folder, "upgrade", "--tarball", tarball, "--yes", "--no-backup", *which))
    *_, last = sorted((folder / "relup_remote" / "runs").iterdir(), key=lambda run: run.stat().st_mtime)
    return [json.loads(line) for line in (last / "events.jsonl").read_text().splitlines()]


def waves(events: Iterable[Event]) -> list[dict[str, float]]:
    """The parts of each wave of a run, in seconds; the wave as a whole is the last."""
    found: list[dict[str, float]] = []
    began = applied = 0
    rows: list[Event] = []
    gates: dict[str, float] = {}
    for event in events:
        match event["event"], event.get("status"):
            case "wave", "start":
                began, rows, gates = event["at"], [], {}
            case "host", "end" if event["phase"] == "apply":
                rows.append(event["row"])
                applied = event["at"]
            case "gate", "open":
                gates[event["gate"]] = event["seconds"]
            case "wave", _:
                found.append(_parts(rows, gates, (applied - began) / 1000, (event["at"] - began) / 1000))
    return found


def _parts(rows: Sequence[Event], gates: dict[str, float], applied: float, whole: float) -> dict[str, float]:
    needed = max(sum(each["seconds"] for each in row["steps"] if each["step"] in NEEDED) for row in rows)
    return {
        " and ".join(NEEDED): needed,
        "the rest of the upgrade": applied - needed,
        **{f"gate {name}": gates[name] for name in GATES if name in gates},
        "between them": whole - applied - sum(gates.values()),
        "the wave": whole,
    }


def _whole(run: Watched) -> None:
    if run.status != 0:
        raise RuntimeError(f"ended with {run.status}: {run.stderr[-2000:]} {run.stdout[-2000:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
