"""Erlang's port mapper, for labs whose nodes use it. One that runs already is shared and never stopped."""

import shutil
import socket
import subprocess
import time

from lab import processes
from lab.errors import LabError
from lab.layout import EPMD_PORT, LOOPBACK, Layout
from lab.ports import Claim, require_free

NAMES_REQUEST = b"\x00\x01n"
"""Length and tag of NAMES_REQ (Erlang's distribution protocol); the answer starts with epmd's own port, 4 bytes."""


def answers() -> bool:
    """Whether an epmd listens on its usual port."""
    try:
        with socket.create_connection((LOOPBACK, EPMD_PORT), timeout=1) as connection:
            connection.sendall(NAMES_REQUEST)
            return connection.recv(4) == EPMD_PORT.to_bytes(4, "big")
    except OSError:
        return False


def start(layout: Layout) -> bool:
    """Start epmd on loopback unless one runs; returns whether it had to.

    Raises `LabError` (``port_in_use``, ``epmd_missing``, ``epmd_failed``).
    """
    if answers():
        return False
    require_free([Claim(EPMD_PORT, "epmd")])
    program = shutil.which("epmd")
    if program is None:
        raise LabError("epmd_missing", "There is no epmd here.", "Install it: apt-get install erlang-base")
    with layout.epmd_log.open("wb") as log:
        started = subprocess.Popen(
            [program, "-address", LOOPBACK, "-port", str(EPMD_PORT)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    layout.epmd_pid.write_text(f"{started.pid}\n")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if answers():
            return True
        time.sleep(0.02)
    raise LabError("epmd_failed", "epmd was started, but doesn't answer.", f"Its log is {layout.epmd_log}.")


def stop(layout: Layout) -> bool:
    """Stop the epmd this lab started, if it did; returns whether it ran."""
    pid = processes.read_pid(layout.epmd_pid)
    layout.epmd_pid.unlink(missing_ok=True)
    return pid is not None and processes.end(pid, lambda candidate: processes.executable(candidate) == "epmd")
