"""Requests, the operator's tarball, and names of runs."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import OPTIONS, Failure
from relup_remote.hops.catalogue import Helper, Hop
from relup_remote.inventory import HostSettings
from relup_remote.rollout import tarball
from relup_remote.rollout.identity import operator, run_id
from relup_remote.rollout.request import Order, hop_values, request


def test_a_run_is_named_by_its_time_in_utc_and_four_characters() -> None:
    moment = datetime.fromisoformat("2026-11-24T09:15:03+01:00")
    assert re.fullmatch(r"2026-11-24T08-15-03-[a-z0-9]{4}", run_id(moment))
    assert run_id().startswith(f"{datetime.now(UTC):%Y-%m}")


def test_the_operator_is_a_user_at_a_machine() -> None:
    assert re.fullmatch(r"[^@\s]+@[^@\s]+", operator())


def test_a_request_has_every_option_and_every_part() -> None:
    order = Order(
        "upgrade",
        "run",
        "alice@desk",
        target="1.1",
        hops=[Hop("a.relup", "1.0", "1.1", "#{}.")],
        paths=[("1.0", "1.1"), ("1.1", "1.2")],
        helpers=[Helper("h.erl", "-module(h).")],
        options={"force": True, "hop_timeout": 7},
        hop_values={"n1": {"sha256": "a" * 64, "term": "g2o="}, "n2": {"sha256": "b" * 64, "term": "g2o="}},
    )
    assert request(order, HostSettings("n1", "n1")) == {
        "protocol": 1,
        "run": "run",
        "command": "upgrade",
        "operator": "alice@desk",
        "node": {"root_dir": None, "name": None, "data_dir": None, "staging_dir": None, "backup_dir": None},
        "tarball": None,
        "target": "1.1",
        "hop_value": {"sha256": "a" * 64, "term": "g2o="},
        "hops": [{"file": "a.relup", "from": "1.0", "target": "1.1", "text": "#{}."}],
        "paths": [{"from": "1.0", "target": "1.1"}, {"from": "1.1", "target": "1.2"}],
        "helpers": [{"file": "h.erl", "text": "-module(h)."}],
        "options": {**{name: default for name, (default, _) in OPTIONS.items()}, "force": True, "hop_timeout": 7},
        "deadline": 6 * 3600 + 7 + sum(OPTIONS[name][0] for name in ("stop_timeout", "boot_timeout")) * 2 + 5 + 30 + 90,
    }


def test_what_a_hop_was_found_to_be_is_what_the_first_survey_has() -> None:
    def row(host: str, **hop: str) -> dict[str, Any]:
        return {"host": host, "facts": {"hop": hop} if hop else {}}

    first, later = {"sha256": "a", "term": "x"}, {"sha256": "b", "term": "y"}
    rows = [
        row("n1", file="a.relup", **first),
        row("n2"),
        row("n1", **later),
        row("n2", **later),
        row("n3", sha256="c"),
    ]
    assert hop_values(rows) == {"n1": first, "n2": later}


def test_options_that_the_protocol_does_not_have_are_a_defect() -> None:
    with pytest.raises(ValueError, match="no such options: speed"):
        Order("upgrade", "run", "alice@desk", options={"speed": 1})


def test_a_tarball_that_is_no_release_goes_along_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "emqx.tar.gz"
    path.write_bytes(b"not a tarball")
    found = tarball.read(path)
    assert (found.bytes, found.sha256) == (13, hashlib.sha256(b"not a tarball").hexdigest())
    assert found.version is None
    assert found.release["error"]["err_type"] == "bad_tarball"
    assert found.to_json()["name"] == "emqx.tar.gz"
    assert found.to_json()["sidecar"] == {"status": "missing", "text": ""}


@pytest.mark.parametrize("name", ["none.tar.gz", ""])
def test_a_tarball_that_is_not_there_is_an_error_of_stage_stage(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure) as caught:
        tarball.read(tmp_path / name)
    assert (caught.value.err_type, caught.value.stage) == ("target_tarball_not_found", "stage")


def test_a_sidecar_is_read_as_it_is_and_judged_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "emqx.tar.gz"
    beside = tmp_path / "emqx.tar.gz.sha256"
    assert tarball.sidecar(path) == {"status": "missing", "text": ""}
    beside.write_bytes(b"\xff\xfe" + "ab  n\r\n".encode("utf-16-le"))
    assert tarball.sidecar(path) == {"status": "ok", "text": "ab  n\r\n"}
    beside.write_bytes(b"\xf8" * 100_000)
    assert tarball.sidecar(path) == {"status": "ok", "text": "\N{REPLACEMENT CHARACTER}" * 65536}
    beside.unlink()
    beside.mkdir()
    assert tarball.sidecar(path) == {"status": "unreadable", "text": ""}
