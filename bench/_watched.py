"""A command run to its end, and what it needed: wall time, memory and threads at most."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

EVERY = 0.01
"""Seconds between two looks."""


class Watched(NamedTuple):
    """A command that has ended. ``memory`` is what its process had resident at most, in MB; children don't count."""

    status: int
    stdout: str
    stderr: str
    seconds: float
    memory: float
    threads: int


def run(words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Watched:
    """Run a command, its environment added to ours, looking at its process in /proc (proc(5)) all the while."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = perf_counter()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
        )
        peak, threads = 0, 0
        while process.poll() is None:
            seen = _status(process.pid)
            peak, threads = max(peak, seen.get("VmHWM", 0)), max(threads, seen.get("Threads", 0))
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
        seconds = perf_counter() - started
        for file in (out, err):
            file.seek(0)
        return Watched(process.returncode, out.read(), err.read(), seconds, peak / 1024, threads)


def _status(pid: int) -> dict[str, int]:
    """The numbers of a process's status; sizes in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.partition(":") for line in lines)
    return {
        name: int(value.split()[0]) for name, _, value in fields if value.split()[:1] and value.split()[0].isdigit()
    }
