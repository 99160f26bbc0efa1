"""Stopping on request, by signals that a process of its own gets."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from relup_remote.rollout.stop import SIGNALS, Stop

PATIENCE = 120
"""Seconds in which an event must come; that it comes at all is what counts."""

SCRIPT = """
import os, signal, threading
from relup_remote.rollout.stop import Stop

def say(text):
    os.write(1, f"{text}\\n".encode())

def earlier(number, frame):
    say("the handler of before")

signal.signal(signal.SIGINT, earlier)
signal.signal(signal.SIGTERM, earlier)
heard = threading.Semaphore(0)

def told(count):
    say(f"told {count}")
    heard.release()

try:
    with Stop(told) as stop:
        say("ready")
        say(f"woken {stop.wait(600)} {bool(stop)} {stop.requested}")
        heard.acquire()
        say(f"no more waiting {stop.wait(600)}")
        {then}
    say("left in order")
except KeyboardInterrupt:
    heard.acquire()
    say(f"left at once {stop.requested}")
say(str(signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is earlier))
signal.raise_signal(signal.SIGINT)
"""


class Operator:
    """Someone who signals a child process and reads what it says."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child
        self._lines: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def signal(self, number: int) -> None:
        self._child.send_signal(number)

    def hears(self, *lines: str) -> None:
        """These lines come next, in any order."""
        assert sorted(self._lines.get(timeout=PATIENCE) for _ in lines) == sorted(lines)

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.put(line.rstrip("\n"))


@contextmanager
def working(then: str) -> Iterator[Operator]:
    """A process that waits until it is stopped, and does ``then`` after that."""
    program = [sys.executable, "-c", SCRIPT.replace("{then}", then)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            yield Operator(child)
            assert child.wait(PATIENCE) == 0
        finally:
            child.kill()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_a_request_and_the_work_in_hand_goes_on(number: int) -> None:
    with working("pass") as operator:
        operator.hears("ready")
        operator.signal(number)
        operator.hears("told 1", "woken True True 1")
        operator.hears("no more waiting True")
        operator.hears("left in order")
        operator.hears("True")
        operator.hears("the handler of before")


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_the_second_signal_leaves_at_once_and_handlers_are_put_back(numbers: tuple[int, int]) -> None:
    with working("say('busy'); threading.Event().wait(600)") as operator:
        operator.hears("ready")
        operator.signal(numbers[0])
        operator.hears("told 1", "woken True True 1")
        operator.hears("no more waiting True")
        operator.hears("busy")
        operator.signal(numbers[1])
        operator.hears("told 2", "left at once 2")
        operator.hears("True")
        operator.hears("the handler of before")


def test_nobody_wants_to_stop_at_first() -> None:
    stop = Stop()
    assert not stop
    assert not stop.wait(0)
    assert not stop.wait(-1)


def test_a_request_wakes_who_waits() -> None:
    stop = Stop()
    threading.Thread(target=stop.request).start()
    assert stop.wait(PATIENCE)
    assert stop


def test_the_second_request_is_an_interruption() -> None:
    stop = Stop()
    stop.request()
    with pytest.raises(KeyboardInterrupt):
        stop.request()
    assert stop.requested == 2


def test_the_request_is_told_while_the_main_thread_holds_what_the_listener_needs() -> None:
    needed = threading.Lock()
    told: SimpleQueue[int] = SimpleQueue()

    def listener(count: int) -> None:
        with needed:
            told.put(count)

    with Stop(listener) as stop:
        with needed:
            signal.raise_signal(signal.SIGINT)
            assert stop
        assert told.get(timeout=PATIENCE) == 1
