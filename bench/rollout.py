"""Many hosts from one controller: looking, staging and a whole rollout, and what they take of time, memory, threads.

The hosts are real OpenSSH servers, each with a home of its own, that share a few real nodes: whoever comes second to
a node finds nothing left to do. The baselines go to the same hosts in the same run, and do next to nothing there:
OpenSSH's client, as many at once as the rollout has hosts in hand, and Fabric's group with a thread for each host.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from lab.cluster import Lab
from lab.layout import PROJECT, Ports

from . import _watched
from ._watched import Watched

TARGET = "5.10.5-lab"
MEGABYTES, THREADS = 150, 128
NODES, PARALLEL = 3, 8
PORTS = Ports().shifted(8600)

GROUP = """
import sys
from fabric import ThreadingGroup
hosts = sys.argv[2:]
options = {"key_filename": sys.argv[1], "allow_agent": False, "look_for_keys": False}
ThreadingGroup(*hosts, connect_kwargs=options).run("true", hide=True)
"""


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 0 if memory and threads of each command are within the targets."""
    parser = argparse.ArgumentParser(prog="bench rollout", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=64, help="number of hosts (default 64)")
    count = parser.parse_args(arguments).hosts
    with tempfile.TemporaryDirectory(prefix="bench-rollout-") as name:
        lab = Lab(Path(name) / "lab", nodes=NODES, hosts=count, ports=PORTS)
        try:
            lab.up()
            measured = {what: _checked(what, run) for what, run in runs(lab, Path(name))}
        finally:
            lab.down()
    baseline = next(iter(measured.values())).seconds
    rows = [(what, run.seconds, run.seconds / baseline, run.memory, run.threads) for what, run in measured.items()]
    print(f"{count} hosts, {NODES} nodes")
    print(tabulate(rows, headers=["", "seconds", "ratio", "MB", "threads"], floatfmt=".1f"))
    ours = [run for what, run in measured.items() if what.startswith("inv ")]
    is_met = max(run.memory for run in ours) <= MEGABYTES and max(run.threads for run in ours) <= THREADS
    print(f"target, at most {MEGABYTES} MB and {THREADS} threads: {'met' if is_met else 'MISSED'}")
    return int(not is_met)


def runs(lab: Lab, folder: Path) -> Iterator[tuple[str, Watched]]:
    """The baselines and the commands, in turn; the hosts are upgraded after that."""
    yield f"ssh HOST true, {PARALLEL} at once", _watched.run(openssh(lab, folder))
    yield "fabric.ThreadingGroup.run", _watched.run(fabric(lab))
    tarball = ["--tarball", str(lab.tarball(TARGET))]
    rollout = ["--yes", "--no-backup", "--waves", "1,25%,100%", "--parallel", str(PARALLEL)]
    commands = {
        "inv hosts": ["hosts"],
        "inv verify": ["verify"],
        "inv stage": ["stage", *tarball],
        "inv upgrade": ["upgrade", *tarball, *rollout],
    }
    for what, words in commands.items():
        yield what, inv(lab, folder, *words)


def inv(lab: Lab, folder: Path, *words: str) -> Watched:
    """A command of the tool, its state directory in ``folder``."""
    command = [sys.executable, "-m", "relup_remote", *words, "--inventory", str(lab.inventory_path), "--json"]
    return _watched.run(command, {"XDG_STATE_HOME": str(folder), "PYTHONPATH": str(PROJECT)})


def openssh(lab: Lab, folder: Path) -> list[str]:
    """The command that runs `true` on each host by OpenSSH's client."""
    names = folder / "hosts"
    names.write_text("".join(f"{host}\n" for host in lab.hosts))
    ssh = ["ssh", "-F", str(lab.layout.ssh_config), "{}", "true"]
    return ["xargs", "-a", str(names), "-P", str(PARALLEL), "-I", "{}", *ssh]


def fabric(lab: Lab) -> list[str]:
    """The command that runs `true` on all hosts by Fabric."""
    hosts = [f"{lab.user}@127.0.0.1:{host.ssh_port}" for host in lab.layout.hosts]
    return [sys.executable, "-c", GROUP, str(lab.layout.client_key), *hosts]


def _checked(what: str, run: Watched) -> Watched:
    if run.status != 0:
        raise RuntimeError(f"{what} ended with {run.status}: {run.stderr[-2000:]} {run.stdout[-2000:]}")
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
