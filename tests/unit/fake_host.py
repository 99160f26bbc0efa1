"""A host that is none: says what it is told to say, and keeps what it was asked."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from relup_remote.core.protocol import Failure, Result, Step
from relup_remote.inventory import HostSettings

Answer = dict[str, Any] | BaseException


def result(outcome: str, steps: tuple[tuple[str, str], ...] = (), **facts: Any) -> dict[str, Any]:
    """A core's ``result`` event with steps given as (name, status)."""
    made = Result()
    made.outcome = outcome
    made.node = "emqx@127.0.0.1"
    made.from_vsn, made.target, made.running = "1.0", "1.1", "1.1"
    made.steps = [Step(name, status, 0.5, {}) for name, status in steps]
    made.facts = facts
    if outcome in ("failed", "refused"):
        made.error = Failure("call_failed", stage=steps[-1][0] if steps else "plan")
        made.problems = [made.error] if outcome == "refused" else []
    return made.to_json()


class Fleet:
    """Hosts that answer by script: ``answers`` maps (host, command) to a result event or to what is raised.

    ``asked`` is what arrived, in order: (host, request, file); ``open`` the hosts whose session stands.
    """

    def __init__(self, answers: dict[tuple[str, str], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any], Path | None]] = []
        self.open: list[str] = []

    def connect(self, settings: HostSettings) -> "FakeHost":
        return FakeHost(self, settings.name)

    def answer(self, host: str, request: dict[str, Any]) -> Answer:
        """What a host says to a request."""
        return self.answers[host, request["command"]]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Which host was asked what, in order."""
        return [(host, request["command"]) for host, request, _file in self.asked]


class FakeHost:
    """A session with one of the fleet's hosts."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self._name = name

    def __enter__(self) -> "FakeHost":
        answer = self._fleet.answers.get((self._name, "connect"))
        if isinstance(answer, BaseException):
            raise answer
        self._fleet.open.append(self._name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fleet.open.remove(self._name)

    def run(
        self, request: dict[str, Any], tarball: Path | None, on_event: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        self._fleet.asked.append((self._name, request, tarball))
        on_event({"event": "hello", "pid": 1, "machine": {"id": f"machine of {self._name}", "boot": "first"}})
        answer = self._fleet.answer(self._name, request)
        if isinstance(answer, BaseException):
            raise answer
        return answer
