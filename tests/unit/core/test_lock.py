"""One upgrade at a time: real processes hold the lock, let go of it, and are killed."""

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import relup_remote
from relup_remote.core.lock import FILE, Lock, held, holder, taken_over
from relup_remote.core.opening import open_ours
from relup_remote.core.protocol import Failure

from .others import NOBODY, as_root, by_nobody
from .vm import eventually

OPEN = "relup_remote.core.lock.open_ours"

DEAD = 1 << 22
"""A process that there can't be: Linux counts no further than to this."""

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


def test_another_one_of_the_same_run_is_waited_for(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        ends = threading.Timer(0.5, process.communicate, (b"",))
        ends.start()
        with Lock(str(tmp_path), {**OWNER, "command": "stage"}, patience=60) as lock:
            assert process.wait() == 0
            assert lock.taken_over is None
        ends.join()


@pytest.mark.parametrize(("run", "patience"), [("run-2", 60), ("run-1", 0.1)])
def test_one_of_another_run_is_not_and_none_for_ever(tmp_path: Path, run: str, patience: float) -> None:
    with another_process(tmp_path):
        with pytest.raises(Failure) as caught, Lock(str(tmp_path), {**OWNER, "run": run}, patience):
            pytest.fail("the lock was given twice")
        assert caught.value.err_type == "upgrade_in_progress"


def test_the_lock_of_a_killed_process_is_taken_over_and_told(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        process.kill()
        process.wait()
        assert holder(str(tmp_path)) is None
        with Lock(str(tmp_path), {"operator": "bob"}) as lock:
            assert lock.taken_over is not None
            assert lock.taken_over["pid"] == process.pid
            assert lock.taken_over["operator"] == "alice@desk"
            said = taken_over(lock.taken_over)
            assert said.startswith("The lock that upgrade of alice@desk held since 20")
            assert said.endswith(" was taken over: its owner is dead.")
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


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, kind: str) -> None:
    victim, planted = tmp_path / "victim", tmp_path / FILE
    victim.write_text("kept")
    make: dict[str, Callable[[], None]] = {
        "link": lambda: planted.symlink_to(victim),
        "pipe": lambda: os.mkfifo(planted),
        "folder": planted.mkdir,
    }
    make[kind]()
    for look in (lambda: Lock(str(tmp_path), OWNER).__enter__(), lambda: holder(str(tmp_path))):
        with pytest.raises(Failure) as caught:
            look()
        assert caught.value.err_type == "untrusted_file"
        assert caught.value.detail["path"] == str(planted)
    assert victim.read_text() == "kept"


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_the_lock_of_another_user_is_named(tmp_path: Path, mode: int) -> None:
    planted = tmp_path / FILE
    tmp_path.chmod(0o777)
    by_nobody(tmp_path, lambda: Path(FILE).write_text(json.dumps(OWNER)))
    planted.chmod(mode)
    for look in (lambda: Lock(str(tmp_path), OWNER).__enter__(), lambda: holder(str(tmp_path))):
        with pytest.raises(Failure) as caught:
            look()
        assert caught.value.err_type == "untrusted_file"
        assert caught.value.detail == {"path": str(planted), "owner_uid": NOBODY, "mode": oct(mode)}
    assert json.loads(planted.read_text()) == OWNER


def test_a_lock_whose_file_was_made_anew_meanwhile_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is removed, and made anew and locked by another, right after it was opened."""
    path = tmp_path / FILE
    another: list[Lock] = []

    def opened(name: str, flags: int) -> int:
        descriptor = open_ours(name, flags)
        if not another:
            path.unlink()
            another.append(Lock(str(tmp_path), {**OWNER, "operator": "bob"}))
            monkeypatch.setattr(OPEN, open_ours)
            another[0].__enter__()
        return descriptor

    monkeypatch.setattr(OPEN, opened)
    with pytest.raises(Failure) as caught:
        Lock(str(tmp_path), OWNER).__enter__()
    assert caught.value.err_type == "upgrade_in_progress"
    assert caught.value.detail["operator"] == "bob"
    another[0].__exit__()
    with Lock(str(tmp_path), OWNER) as mine:
        assert mine.taken_over is None


def test_who_looks_reads_whole_sentences_of_the_living_only(tmp_path: Path) -> None:
    """While the lock goes from hand to hand, some of them dead ones, it is read again and again."""
    path = tmp_path / FILE
    over = threading.Event()
    seen: list[dict[str, Any]] = []

    def look() -> None:
        while not over.is_set():
            # On a busy machine who has taken the lock may need a while to say so; until then it is of someone.
            if found := holder(str(tmp_path)):
                seen.append(found)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for rounds in range(1, 21):
            path.write_text(json.dumps({**OWNER, "pid": DEAD, "since": 0}))
            with Lock(str(tmp_path), {**OWNER, "padding": "x" * 2000}):
                assert eventually(lambda: len(seen) >= rounds)  # noqa: B023
    finally:
        over.set()
        looker.join()
    assert {found["pid"] for found in seen} == {os.getpid()}
    assert {len(found["padding"]) for found in seen} == {2000}


@pytest.mark.parametrize("content", [b"", b'{"pid": 1, "opera', json.dumps({**OWNER, "pid": DEAD}).encode()])
def test_a_holder_that_has_not_written_yet_is_looked_at_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE
    path.write_bytes(content)
    whole = {**OWNER, "pid": os.getpid()}
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        later = threading.Timer(0.05, path.write_text, (json.dumps(whole),))
        later.start()
        assert holder(str(tmp_path)) == whole
        later.join()


def test_a_holder_that_can_not_be_seen_is_named_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({**OWNER, "pid": DEAD}, file)
        file.flush()
        assert holder(str(tmp_path)) == {**OWNER, "pid": DEAD}


def test_the_message_where_the_holder_is_not_known() -> None:
    assert held({}).message == "another command of someone works on this node since unknown."
    shown = held({"command": "rollback", "operator": "bob", "since": 1_000}).message
    assert shown == "rollback of bob works on this node since 1970-01-01 00:00:01 UTC."


def test_a_file_system_without_locks_is_not_a_lock_of_someone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / "lock").touch(0o600)
    monkeypatch.setattr(fcntl, "flock", none)
    for act in (lambda: holder(str(tmp_path)), Lock(str(tmp_path), {}).__enter__):
        with pytest.raises(Failure, match="No locks available") as caught:
            act()
        assert caught.value.err_type == "cannot_write_file"
