"""The demonstration: the operator's own commands on a lab that is busy."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from lab.clients import Traffic
from lab.cluster import Lab
from lab.evidence import Evidence
from lab.layout import PROJECT

TARGET = "5.10.5-lab"


def commands(
    tarball: Path, inventory: Path, report: Path, target: str = TARGET, catalogue: Path | None = None
) -> list[list[str]]:
    """What is run, in order, as an operator would type it."""
    release, hosts = ["--tarball", str(tarball)], ["--inventory", str(inventory)]
    hops = ["--catalogue", str(catalogue)] if catalogue else []
    return [
        ["backup", *hosts],
        ["upgrade", *release, *hosts, *hops, "--yes"],
        ["verify", "--target", target, *hosts],
        ["report", "-o", str(report)],
    ]


def run(lab: Lab, clients: int = 30, keep: bool = False, target: str = TARGET, catalogue: Path | None = None) -> bool:
    """Upgrade ``lab``, fresh, to the release ``target`` by a hop of ``catalogue``, by default the project's.

    One canary, then the others one by one, and a page that tells of it; its ledger is in the lab's state folder.
    The lab is left up only if ``keep``. Returns whether everything held: every command succeeded, and no client noticed
    anything. Raises `LabError` as `Lab.up` and `Lab.tarball`.
    """
    try:
        if lab.is_used:
            lab.reset()
        else:
            lab.up()
        words = commands(
            _short(lab.tarball(target)),
            _short(lab.inventory_path),
            _short(lab.layout.state / "report.html"),
            target,
            catalogue and _short(catalogue),
        )
        return _show(lab, clients, words)
    finally:
        if not keep:
            lab.down()
            print("lab is down")


def _show(lab: Lab, clients: int, run: list[list[str]]) -> bool:
    ports = {name: lab.mqtt_port(name) for name in lab.hosts}
    with Traffic(ports, clients) as traffic:
        print(f"{clients} MQTT clients publish and subscribe on {len(ports)} nodes", flush=True)
        started = time.monotonic()
        environment = {**os.environ, "XDG_STATE_HOME": str(lab.layout.state / "state")}
        succeeded = all(_command(words, environment) for words in run)
        seconds = time.monotonic() - started
        evidence = traffic.stop()
    print(f"\nclients, over {seconds:.0f} s: {evidence}")
    print(verdict(succeeded, evidence), flush=True)
    return succeeded and evidence.held


def _command(words: list[str], environment: dict[str, str]) -> bool:
    """Run a command of the tool as its user would; the first that fails is the last."""
    print(f"\n$ inv {shlex.join(words)}", flush=True)
    # The one beside this Python, whether or not the environment was activated.
    program = Path(sys.executable).with_name("inv")
    done = subprocess.run([str(program), *words], cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def verdict(succeeded: bool, evidence: Evidence) -> str:
    """The last line of the demonstration."""
    if not succeeded:
        return "it did not hold: a command failed"
    return "it held: nobody noticed" if evidence.held else "it did not hold: clients noticed"


def _short(path: Path) -> Path:
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
