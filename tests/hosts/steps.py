"""What is done to a machine while a run is in a certain step there."""

import json
from collections.abc import Callable
from typing import Any

from lab.hosts.machine import Machine
from tests.hosts.operator import Operator
from tests.lab.cluster import Ran, ended

GATE = "/var/lib/emqx/gate"
"""What the hop waits for."""


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
