"""A request that is meant for another machine is refused by the core that it reaches, before anything is done."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import machine
from relup_remote.core.main import Output, serve
from relup_remote.core.protocol import OPTIONS, PROTOCOL_VERSION, Failure, Result
from relup_remote.pins import Pin

HERE = machine.identity()


def asked(command: str, meant: dict[str, Any] | None) -> tuple[dict[str, Any], Result]:
    """What a core says hello with, {} if it does not, and what it comes to."""
    request = {
        "protocol": PROTOCOL_VERSION,
        "command": command,
        "run": "run-1",
        "operator": "alice@desk",
        "node": {"root_dir": "/nowhere", "name": None, "data_dir": None, "staging_dir": None, "backup_dir": None},
        "options": {name: default for name, (default, _) in OPTIONS.items()},
        "machine": meant,
    }
    said = io.BytesIO()
    result = serve(io.BytesIO(json.dumps(request).encode() + b"\n"), Output(said))
    return json.loads((said.getvalue().splitlines() or [b"{}"])[0]), result


def err_type(result: Result) -> str:
    assert result.error is not None
    return result.error.err_type


def test_a_core_says_where_it_runs_and_tells_no_secret() -> None:
    hello, _ = asked("status", None)
    assert hello["machine"] == HERE == machine.identity()
    assert HERE["boot"] is not None
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "") != HERE["boot"]


@pytest.mark.parametrize("command", ["status", "stage", "upgrade", "unlock"])
def test_another_machine_is_refused(command: str) -> None:
    _, result = asked(command, {"id": "0" * 32, "boot": HERE["boot"]})
    assert (err_type(result), result.error and result.error.stage) == ("host_changed", "connect")
    assert "Another machine" in str(result.error)


@pytest.mark.parametrize(
    ("command", "refused"), [("upgrade", True), ("rollback", True), ("verify", False), ("unlock", False)]
)
def test_a_reboot_matters_to_what_changes_a_node(command: str, refused: bool) -> None:
    _, result = asked(command, {**HERE, "boot": "0" * 32})
    assert (err_type(result) == "host_changed") is refused


@pytest.mark.parametrize("meant", [None, HERE, {"id": None, "boot": None}, {"id": HERE["id"], "boot": None}])
def test_the_same_machine_is_taken_and_what_is_unknown_is_not_compared(meant: dict[str, Any] | None) -> None:
    _, result = asked("upgrade", meant)
    assert err_type(result) != "host_changed"


def test_what_is_unknown_here_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_arguments: Any, **_options: Any) -> None:
        raise Failure("cannot_read_file")

    monkeypatch.setattr(machine, "read_small", unreadable)
    assert machine.identity() == {"id": None, "boot": HERE["boot"]}
    machine.check({**HERE, "id": "0" * 32}, "upgrade")
    with pytest.raises(Failure, match="rebooted"):
        machine.check({"id": HERE["id"], "boot": "0" * 32}, "upgrade")


def test_a_request_with_another_shape_of_machine_is_refused() -> None:
    _, result = asked("upgrade", {"id": 7, "boot": None})
    assert err_type(result) == "bad_request"


def test_the_first_hello_counts() -> None:
    pin = Pin()
    for number in (1, 2):
        pin.note({"event": "hello", "machine": {"id": f"m{number}", "boot": f"b{number}"}})
    assert pin.machine == {"id": "m1", "boot": "b1"}
    resumed = Pin(machine="m0")
    resumed.note({"event": "step"})
    assert resumed.machine == {"id": "m0", "boot": None}
    resumed.note({"event": "hello", "machine": {"id": "m1", "boot": "b1"}})
    assert resumed.machine == {"id": "m0", "boot": "b1"}
