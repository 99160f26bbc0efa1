"""Staging a tarball on hosts: the core's stage command by each way of SSH against Fabric's `Connection.put` and `scp`.

Every run connects anew and finds no tarball on the hosts; ours also verifies the digest there and flushes the file to
disk, which the baseline does not. The contestants take turns. An unchanged tarball is then staged once more.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

from relup_remote.host import Host
from relup_remote.inventory import HostSettings
from relup_remote.rollout.request import Order, request

from . import _hosts

TARGET, TARGET_AGAIN = 1.7, 0.5
OURS, BASELINE, AGAIN = "ours, fabric", "Connection.put", "ours, unchanged"
OPENSSH, SCP = "ours, openssh", "scp"
HEADERS = ("hosts", "", "best s", "median s", "worst s", "MB/s", "times as fast as put", "as scp", "from", "to")


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if ours is `TARGET` times as fast, and takes less than `TARGET_AGAIN` s if nothing is new."""
    parser = argparse.ArgumentParser(prog="bench staging", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 4], help="numbers of hosts (default 1 4)")
    parser.add_argument("--bytes", type=int, default=70_000_000, help="size of the tarball (default 70,000,000)")
    options = parser.parse_args(arguments)
    rows, missed = [], []
    with tempfile.TemporaryDirectory(prefix="bench-staging-") as folder:
        tarball = Path(folder) / "release.tar.gz"
        tarball.write_bytes(os.urandom(options.bytes))
        with _hosts.hosts(Path(folder), max(options.hosts)) as hosts:
            for count in options.hosts:
                seconds = measure(tarball, hosts[:count], options.rounds)
                medians = {name: statistics.median(runs) for name, runs in seconds.items()}
                ratio = medians[BASELINE] / medians[OURS]
                if ratio < TARGET or medians[AGAIN] >= TARGET_AGAIN:
                    missed.append(count)
                for name, runs in seconds.items():
                    speed = count * options.bytes / 1e6 / medians[name] if name != AGAIN else None
                    ratios = [statistics.median(seconds[other]) / medians[name] for other in (BASELINE, SCP)]
                    # Those of a round had the same machine.
                    spread = [other / run for other, run in zip(seconds[SCP], runs, strict=True)]
                    rows.append(
                        [count, name, min(runs), medians[name], max(runs), speed, *ratios, min(spread), max(spread)]
                    )
    print(f"{options.bytes / 1e6:.1f} MB to each host")
    print(tabulate(rows, headers=HEADERS, floatfmt=".2f"))
    print(f"target, {TARGET} times as fast and unchanged in {TARGET_AGAIN} s: {'MISSED' if missed else 'met'}")
    return int(bool(missed))


def measure(tarball: Path, hosts: Sequence[HostSettings], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, by contestant."""
    order = describe(tarball)
    contestants = {
        OURS: partial(ours, order, tarball, "fabric"),
        OPENSSH: partial(ours, order, tarball, "openssh"),
        BASELINE: partial(baseline, tarball),
        SCP: partial(by_scp, tarball),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*contestants, AGAIN)}
    for number in range(rounds):
        for name in sorted(contestants, reverse=bool(number % 2)):
            forget(tarball, hosts)
            seconds[name].append(_hosts.seconds_for_all(contestants[name], hosts))
            if name == OURS:
                seconds[AGAIN].append(_hosts.seconds_for_all(contestants[name], hosts))
    return seconds


def describe(tarball: Path) -> Order:
    """The order to stage the tarball; of what would be read out of it, the version will do."""
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    about: dict[str, Any] = {
        "name": tarball.name,
        "bytes": tarball.stat().st_size,
        "sha256": digest,
        "sidecar": {"status": "ok", "text": digest},
        "release": {"version": "5.10.5"},
    }
    return Order("stage", "bench", "bench", tarball=about)


def ours(order: Order, tarball: Path, transport: str, settings: HostSettings) -> None:
    """Staging as the tool does it."""
    with Host(replace(settings, transport=transport)) as host:
        result = host.run(request(order, settings), tarball, lambda _event: None)
    if result["outcome"] not in ("staged", "unchanged"):
        raise RuntimeError(f"{settings.name}: {result['error']}")


def baseline(tarball: Path, settings: HostSettings) -> None:
    """Staging as Fabric offers it."""
    with _hosts.fabric_connection(settings) as connection:
        connection.put(str(tarball), remote=str(put_place(tarball, settings)))


def by_scp(tarball: Path, settings: HostSettings) -> None:
    """Staging by OpenSSH's own program."""
    options = {"IdentityFile": settings.key, "IdentitiesOnly": "yes", "UserKnownHostsFile": settings.known_hosts}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    place = f"{settings.user}@{settings.address}:{put_place(tarball, settings)}"
    subprocess.run(["scp", "-q", "-F", os.devnull, *words, "-P", str(settings.port), str(tarball), place], check=True)


def put_place(tarball: Path, settings: HostSettings) -> Path:
    """Where the baseline puts the tarball on a host."""
    return Path(str(settings.root_dir)) / tarball.name


def forget(tarball: Path, hosts: Sequence[HostSettings]) -> None:
    """Remove what was staged."""
    for settings in hosts:
        put_place(tarball, settings).unlink(missing_ok=True)
        for staged in Path(str(settings.root_dir)).glob(f"data/*/staging/{tarball.name}*"):
            staged.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
