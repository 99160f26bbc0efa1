"""The demonstration: the operator's own commands on a lab that is busy."""

import shlex
import shutil
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

    One canary, then the others one by one, and a page that tells of it. The run is kept where all runs of its user
    are, so that `inv report` and ``--resume`` find it. The lab is left up only if ``keep``.

    Returns whether everything held: every command succeeded, and no client noticed anything. Raises `LabError` as
    `Lab.up` and `Lab.tarball`.
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
        held = _show(lab, clients, words)
    finally:
        if not keep:
            lab.down()
            print("lab is down")
    if held:
        print(
            "\n" + "\n".join(next_steps(_typed_program(), _short(lab.inventory_path), _short(lab.layout.state), keep))
        )
    return held


def next_steps(program: str, inventory: Path, state: Path, keep: bool) -> list[str]:
    """What to try after the demonstration, each line as it can be typed in the project's folder."""
    directory = "" if state == Path(".lab") else f" --directory {shlex.quote(str(state))}"
    steps = [
        (f"{program} report", f"the page of this run, as {state / 'report.html'} is"),
        (f"{program} lab.up{directory}", "start the upgraded cluster again: each node boots its new tree"),
        (f"{program} status --inventory {shlex.quote(str(inventory))}", "what each node runs"),
        (f"{program} rollback --inventory {shlex.quote(str(inventory))}", "back to the first release"),
        (f"{program} lab.down{directory}", "stop all of it"),
    ]
    if keep:
        del steps[1]
    width = max(len(typed) for typed, _ in steps)
    return ["next, if you like:", *(f"  {typed.ljust(width)}  # {said}" for typed, said in steps)]


def _typed_program() -> str:
    """How `inv` is typed here: by its name where the shell finds this one, else by its path."""
    program = _program()
    found = shutil.which("inv")
    return "inv" if found and Path(found).samefile(program) else shlex.quote(str(_short(program)))


def _program() -> Path:
    """The one beside this Python, whether or not the environment was activated."""
    return Path(sys.executable).with_name("inv")


def _show(lab: Lab, clients: int, run: list[list[str]]) -> bool:
    ports = {name: lab.mqtt_port(name) for name in lab.hosts}
    with Traffic(ports, clients) as traffic:
        print(f"{clients} MQTT clients publish and subscribe on {len(ports)} nodes", flush=True)
        started = time.monotonic()
        succeeded = all(_command(words) for words in run)
        seconds = time.monotonic() - started
        evidence = traffic.stop()
    print(f"\nclients, over {seconds:.0f} s: {evidence}")
    print(verdict(succeeded, evidence), flush=True)
    return succeeded and evidence.held


def _command(words: list[str]) -> bool:
    """Run a command of the tool as its user would; the first that fails is the last."""
    print(f"\n$ inv {shlex.join(words)}", flush=True)
    return subprocess.run([str(_program()), *words], cwd=PROJECT, stdin=subprocess.DEVNULL, check=False).returncode == 0


def verdict(succeeded: bool, evidence: Evidence) -> str:
    """The last line of the demonstration."""
    if not succeeded:
        return "failed: a command did not succeed"
    return "passed: no client noticed anything" if evidence.held else "failed: clients noticed"


def _short(path: Path) -> Path:
    return path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
