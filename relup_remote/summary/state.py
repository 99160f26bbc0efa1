"""How a run stands at a moment, worked out from the events of `relup_remote.rollout.feed`. No clock, no terminal.

Commands that are no rollouts tell only what the hosts' cores say: a host is in hand from its first event on.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from relup_remote.rollout.rows import OUTCOMES

WINDOW_MS = 5000
"""A rate is that of so many milliseconds before the last event."""


@dataclass
class Work:
    """How far a step is: ``done`` of ``total`` in ``unit`` (bytes, instructions), ``text`` what it is at."""

    done: int
    total: int
    unit: str = ""
    text: str = ""
    samples: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def rate(self) -> float | None:
        """Units a second; None as long as it can't be told."""
        (began, before), (at, done) = self.samples[0], self.samples[-1]
        return (done - before) * 1000 / (at - began) if at > began else None


@dataclass
class HostState:
    """One host. ``began`` and ``ended`` are the moments (ms) of what it does, or did last; ``phase`` is the run's.

    It waits from the beginning of a phase until its turn.
    """

    name: str
    node: str = ""
    wave: int | None = None
    phase: str = ""
    step: str = ""
    work: Work | None = None
    outcome: str = ""
    is_waiting: bool = False
    is_in_hand: bool = False
    began: int | None = None
    ended: int | None = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return bool(self.outcome) and OUTCOMES.get(self.outcome, 1) != 0

    def seconds(self, now: int) -> float | None:
        """How long it has been at what it does (``now`` in ms), or was."""
        if self.began is None:
            return None
        return ((now if self.ended is None else self.ended) - self.began) / 1000


@dataclass
class Gate:
    """The gate that is being waited for, since a moment (ms)."""

    name: str
    since: int
    message: str = ""


class State:
    """All that is known of a run. `take` is given its events in order."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostState] = {}
        self.command = ""
        self.target = ""
        self.phase = ""
        self.members: list[str] = []
        self.wave = 0
        self.waves = 0
        self.in_wave: list[str] = []
        self.gate: Gate | None = None
        self.interrupts = 0

    @property
    def ended(self) -> int:
        """How many of the phase's ``members`` have had their turn."""
        return sum(not (self.hosts[name].is_waiting or self.hosts[name].is_in_hand) for name in self.members)

    def take(self, event: dict[str, Any]) -> None:
        """Have ``event`` happen; those of a kind that is not known change nothing."""
        match event.get("event"):
            case "run":
                self.command, self.target = event["command"], event.get("target") or ""
            case "phase":
                self.phase, self.members = event["phase"], list(event.get("hosts", ()))
                for host in self.members:
                    self._host(host).is_waiting = True
            case "wave":
                self._wave(event)
            case "gate":
                self._gate(event)
            case "interrupt":
                self.interrupts = event["count"]
            case "host":
                self._turn(event)
            case "hello" | "step" | "progress" | "note" if "host" in event:
                self._core(self._host(event["host"]), event)

    def _host(self, name: str) -> HostState:
        return self.hosts.setdefault(name, HostState(name))

    def _wave(self, event: dict[str, Any]) -> None:
        self.wave, self.waves, self.in_wave = event["wave"], event["waves"], list(event["hosts"])
        for name in self.in_wave:
            self._host(name).wave = self.wave

    def _gate(self, event: dict[str, Any]) -> None:
        if event["status"] == "open":
            self.gate = None
            return
        if self.gate is None or self.gate.name != event["gate"]:
            self.gate = Gate(event["gate"], event["at"])
        self.gate.message = event.get("message") or self.gate.message

    def _turn(self, event: dict[str, Any]) -> None:
        host = self._host(event["host"])
        host.step, host.work, host.is_waiting = "", None, False
        if event["status"] == "start":
            host.phase, host.is_in_hand = event["phase"], True
            host.began, host.ended = event["at"], None
            return
        row = event["row"]
        host.is_in_hand, host.ended = False, event["at"]
        host.node = row.get("node") or host.node
        # A host that was upgraded stays so for who looks: that it was cleaned up as well says less.
        if not (host.outcome and event["phase"] == "cleanup" and OUTCOMES.get(row["outcome"]) == 0):
            host.outcome = row["outcome"]

    def _core(self, host: HostState, event: dict[str, Any]) -> None:
        if host.began is None:
            host.is_waiting, host.is_in_hand, host.began = False, True, event["at"]
        match event["event"]:
            case "step":
                is_running = event["status"] == "start"
                host.step, host.work = event["step"] if is_running else "", None
            case "progress":
                host.step = event["step"]
                host.work = _gone_on(host.work, event)


def _gone_on(work: Work | None, event: dict[str, Any]) -> Work:
    samples = work.samples if work else deque()
    samples.append((event["at"], event["done"]))
    while event["at"] - samples[0][0] > WINDOW_MS:
        samples.popleft()
    return Work(event["done"], event["total"], event.get("unit") or "", event.get("text") or "", samples)
