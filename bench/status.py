"""`inv status` on many hosts by each way of SSH, against OpenSSH's client, with and without masters of the operator's.

The hosts are real OpenSSH servers that share a few real nodes. The contestants take turns. The operator's masters are
those of ssh_config (`ControlPath`); the tool makes its own and leaves those alone, which is what the last row shows.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from tabulate import tabulate

from lab.cluster import Lab
from lab.layout import PROJECT, Ports

from . import _watched
from ._watched import Watched

NODES = 3
PORTS = Ports().shifted(8600)
BASELINE = "ssh HOST true"
TARGET = 6.0
"""At most so many times the baseline."""


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if no way takes more than `TARGET` times as long as logging in by `ssh`."""
    parser = argparse.ArgumentParser(prog="bench status", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=16, help="number of hosts (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-status-") as name:
        folder = Path(name)
        lab = Lab(folder / "lab", nodes=NODES, hosts=options.hosts, ports=PORTS)
        try:
            lab.up()
            seconds = measure(contestants(lab, folder), options.rounds)
        finally:
            leave(lab, folder)
            lab.down()
    baseline = statistics.median(seconds[BASELINE])
    rows = []
    for what, runs in seconds.items():
        ratios = [run / other for run, other in zip(runs, seconds[BASELINE], strict=True)]
        rows.append([what, min(runs), statistics.median(runs), max(runs), min(ratios), max(ratios)])
    print(f"{options.hosts} hosts, {NODES} nodes")
    print(tabulate(rows, headers=["", "best s", "median s", "worst s", "ratio, from", "to"], floatfmt=".2f"))
    is_met = all(statistics.median(runs) <= TARGET * baseline for runs in seconds.values())
    print(f"target, {TARGET:g} times `ssh HOST true`: {'met' if is_met else 'MISSED'}")
    return int(not is_met)


def contestants(lab: Lab, folder: Path) -> dict[str, Callable[[], Watched]]:
    """What is measured."""
    config = folder / "ssh_config"
    config.write_text(f"Host *\n    ControlPath {folder}/%C\nInclude {lab.layout.ssh_config}\n")
    inventory = yaml.safe_load(lab.inventory_path.read_text())
    inventory["defaults"]["ssh_config"] = str(config)
    with_masters = folder / "inventory.yml"
    with_masters.write_text(yaml.safe_dump(inventory))
    names = folder / "hosts"
    names.write_text("".join(f"{host}\n" for host in lab.hosts))
    for host in lab.hosts:
        subprocess.run(["ssh", "-F", str(config), "-f", "-N", "-M", host], check=True)

    def ssh(file: Path) -> Watched:
        count = str(len(list(lab.hosts)))
        words = ["ssh", "-F", str(file), "{}", "true"]
        return _watched.run(["xargs", "-a", str(names), "-P", count, "-I", "{}", *words])

    def status(file: Path, transport: str) -> Watched:
        words = ["status", "--inventory", str(file), "--transport", transport, "--json"]
        environment = {"XDG_STATE_HOME": str(folder), "PYTHONPATH": str(PROJECT)}
        return _watched.run([sys.executable, "-m", "relup_remote", *words], environment)

    return {
        BASELINE: lambda: ssh(lab.layout.ssh_config),
        "the same, with live masters": lambda: ssh(config),
        "inv status, fabric": lambda: status(lab.inventory_path, "fabric"),
        "inv status, openssh": lambda: status(lab.inventory_path, "openssh"),
        "the same, with live masters of the operator's": lambda: status(with_masters, "openssh"),
    }


def measure(ways: dict[str, Callable[[], Watched]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, by contestant."""
    seconds: dict[str, list[float]] = {what: [] for what in ways}
    for _ in range(rounds):
        for what, way in ways.items():
            run = way()
            if run.status != 0:
                raise RuntimeError(f"{what} ended with {run.status}: {run.stderr[-2000:]} {run.stdout[-2000:]}")
            seconds[what].append(run.seconds)
    return seconds


def leave(lab: Lab, folder: Path) -> None:
    """End the operator's masters."""
    for host in lab.hosts:
        subprocess.run(["ssh", "-F", str(folder / "ssh_config"), "-O", "exit", host], capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
