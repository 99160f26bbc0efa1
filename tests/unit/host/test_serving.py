"""What the bootstrap does between the requests of one controller, seen from its standard input and output."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relup_remote.host import bootstrap
from relup_remote.host.payload import Payload

LIMIT = 60.0


class Served:
    """A bootstrap that runs here, and has the core."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def send(self, data: bytes) -> None:
        """Say something to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, **request: Any) -> list[dict[str, Any]]:
        """The events of a request, up to the last that it has."""
        self.send(bootstrap.KNOCK + json.dumps(request).encode() + b"\n")
        assert self.process.stdout is not None
        events: list[dict[str, Any]] = []
        while not events or events[-1]["event"] != "result":
            line = self.process.stdout.readline()
            if not line:
                break
            events.append(json.loads(line))
        return events

    def ends(self) -> int:
        """Its exit status."""
        return self.process.wait(LIMIT)


@contextmanager
def serving(core: Payload, home: Path, before: str = "") -> Iterator[Served]:
    """A bootstrap, ``before`` which some code runs."""
    code = f"{before}\nexec(compile(open({bootstrap.__file__!r}).read(), 'bootstrap', 'exec'))"
    words = [sys.executable, "-I", "-S", "-c", code, core.digest, str(len(core.content)), ""]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"HOME": str(home)}
    ) as process:
        served = Served(process)
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["have"] is False
            served.send(b"null\n" + core.content)
            yield served
        finally:
            process.kill()


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_it_serves_until_its_input_ends(core: Payload, tmp_path: Path) -> None:
    with serving(core, tmp_path) as served:
        told = [served.ask(act="echo") for _ in range(3)]
        assert served.process.stdin is not None
        served.process.stdin.close()
        assert served.ends() == 0
    assert [kinds(events) for events in told] == [["core", "hello", "result"]] * 3
    assert {events[0]["ready"] for events in told} == {True}
    assert len({events[1]["pid"] for events in told}) == 3


def test_the_status_is_that_of_the_last_request(core: Payload, tmp_path: Path) -> None:
    with serving(core, tmp_path) as served:
        served.ask(act="echo")
        served.ask(act="owned", owner="somebody else")
        assert served.process.stdin is not None
        served.process.stdin.close()
        assert served.ends() == 3


def test_what_was_left_unread_is_no_request(core: Payload, tmp_path: Path) -> None:
    with serving(core, tmp_path) as served:
        served.ask(act="echo")
        served.send(b"rest of a tarball\n")
        assert served.ends() == bootstrap.BROKEN


def test_a_core_that_breaks_serves_no_more(core: Payload, tmp_path: Path) -> None:
    with serving(core, tmp_path) as served:
        assert kinds(served.ask(act="nothing that it knows")) == ["core", "hello"]
        assert served.ends() == bootstrap.BROKEN
        assert served.process.stderr is not None
        assert b"KeyError" in served.process.stderr.read()


def test_it_ends_where_no_request_comes(core: Payload, tmp_path: Path) -> None:
    soon = "import signal; alarm = signal.alarm; signal.alarm = lambda seconds: alarm(min(seconds, 1))"
    with serving(core, tmp_path, soon) as served:
        served.ask(act="echo")
        assert served.ends() == -signal.SIGALRM


def test_a_host_without_room_for_a_process_says_so(core: Payload, tmp_path: Path) -> None:
    full = "import os\ndef fork(): raise BlockingIOError(11, 'Resource temporarily unavailable')\nos.fork = fork"
    with serving(core, tmp_path, full) as served:
        (event,) = served.ask(act="echo")
        assert event["error"]["err_type"] == "core_failed"
        assert "Resource temporarily unavailable" in event["error"]["detail"]["error"]
        assert served.ends() == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_as_its_request_did(core: Payload, tmp_path: Path, number: signal.Signals) -> None:
    with serving(core, tmp_path) as served:
        served.send(bootstrap.KNOCK + b'{"act": "stop"}\n')
        assert served.process.stdout is not None
        lines = [json.loads(served.process.stdout.readline()) for _ in range(2)]
        assert kinds(lines) == ["core", "hello"]
        os.kill(lines[1]["pid"], number)
        assert served.ends() == -number
