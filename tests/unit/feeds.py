"""A feed of a run that never was, for those who listen to feeds."""

from typing import Any

from relup_remote.rollout.feed import Event, Listener


class Story:
    """Tells ``listener`` of events, at moments (ms) that pass when `later` says so."""

    def __init__(self, listener: Listener, at: int = 1_000_000) -> None:
        self._listener = listener
        self.at = at

    def later(self, milliseconds: int) -> "Story":
        """Let time pass."""
        self.at += milliseconds
        return self

    def tell(self, event: str, **facts: Any) -> Event:
        """Tell of an event now."""
        told = {"event": event, "at": self.at, **facts}
        self._listener(told)
        return told

    def begin(self, hosts: list[str]) -> None:
        """A run of an upgrade, up to its first wave: every host surveyed and prepared."""
        self.tell("run", status="begin", run="r1", command="upgrade", operator="alice@desk", target="1.1")
        for phase, outcome in (("survey", "ready"), ("prepare", "prepared")):
            self.tell("phase", phase=phase, hosts=hosts)
            for host in hosts:
                self.host(host, phase, outcome)
        self.tell("phase", phase="waves", hosts=hosts)

    def host(self, host: str, phase: str, outcome: str, milliseconds: int = 1000, **row: Any) -> None:
        """A host's turn, from its start to its end."""
        self.tell("host", host=host, phase=phase, status="start")
        self.later(milliseconds)
        ended = {"outcome": outcome, "node": f"emqx_{host}@127.0.0.1", "seconds": milliseconds / 1000, "error": None}
        self.tell("host", host=host, phase=phase, status="end", row={**ended, **row})
