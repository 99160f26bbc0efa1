"""How an operator wants a run to go: the options that `upgrade` and `rollback` share."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relup_remote.commands import options
from relup_remote.rollout import waves
from relup_remote.rollout.plan import GATES, Gates
from relup_remote.secrets import Shell
from relup_remote.usage import UsageError


@dataclass(frozen=True)
class Wishes:
    """How the operator wants a run to go, as given: an empty text is the default, or what the run began with."""

    waves: str = ""
    parallel: str = ""
    order: str = ""
    max_failures: str = ""
    allow_missing: bool = False
    allow_partial: bool = False
    gates: str = ""
    min_connections: str = ""
    soak: str = ""
    gate_command: str = ""
    gate_timeout: str = ""
    gate_command_timeout: str = ""

    def check(self) -> None:
        """Raises `UsageError` (``bad_option``) for the first that can't be."""
        self.plan_parts(Gates(), 1)
        waves.sizes(self.waves or waves.CANARY_FIRST)
        options.choice("order", self.order or "inventory", tuple(waves.ORDERS))

    def plan_parts(self, gates: Gates, hosts: int) -> dict[str, Any]:
        """The parts of a plan that were wished for; of the gates, what was not is as ``gates`` has it."""
        parts: dict[str, Any] = {"gates": self._gates(gates)}
        if self.parallel:
            parts.update(options.numbers(parallel=self.parallel))
        if self.max_failures:
            parts["max_failures"] = waves.amount("max-failures", self.max_failures).of(hosts, up=False)
        if self.allow_missing:
            parts["allow_missing"] = True
        if self.allow_partial:
            parts["allow_partial"] = True
        return parts

    def _gates(self, gates: Gates) -> Gates:
        changes: dict[str, Any] = {}
        if self.gates:
            changes = {name: name in _gate_names(self.gates) for name in GATES}
            changes["connections"] = (gates.connections or Gates.connections) if changes["connections"] else None
        if self.min_connections:
            changes["connections"] = _percent("min-connections", self.min_connections)
        if self.soak:
            changes["soak"] = options.duration("soak", self.soak, 0)
        if self.gate_command:
            changes["command"] = Shell(self.gate_command)
        if self.gate_timeout:
            changes["timeout"] = options.duration("gate_timeout", self.gate_timeout, 0)
        if self.gate_command_timeout:
            limit = options.duration("gate_command_timeout", self.gate_command_timeout, 0, minimum=1)
            changes["command_timeout"] = limit
        return dataclasses.replace(gates, **changes)


def _gate_names(text: str) -> Sequence[str]:
    if text == "none":
        return ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in GATES:
            known = f"the gates are {', '.join(GATES)}; none alone means no gate"
            raise UsageError("bad_option", f"--gates: there is no gate {name!r}; {known}")
    return names


def _percent(name: str, given: str) -> int:
    text = given.removesuffix("%")
    if not text.isascii() or not text.isdecimal() or int(text) > 100:
        raise UsageError("bad_option", f"--{name} must be a percentage from 0 to 100, not {given!r}")
    return int(text)


@dataclass(frozen=True)
class UpgradeWishes(Wishes):
    """The same for an upgrade, which is prepared on all hosts first."""

    prepare_parallel: str = ""

    def plan_parts(self, gates: Gates, hosts: int) -> dict[str, Any]:
        """As of `Wishes`."""
        own = options.numbers(prepare_parallel=self.prepare_parallel)
        return {**super().plan_parts(gates, hosts), **own}


AS_USUAL, UPGRADE_AS_USUAL = Wishes(), UpgradeWishes()
"""No wishes."""
