"""A core ends by itself: in a process of its own, for signals go to its main thread."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from relup_remote.core.lock import holder
from relup_remote.core.protocol import PROTOCOL_VERSION, encode

PROJECT = Path(__file__).parents[3]

BEGIN = """
import os, sys, time
from relup_remote.core import deadline as deadlines
from relup_remote.core.deadline import Deadline, TimeIsUp
from relup_remote.core.protocol import Failure
deadline = Deadline({seconds})
deadline.start()
"""


def run(code: str, seconds: str = "0.2") -> str:
    """What a program says."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN.format(seconds=seconds) + code],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not ended.stderr, ended.stderr
    return ended.stdout.strip()


def test_whatever_it_waits_for_it_is_told() -> None:
    fifo = "read, write = os.pipe()\ntry:\n    os.read(read, 1)\nexcept TimeIsUp:\n    print('told', deadline.is_over)"
    assert run(fifo) == "told True"


def test_nobody_who_catches_failures_keeps_it_from_ending() -> None:
    code = """
try:
    try:
        time.sleep(60)
    except Exception:
        print("caught")
except TimeIsUp:
    print("told")
"""
    assert run(code) == "told"


def test_a_controller_that_reads_no_more_holds_nobody() -> None:
    """Not even a step that is not cut; and what it reads in the end are whole lines."""
    code = """
from relup_remote.core import main
main.SILENCE = 0.5
deadline.seconds = 0.2
deadline.start()
read, write = os.pipe()
output = main.Output(os.fdopen(write, "wb", buffering=0))
with deadline.holding():
    for number in range(100):
        output.emit({"event": "note", "message": "x" * 10_000})
os.set_blocking(read, False)
said = os.read(read, 1 << 20)
print(len(said) > 1 << 15, deadline.is_over)
"""
    assert run(code, "None") == "True True"


def test_a_line_that_is_cut_by_the_end_of_the_time_is_said_to_its_end() -> None:
    code = """
import json, threading
from relup_remote.core import main
deadline.seconds = 0.2
deadline.start()
read, write = os.pipe()
stream = os.fdopen(write, "wb", buffering=0)
output = main.Output(stream)
try:
    output.emit({"event": "note", "message": "x" * 200_000})
except TimeIsUp:
    deadline.stop()
lines = []
reader = threading.Thread(target=lambda: lines.extend(os.fdopen(read)))
reader.start()
output.emit({"event": "result"})
stream.close()
reader.join()
print([json.loads(line)["event"] for line in lines])
"""
    assert run(code, "None") == "['note', 'result']"


def test_who_does_not_end_is_told_again() -> None:
    code = """
deadlines.AGAIN = 0.1
deadline.start()
try:
    try:
        time.sleep(60)
    finally:
        time.sleep(60)
except TimeIsUp:
    print("told")
"""
    assert run(code) == "told"


def test_what_must_not_be_cut_is_finished_first() -> None:
    code = """
with deadline.holding():
    while not deadline.is_over:
        time.sleep(0.01)
    print("finished")
try:
    deadline.check()
except TimeIsUp:
    print("told")
"""
    assert run(code) == "finished\ntold"


def test_a_controller_that_is_silent_is_a_failure_with_a_name() -> None:
    code = """
deadlines.SILENCE = 0.2
read, write = os.pipe()
try:
    with deadline.hearing():
        os.read(read, 1)
except Failure as failure:
    print(failure.err_type, deadline.is_over)
"""
    assert run(code, "60") == "connection_lost False"
    assert run(code, "None") == "connection_lost False"


def test_hearing_takes_nothing_off_the_deadline() -> None:
    code = """
read, write = os.pipe()
os.write(write, b"1234")
for _ in range(4):
    with deadline.hearing():
        os.read(read, 1)
try:
    with deadline.hearing():
        os.read(read, 1)
except TimeIsUp:
    print("told")
"""
    assert run(code, "0.5") == "told"


def test_without_a_deadline_nothing_rings() -> None:
    assert run("time.sleep(0.3)\nprint('done')", "None") == "done"


def test_the_launcher_s_alarm_ends_who_waits_for_a_controller_that_is_gone(tmp_path: Path) -> None:
    from relup_remote.host import launcher

    command = launcher.command(sys.executable, None, 1000, "0" * 64, 10).replace("signal.alarm(300)", "signal.alarm(1)")
    started = time.monotonic()
    read, write = os.pipe()
    with subprocess.Popen(["sh", "-c", command], stdin=read, cwd=tmp_path) as process:
        assert process.wait(60) != 0
    os.close(write)
    assert time.monotonic() - started < 50


def test_a_core_whose_controller_sends_nothing_ends_and_gives_the_lock_of_the_node_back(tmp_path: Path) -> None:
    """As after a connection that was cut without a word: input and output stay open, and nothing ever comes."""
    root = tmp_path / "root"
    (root / "releases" / "1.0").mkdir(parents=True)
    (root / "releases" / "emqx_vars").write_text('REL_VSN="1.0"\n')
    (root / "data").mkdir()
    request = {
        "protocol": PROTOCOL_VERSION,
        "run": "r1",
        "command": "stage",
        "operator": "alice@desk",
        "node": {"root_dir": str(root)},
        "tarball": {
            "name": "emqx.tar.gz",
            "bytes": 1000,
            "sha256": "0" * 64,
            "sidecar": {"status": "ok", "text": "0" * 64},
            "release": {"version": "1.1", "bytes": 1, "files": 1, "build_info": {}, "mnesia_hook": True},
        },
        "deadline": 2,
    }
    core = "import sys; from relup_remote.core.main import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", core], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode(request))
        process.stdin.flush()
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "want":
                held = holder(str(root / "data" / "relup_remote"))
                assert (held or {}).get("run") == "r1"
        assert process.wait(60) == 1
    assert [event["event"] for event in events if event["event"] != "alive"] == ["hello", "step", "want", "result"]
    error = events[-1]["error"]
    assert (error["err_type"], error["detail"]) == ("deadline_exceeded", {"seconds": 2, "done": []})
    assert holder(str(root / "data" / "relup_remote")) is None
