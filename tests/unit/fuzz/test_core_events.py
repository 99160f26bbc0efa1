"""What a host says where the core's events should be."""

import json
from collections import deque
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paramiko import Channel, Transport

from relup_remote.core.protocol import ERRORS, Failure, Result
from relup_remote.host import session
from relup_remote.host.payload import Payload
from relup_remote.host.session import BYTECODE, Errand

from .inputs import damaged, fuzz, json_values

WANT = {"event": "want", "file": "tarball", "offset": 0, "bytes": 100}
RESULT = Result().to_json()
KINDS = st.sampled_from(["core", "hello", "step", "progress", "want", "note", "alive", "result", "odd"])
KEYS = [
    "file",
    "offset",
    "bytes",
    "error",
    "have",
    "bytecode",
    "step",
    "status",
    "outcome",
    "detail",
    "err_type",
    "message",
]

numbers = st.integers() | st.sampled_from([2**63, 2**64, 10**30, -1, True, 1.5])
errors = st.dictionaries(st.sampled_from(KEYS), json_values | st.sampled_from([*ERRORS][:5]), max_size=4)
wants = st.fixed_dictionaries(
    {"event": st.just("want"), "file": st.just("tarball"), "offset": numbers, "bytes": numbers}
)
refusals = st.fixed_dictionaries({"event": st.just("core"), "error": errors | json_values})
others = st.builds(
    lambda kind, fields: {**fields, "event": kind},
    KINDS,
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=5),
)
lines = st.one_of(
    wants.map(json.dumps).map(str.encode),
    refusals.map(json.dumps).map(str.encode),
    others.map(json.dumps).map(str.encode),
    json_values.map(json.dumps).map(str.encode),
    damaged(json.dumps(RESULT).encode()),
    st.binary(max_size=20),
)


class Script:
    """A channel to a host that says these bytes, whatever it is sent, and closes."""

    exit_status = 0

    def __init__(self, said: bytes) -> None:
        self._said = deque(said[at : at + 100] for at in range(0, len(said), 100))
        self.eof_received = False
        self.status_event = self

    def recv(self, _size: int) -> bytes:
        self.eof_received = not self._said
        return self._said.popleft() if self._said else b""

    def recv_ready(self) -> bool:
        return bool(self._said)

    def recv_stderr(self, _size: int) -> bytes:
        return b""

    def settimeout(self, _seconds: float) -> None:
        """Nothing is waited for."""

    def send(self, data: bytes) -> int:
        if self.eof_received:
            raise OSError
        return len(data)

    def wait(self, _seconds: float) -> None:
        """The exit status is there at once."""

    def close(self) -> None:
        """Nothing is to be closed."""


@fuzz
@given(st.booleans(), st.lists(lines, max_size=5))
def test_events(tmp_path: Path, greets: bool, said: list[bytes]) -> None:
    tarball = tmp_path / "tarball"
    tarball.write_bytes(bytes(300))
    greeting = [json.dumps({"event": "core", "have": True, "bytecode": BYTECODE}).encode()] if greets else []
    channel = Script(b"".join(line + b"\n" for line in [*greeting, *said]))
    heard: list[dict[str, Any]] = []
    errand = Errand({"command": "status"}, tarball, heard.append, Payload(b"", "0" * 64), None, None, 1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_start", lambda *_args: cast("Channel", channel))
        try:
            result = session.run(cast("Transport", None), errand)
        except Failure as failure:
            assert failure.err_type in ERRORS
            assert failure.stage
            assert isinstance(failure.message, str)
            assert isinstance(failure.detail, dict)
            assert json.dumps(failure.to_json())
        else:
            assert result["event"] == "result"
    assert all(isinstance(event["event"], str) for event in heard)
