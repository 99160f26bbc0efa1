"""What a gate is given, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relup_remote.inventory import HostSettings
from relup_remote.rollout.feed import Feed
from relup_remote.rollout.plan import Plan
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import Job, Runner

PASSED_ON = ("call_timeout", "no_boot_check")
"""The options of a run that hold for a look as well."""


@dataclass(frozen=True)
class Verdict:
    """Whether a gate is open, and why in one sentence."""

    open: bool
    message: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """A wave that is through: its number (from 1), and the ``hosts`` of it on which all went well.

    ``before`` are the connections of each host before it was its turn, ``proofs`` what the upgrade of a host has given
    as its proof that the tree boots.
    """

    plan: Plan
    wave: int
    hosts: tuple[HostSettings, ...]
    before: Mapping[str, int | None]
    runner: Runner
    feed: Feed
    proofs: Mapping[str, str] = field(default_factory=dict)

    def ask(self, command: str, *, is_last: bool = False, **more: Any) -> list[Row]:
        """The wave's hosts' rows of a command that changes nothing; ``more`` are options of it.

        Who asks looks again by himself: one look each. The ``is_last`` of a wave that soaks relies on no earlier proof.
        """
        proofs = self.proofs if command == "verify" and not is_last else {}
        passed_on = {name: value for name, value in self.plan.options.items() if name in PASSED_ON}
        options = {**passed_on, **more, "look_for": 0}
        target = self.plan.target if self.plan.command == "upgrade" else None

        def ordered(host: HostSettings) -> Order:
            proven = {"boot_proof": proofs[host.name]} if host.name in proofs else {}
            return Order(command, self.plan.run, self.plan.operator, target=target, options={**options, **proven})

        return self.runner.at_once([Job(host, request(ordered(host), host)) for host in self.hosts])


Gate = Callable[[Case], Verdict]

Judge = Callable[[Case, Sequence[Row]], Verdict]
"""A gate that is told what the nodes of the wave have said, so that several gates can go by one look."""
