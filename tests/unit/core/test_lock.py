"""One upgrade at a time: real processes hold the lock, let go of it, and are killed."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import relup_remote
from relup_remote.core.lock import FILE, Lock, held, holder
from relup_remote.core.protocol import Failure

OWNER = {"operator": "alice@desk", "run": "run-1", "command": "upgrade"}
HOLD = """
import json, sys
from relup_remote.core.lock import Lock
with Lock(sys.argv[1], json.loads(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds the lock, until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), json.dumps(OWNER)],
        cwd=Path(relup_remote.__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lock_that_nobody_holds(tmp_path: Path) -> None:
    assert holder(str(tmp_path)) is None
    with Lock(str(tmp_path), OWNER) as lock:
        assert lock.taken_over is None
        found = holder(str(tmp_path))
        assert found is not None
        assert abs(found.pop("since") - time.time() * 1000) < 60_000
        assert found == {**OWNER, "pid": os.getpid()}
    assert holder(str(tmp_path)) is None
    with Lock(str(tmp_path), OWNER) as lock:
        assert lock.taken_over is None


def test_only_one_process_holds_it_and_it_is_named(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        found = holder(str(tmp_path))
        assert found is not None
        assert found["pid"] == process.pid
        with pytest.raises(Failure) as caught, Lock(str(tmp_path), {"operator": "bob"}):
            pytest.fail("the lock was given twice")
        failure = caught.value
        assert failure.err_type == "upgrade_in_progress"
        assert failure.detail == found
        assert failure.message.startswith("upgrade of alice@desk works on this node since 20")
        # Who was turned away left no trace.
        assert holder(str(tmp_path)) == found
        process.communicate(b"")
    with Lock(str(tmp_path), OWNER) as lock:
        assert lock.taken_over is None


def test_the_lock_of_a_killed_process_is_taken_over_and_told(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        assert holder(str(tmp_path)) is None
        with Lock(str(tmp_path), {"operator": "bob"}) as lock:
            assert lock.taken_over is not None
            assert lock.taken_over["pid"] == process.pid
            assert lock.taken_over["operator"] == "alice@desk"
            found = holder(str(tmp_path))
            assert found is not None
            assert found["operator"] == "bob"


def test_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        done = threading.Timer(0.05, fcntl.flock, (looker, fcntl.LOCK_UN))
        done.start()
        with Lock(str(tmp_path), OWNER) as lock:
            assert lock.taken_over is None
        done.join()


def test_an_error_within_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Lock(str(tmp_path), OWNER):
        raise KeyError
    assert holder(str(tmp_path)) is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b"\xff", b'{"pid": 1'])
def test_a_lock_file_that_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert holder(str(tmp_path)) is None
    with Lock(str(tmp_path), OWNER) as lock:
        assert lock.taken_over is None


def test_a_link_planted_for_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / FILE).symlink_to(victim)
    with pytest.raises(Failure) as caught, Lock(str(tmp_path), OWNER):
        pytest.fail("the link was followed")
    assert caught.value.err_type == "cannot_write_file"
    assert victim.read_text() == "kept"


def test_the_message_where_the_holder_is_not_known() -> None:
    assert held({}).message == "another command of someone works on this node since unknown."
    shown = held({"command": "rollback", "operator": "bob", "since": 1_000}).message
    assert shown == "rollback of bob works on this node since 1970-01-01 00:00:01 UTC."
