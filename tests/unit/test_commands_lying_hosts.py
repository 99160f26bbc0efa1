"""One host says anything at all: its row says so, the other hosts' rows are whole, and the document is JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote import boundary
from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings
from tests.points import examples

from .fake_host import result
from .fuzz.inputs import fuzz, json_values
from .shapes import fitting, wrong_somewhere
from .test_commands_rolling import Desk, desk

__all__ = ["desk"]

RESULT = boundary.EVENTS["result"]
GOOD = {
    "plan": result("ready"),
    "status": result("ok"),
    "verify": result("verified"),
    "logs": result("ok"),
    "backups": result("ok"),
    "backup": result("backed up"),
    "backup-verify": result("verified"),
    "cleanup": result("unchanged"),
    "unlock": result("unlocked"),
    "lock": result("locked"),
    "prepare": result("prepared"),
    "upgrade": result("upgraded"),
    "rollback": result("rolled back"),
}
LOOKS: dict[str, dict[str, Any]] = {
    "status": {},
    "hosts": {},
    "verify": {},
    "logs": {},
    "backup.list": {},
    "backup.verify": {},
    "backup": {},
    "cleanup": {"yes": True},
    "restore": {"yes": True},
    "logs-clear": {"yes": True},
    "unlock": {},
    "upgrade": {"yes": True, "allow_missing": True, "max_failures": "3"},
    "rollback": {"yes": True, "max_failures": "3"},
}
"""Commands that take in what hosts say, and how they are called."""


class Speaker:
    """A session with a host that says lines, all of which go through the boundary."""

    def __init__(self, lines: Callable[[str], list[Any]]) -> None:
        self._lines = lines

    def __enter__(self) -> "Speaker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is to be closed."""

    def run(self, request: dict[str, Any], _file: Path | None, on_event: Callable[[dict[str, Any]], None]) -> Any:
        for said in self._lines(request["command"]):
            event = boundary.event(json.dumps(said).encode())
            if event is None:
                raise Failure("core_failed", stage="connect")
            if event["event"] == "result":
                return event
            if event["event"] not in ("core", "alive"):
                on_event(event)
        raise Failure("core_failed", stage="connect")


def truths(command: str) -> list[Any]:
    return [{"event": "hello", "pid": 1, "python": "3.9.2", "user": "emqx"}, GOOD.get(command, result("ok"))]


events = st.sampled_from(sorted(boundary.EVENTS)).flatmap(
    lambda kind: fitting(boundary.EVENTS[kind]).map(lambda said: {**said, "event": kind})
)
results = fitting(RESULT).map(lambda said: {**said, "event": "result"})
lies = st.tuples(
    st.lists(st.one_of(events, events.flatmap(wrong_somewhere), json_values), max_size=2),
    st.one_of(results, results.flatmap(wrong_somewhere), json_values),
).map(lambda parts: [*parts[0], parts[1]])


def strict(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("command", LOOKS)
# Each example is a whole command; there are a dozen of these.
@settings(fuzz, max_examples=examples(20))
@given(lies, st.booleans())
def test_a_lying_host_is_one_row(desk: Desk, command: str, said: list[Any], as_json: bool) -> None:
    def connect(host: HostSettings) -> Speaker:
        return Speaker(lambda asked: said if host.name == "n2" else truths(asked))

    desk.connects(connect)
    ended = desk.relup(command, **LOOKS[command], json=as_json)
    assert ended.status in (0, 1, 3), ended.err
    assert "did not expect" not in ended.err + ended.out
    if not as_json:
        return
    document = json.loads(ended.out, parse_constant=strict)
    rows = {row["host"]: row for row in document["hosts"]}
    assert set(rows) == {"n1", "n2", "n3"}
    for host in ("n1", "n3"):
        assert (rows[host]["error"], rows[host]["node"]) in (
            (None, "emqx@127.0.0.1"),
            # Nothing was begun because of the other one.
            (None, None),
        ), rows[host]
    error = rows["n2"]["error"]
    if error is not None and error["err_type"] == "malformed_answer":
        assert error["detail"]["why"] in error["message"]
        assert rows["n2"]["outcome"] == "failed"
