"""The request, as the core reads it."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.main import Output, serve
from relup_remote.core.protocol import OPTIONS, PROTOCOL_VERSION, Failure
from relup_remote.core.request import read_request
from relup_remote.hops.catalogue import Helper, Hop
from relup_remote.rollout.identity import operator, run_id
from relup_remote.rollout.request import Order, request
from relup_remote.settings import HostSettings

from .inputs import damaged, fuzz, json_values

GOOD: dict[str, Any] = {
    "protocol": PROTOCOL_VERSION,
    "run": "2026-11-24T08-15-03-k3f9",
    "command": "upgrade",
    "operator": "alice@desk",
    "node": {"root_dir": "/opt/emqx", "name": None, "data_dir": None, "staging_dir": None, "backup_dir": None},
    "tarball": {
        "name": "emqx-5.10.5.tar.gz",
        "bytes": 71_000_000,
        "sha256": "0123456789abcdef" * 4,
        "sidecar": {"status": "ok", "text": ""},
        "release": {"version": "5.10.5", "build_info": {}, "mnesia_hook": True, "files": 1, "bytes": 1},
    },
    "target": None,
    "hops": [{"file": "a.relup", "from": "5.10.4", "target": "5.10.5", "text": ""}],
    "helpers": [{"file": "helper.erl", "text": ""}, {"file": "compiled.beam", "code": "AAAA"}],
    "options": {name: default for name, (default, _meaning) in OPTIONS.items()},
}
PATHS: list[tuple[str | int, ...]] = [
    *((name,) for name in GOOD),
    *(("node", name) for name in GOOD["node"]),
    *(("tarball", name) for name in GOOD["tarball"]),
    *(("tarball", "sidecar", "status"), ("tarball", "release", "version"), ("hops", 0), ("hops", 0, "file")),
    *(
        ("helpers", 0, "file"),
        ("helpers", 0, "text"),
        ("helpers", 1, "code"),
        ("options", "force"),
        ("options", "hop_timeout"),
    ),
]
ODD: list[Any] = [None, [], {}, "", "..", "a/b", "\0", -1, 1.5, True, 10**30, "\ud800"]


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The good request with another value at that place."""
    whole: Any = json.loads(json.dumps(GOOD))
    inner = whole
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return dict(whole)


def read(line: bytes) -> dict[str, Any] | None:
    """The request that is read, or None if it is refused."""
    try:
        return read_request(io.BytesIO(line))
    except Failure as failure:
        assert failure.err_type in ("bad_request", "protocol_mismatch")
        assert json.dumps(failure.to_json())
        return None


def test_a_good_request_is_read_as_it_is() -> None:
    assert read(json.dumps(GOOD).encode() + b"\nmore") == GOOD
    least = {key: GOOD[key] for key in ("protocol", "run", "command", "operator", "node")}
    assert read(json.dumps(least).encode()) == least


def test_what_the_controller_sends_is_read() -> None:
    hops, helpers = (
        [Hop("a.relup", "5.10.4", "5.10.5", "\0")],
        [Helper("helper.erl", "é"), Helper("b.beam", code=b"\xff")],
    )
    order = Order("plan", run_id(), operator(), GOOD["tarball"], "5.10.5", hops, helpers, {"force": True})
    sent = request(order, HostSettings("n1", root_dir="/opt/emqx"))
    assert read(json.dumps(sent).encode()) == sent


@fuzz
@given(damaged(json.dumps(GOOD).encode()) | json_values.map(json.dumps).map(str.encode) | st.binary(max_size=30))
def test_lines(line: bytes) -> None:
    found = read(line)
    assert found is None or found["protocol"] == PROTOCOL_VERSION


@fuzz
@given(st.sampled_from(PATHS), st.sampled_from(ODD) | json_values)
def test_fields(path: tuple[str | int, ...], value: Any) -> None:
    found = read(json.dumps(changed(path, value)).encode())
    if found is not None:
        names = [found["run"], *(entry["file"] for entry in (found["hops"] or []) + (found["helpers"] or []))]
        if found["tarball"] is not None:
            names.append(found["tarball"]["name"])
        assert all("/" not in name and name not in ("", ".", "..") for name in names)


@pytest.mark.parametrize("path", [("run",), ("tarball", "name"), ("hops", 0, "file"), ("helpers", 0, "file")], ids=str)
@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", ".", "", "a\0b", 1, None])
def test_names_that_lead_elsewhere(path: tuple[str | int, ...], name: Any) -> None:
    assert read(json.dumps(changed(path, name)).encode()) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b"\xff\xfe", b"{}", b"null", b'{"protocol": 1}'],
    ids=lambda line: repr(line[:10]),
)
def test_what_is_served_is_a_refusal(line: bytes) -> None:
    result = serve(io.BytesIO(line), Output(io.BytesIO()))
    assert result.error is not None
    assert result.error.err_type in ("bad_request", "protocol_mismatch")
    assert result.outcome == "failed"
