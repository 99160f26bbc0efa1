"""Hosts that are lost in the middle of a run. Nobody can say how they stand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.hosts.lab import Hosts
from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.hosts.test_package import versions
from tests.lab.cluster import BASE, FIRST, Ran, ended, gated, until

SILENCE = 20.0
"""Seconds until a silent host counts as lost. By default it is a minute; what follows is the same."""

UNHEARD = ("connection_lost", "ssh_timeout")

GATE = "/var/lib/emqx/gate"
"""What the hop waits for."""


@pytest.fixture
def impatient(cluster: Hosts, tmp_path: Path) -> Operator:
    """An operator who waits for a silent host no longer than `SILENCE`."""
    inventory = yaml.safe_load(cluster.inventory.read_text())
    inventory["defaults"] |= {"command_timeout": SILENCE, "connect_timeout": SILENCE}
    path = tmp_path / "impatient.yml"
    path.write_text(yaml.safe_dump(inventory))
    return Operator(cluster, tmp_path / "impatient", path)


@pytest.fixture
def slow(tmp_path: Path, tarball: Path) -> tuple[str, ...]:
    """Options for a hop that waits for `GATE`."""
    catalogue = gated(tmp_path / "catalogue", Path(GATE))
    return ("--tarball", str(tarball), "--catalogue", str(catalogue), "--no-backup", "--yes")


def open_gate(machine: Machine) -> None:
    """Let the hop go on."""
    machine.run("runuser", "-u", "emqx", "--", "touch", GATE)


def close_gate(machine: Machine) -> None:
    """Have the next hop wait."""
    machine.run("rm", "-f", GATE, f"{GATE}.reached")


def during(operator: Operator, host: str, step: str, act: Callable[[], None], *options: str) -> Ran:
    """An upgrade to its end; once the host tells that it begins a step, ``act`` is called."""
    command = operator.start("upgrade", "--events", *options, json=False)
    assert command.stdout is not None
    lines = []
    has_acted = False
    for line in command.stdout:
        lines.append(line)
        event = json.loads(line)
        told = (event.get("event"), event.get("host"), event.get("step"), event.get("status"))
        if not has_acted and told == ("step", host, step, "start"):
            has_acted = True
            act()
    ran = ended(command)
    assert has_acted, ran.stderr
    return Ran(ran.status, lines[-1], ran.stderr)


def report_of(operator: Operator, host: str) -> dict[str, Any]:
    """What the report of the last run says of a host."""
    ran = operator.good("report", "--format", "json")
    return dict(next(each for each in ran.document["report"]["hosts"] if each["host"] == host))


def test_power_goes_in_a_hop(cluster: Hosts, impatient: Operator, slow: tuple[str, ...]) -> None:
    first = cluster.nodes[0]
    reached = first.path(f"{GATE}.reached")
    for machine in cluster.nodes:
        close_gate(machine)
    for machine in cluster.nodes[1:]:
        open_gate(machine)

    def take_power() -> None:
        until("the hop waits", reached.exists)
        # A machine without power does not say goodbye.
        cluster.network.link(first.name, passes=False)
        first.power_off()

    lost = during(impatient, first.name, "apply", take_power, *slow)
    assert lost.status == 1
    assert lost.error()["err_type"] in UNHEARD
    assert lost.error()["detail"]["step"] == "apply"
    steps = {step["step"]: step["status"] for step in lost.row()["steps"]}
    assert steps == {"stage": "ok", "checksum": "ok", "patches": "ok", "extract": "ok", "apply": "unknown"}
    # What runs there is not known. What was planned is.
    assert (lost.row()["running"], lost.row()["from"], lost.row()["target"]) == (None, BASE, FIRST)
    assert [row["outcome"] for row in lost.document["hosts"]] == ["failed", "skipped", "skipped"]
    told = report_of(impatient, first.name)
    assert (told["state"], told["steps"][-1]["step"], told["steps"][-1]["status"]) == ("failed", "apply", "unknown")
    seen = impatient.run("status", "--host", first.name)
    assert (seen.status, seen.row()["running"], seen.row()["facts"]) == (1, None, {})

    cluster.network.link(first.name)
    cluster.up()
    assert versions(cluster) == [BASE] * 3
    open_gate(first)
    ran = impatient.good("upgrade", "--resume", "last", *slow)
    assert [row["outcome"] for row in ran.document["hosts"]] == ["upgraded"] * 3
    assert versions(cluster) == [FIRST] * 3
    assert report_of(impatient, first.name)["state"] == "done"
