"""The core, run so that the machine loses power at a chosen moment: a program of its own, started by `machine`.

    python -I -S driver.py PAYLOAD DOOM

PAYLOAD is the core as hosts keep it, DOOM is JSON: ``vm`` the pid of the node's VM, null where only the core dies,
``start`` the command by which somebody starts the node at that moment, null where somebody dies, ``trace`` the file to
write every event to, ``phase`` and ``index`` which of them is the one, ``watch`` a file or null: its appearing, or its
being replaced, after that event is the moment; ``delay`` seconds from there; ``first`` who dies first, ``core`` or
``vm``. Without ``phase`` nobody dies.

Events are what the core's main thread does to the world: files made, written, renamed and removed, statements of its
database, messages to the VM, lines of output, bytes read. A phase begins with a step (``stage``) and another with its
end (``after stage``); the first is ``begin``. Each event is noted before it happens, so that death at it comes just
before. Death is dealt by a process beside the core, by SIGKILL, to both within a fraction of a millisecond.
"""

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

AUDITED = (
    *("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate"),
    *("shutil.rmtree", "sqlite3.connect", "socket.connect", "subprocess.Popen", "fcntl.flock"),
)
"""Python's own audit events that count."""

WRAPPED = ("write", "pwrite", "fsync", "posix_fadvise")
"""Functions of `os` that are not audited, and count."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_write_trace = os.write


class Events:
    """Counts and notes the events of the main thread; ``reach`` is called at the one that is meant."""

    def __init__(self, trace: int, doom: dict[str, Any], reach: Callable[[], None]) -> None:
        self._trace = trace
        self._doom = (doom["phase"], doom["index"])
        self._reach = reach
        self._main = threading.get_ident()
        self._started = time.monotonic()
        self.phase, self.index = "begin", 0

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.phase, self.index = phase, 0

    def note(self, label: str) -> None:
        """Count an event."""
        if threading.get_ident() != self._main:
            return
        at = time.monotonic() - self._started
        _write_trace(self._trace, f"{self.phase}\t{self.index}\t{label}\t{at:.6f}\n".encode())
        place = (self.phase, self.index)
        self.index += 1
        if place == self._doom:
            self._reach()

    def audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook (PEP 578)."""
        if name in AUDITED:
            self.note(name)
        elif name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.note("open")

    def wrap(self, owner: Any, name: str) -> None:
        """Have the calls of a function counted."""
        original = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.note(name)
            return original(*arguments, **named)

        setattr(owner, name, counted)

    def wrap_databases(self) -> None:
        """Have every statement of a database counted, the ones that Python adds included."""
        original = sqlite3.connect

        def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = original(*arguments, **named)
            connection.set_trace_callback(lambda statement: self.note(f"sql {' '.join(statement.split())[:60]}"))
            return connection

        setattr(sqlite3, "connect", connect)  # noqa: B010 - the stubs know of overloads only

    def wrap_output(self, output: Any) -> None:
        """Have the lines of the core's output counted, and the phases told by them."""
        original = output.emit

        def emit(self_: Any, event: dict[str, Any]) -> None:
            kind, status = event["event"], event.get("status")
            if kind == "step" and status == "start":
                self.enter(event["step"])
            self.note(" ".join(str(word) for word in ("says", kind, event.get("step", ""), status or "") if word))
            original(self_, event)
            if kind == "step" and status != "start":
                self.enter(f"after {event['step']}")

        output.emit = emit


class Input:
    """Standard input, with the reads of its buffer counted."""

    def __init__(self, stream: io.BufferedReader, events: Events) -> None:
        self.buffer = self
        self._stream = stream
        self._events = events

    def readline(self, size: int) -> bytes:
        """The next line."""
        return self._stream.readline(size)

    def readinto(self, view: memoryview) -> int:
        """The next bytes."""
        self._events.note("readinto")
        return self._stream.readinto(view)


def signature(path: str | None) -> tuple[int, int] | None:
    """What tells a file from another one under its name; None where there is none."""
    try:
        found = os.stat(path or "")  # noqa: PTH116 - asked again and again, as fast as can be
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def deal_death(doom: dict[str, Any], core: int, reached: int) -> None:
    """Wait for the moment and kill both, or start the node; also once the core has ended without ever coming to it."""
    victims = [os.pidfd_open(pid) for pid in (core, doom["vm"]) if pid is not None]
    if os.read(reached, 1):
        before = now = signature(doom["watch"])
        while doom["watch"] and os.getppid() == core and (now is None or now == before):
            now = signature(doom["watch"])
        time.sleep(doom["delay"])
    if doom["start"]:
        nothing = subprocess.DEVNULL
        subprocess.Popen(doom["start"], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        return
    for victim in victims if doom["first"] == "core" else reversed(victims):
        try:
            signal.pidfd_send_signal(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main() -> int:
    """Run the core; its exit status, if it comes to that."""
    payload, doom = sys.argv[1], json.loads(sys.argv[2])
    core = os.getpid()
    reached, reach = os.pipe()

    def meet() -> None:
        _write_trace(reach, b"!")
        if not doom["delay"] and not doom["watch"] and not doom["start"]:
            signal.pause()

    if doom["phase"] and os.fork() == 0:
        os.close(reach)
        deal_death(doom, core, reached)
        os._exit(0)
    os.close(reached)
    sys.path.insert(0, payload)
    from relup_remote.core import main as program

    events = Events(os.open(doom["trace"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), doom, meet)
    sys.stdin = Input(io.BufferedReader(io.FileIO(0)), events)
    for name in WRAPPED:
        events.wrap(os, name)
    events.wrap(socket.socket, "sendall")
    events.wrap_databases()
    events.wrap_output(program.Output)
    sys.addaudithook(events.audit)
    return program.main()


if __name__ == "__main__":
    assert Path(sys.argv[1]).is_file()
    sys.exit(main())
