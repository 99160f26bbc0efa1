"""A small plan, its hosts, and a feed that remembers: what the tests of a run begin with."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings
from relup_remote.rollout.feed import Event, Feed
from relup_remote.rollout.plan import Gates, Member, Plan
from relup_remote.rollout.request import Order
from relup_remote.rollout.roll import Work
from relup_remote.rollout.tarball import Tarball
from tests.unit.fake_host import Answer, Fleet, result

RUN = "2026-11-24T08-15-03-k3f9"
TARBALL = Tarball(
    Path("/tarballs/emqx-1.1.tar.gz"), 10, "0" * 64, {"status": "missing", "text": ""}, {"version": "1.1"}
)
NO_GATES = Gates(verify=False, cluster=False, connections=None, postcheck=False)


def settings(*names: str) -> dict[str, HostSettings]:
    """Hosts by name."""
    return {name: HostSettings(name, name) for name in names}


def plan(*waves: Sequence[str], **parts: Any) -> Plan:
    """An upgrade to 1.1 of the hosts of ``waves``, each with a node of its name and 100 connections; without gates."""
    members = [
        Member(host, host, node=f"emqx@{host}", role="core", from_vsn="1.0", connections=100)
        for wave in waves
        for host in wave
    ]
    made = Plan(
        run=RUN,
        command="upgrade",
        operator="alice@desk",
        started_at=1_000,
        version="0.1.0",
        inventory="/etc/hosts.yml",
        selection=("*",),
        target="1.1",
        tarball={
            "path": "/tarballs/emqx-1.1.tar.gz",
            "name": "emqx-1.1.tar.gz",
            "bytes": 10,
            "sha256": "0" * 64,
            "version": "1.1",
        },
        hops=({"file": "a.relup", "from": "1.0", "target": "1.1", "sha256": "a" * 64},),
        helpers=({"file": "h.erl", "sha256": "b" * 64},),
        hosts=tuple(members),
        waves=tuple(map(tuple, waves)),
        nodes=tuple(f"emqx@{member.host}" for member in members),
        gates=NO_GATES,
    )
    return dataclasses.replace(made, **parts)


def order(command: str = "upgrade", **parts: Any) -> Order:
    """What the hosts of the plan are asked."""
    return Order(command, RUN, "alice@desk", tarball=TARBALL.to_json(), target="1.1", **parts)


def upgrading() -> Work:
    """The work of an upgrade."""
    return Work(order(), TARBALL)


def refused(err_type: str, **facts: Any) -> dict[str, Any]:
    """What a host answers that is refused for that reason."""
    return {**result("refused", **facts), "error": Failure(err_type, stage="extract").to_json()}


def failed(err_type: str, **facts: Any) -> dict[str, Any]:
    """What a host answers on which that went wrong."""
    return {**result("failed", **facts), "error": Failure(err_type, stage="apply").to_json()}


class Script(Fleet):
    """Hosts whose answers change: of several answers each is given once, and the last one ever after.

    ``script`` holds the answers that are left. ``when`` is done before a host answers a command.
    """

    def __init__(self, answers: Mapping[tuple[str, str], Answer | list[Answer]]) -> None:
        super().__init__({})
        self.when: dict[tuple[str, str], Callable[[], object]] = {}
        self.script = {key: answer if isinstance(answer, list) else [answer] for key, answer in answers.items()}

    def answer(self, host: str, request: dict[str, Any]) -> Answer:
        """What a host says to a request now."""
        key = (host, request["command"])
        self.when.get(key, lambda: None)()
        left = self.script[key]
        return left.pop(0) if len(left) > 1 else left[0]


class Told:
    """A feed and all that it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.feed = Feed(self.events.append)

    def of(self, event: str, *facts: str) -> list[tuple[Any, ...]]:
        """The ``facts`` of each event of a kind, in order."""
        return [tuple(each.get(fact) for fact in facts) for each in self.events if each["event"] == event]


def ended(host: str, phase: str, row: Mapping[str, Any], at: int = 0) -> Event:
    """The event of a host's end in a phase."""
    return {"event": "host", "at": at, "host": host, "phase": phase, "status": "end", "row": dict(row)}
