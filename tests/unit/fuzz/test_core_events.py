"""What a host says where the core's events should be."""

import json
from collections import deque
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.protocol import ERRORS, Failure, Result
from relup_remote.host import session
from relup_remote.host.payload import Payload
from relup_remote.host.session import BYTECODE, Errand
from relup_remote.host.transport import Start

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
    """A connection to a host, and any process there: it says these bytes, whatever it is sent, and ends."""

    def __init__(self, said: bytes) -> None:
        self._said = deque(said[at : at + 100] for at in range(0, len(said), 100))
        self._is_over = False

    def start(self, _command: str, _seconds: float) -> "Script":
        return self

    def receive(self, _seconds: float) -> bytes:
        self._is_over = not self._said
        return self._said.popleft() if self._said else b""

    def has_output(self) -> bool:
        return bool(self._said)

    def receive_error(self) -> bytes:
        return b""

    def send(self, data: bytes, _seconds: float) -> int:
        if self._is_over:
            raise OSError
        return len(data)

    def is_cut_off(self) -> bool:
        return not self._is_over

    def wait(self, _seconds: float) -> int:
        return 0

    def close(self) -> None:
        """Nothing is to be closed."""


@fuzz
@given(st.booleans(), st.lists(lines, max_size=5))
def test_events(tmp_path: Path, greets: bool, said: list[bytes]) -> None:
    tarball = tmp_path / "tarball"
    tarball.write_bytes(bytes(300))
    greeting = [json.dumps({"event": "core", "have": True, "bytecode": BYTECODE}).encode()] if greets else []
    host = Script(b"".join(line + b"\n" for line in [*greeting, *said]))
    heard: list[dict[str, Any]] = []
    errand = Errand({"command": "status"}, tarball, heard.append, Payload(b"", "0" * 64), None, None, 1.0)
    try:
        result = session.run(cast("Start", host.start), errand, session.Waiting())
    except Failure as failure:
        assert failure.err_type in ERRORS
        assert failure.stage
        assert isinstance(failure.message, str)
        assert isinstance(failure.detail, dict)
        assert json.dumps(failure.to_json())
    else:
        assert result["event"] == "result"
    assert all(isinstance(event["event"], str) for event in heard)
