"""Ends what tests have started and could not end themselves: a program of its own, started with the tests.

    python -I guard.py MARK FOLDER

It reads its standard input to the end, which comes when the process that runs the tests is gone, however it went. Then
it kills whatever was started by the tests: processes with MARK in their environment, or with FOLDER, in which the tests
keep all their files. SSH servers write their titles over their environment, so their command line counts. That of
others does not: somebody may be reading a file there. It says what it killed, and its exit status is their number.
"""

import os
import signal
import sys
from pathlib import Path

PROC = Path("/proc")


def seen(process: Path) -> bytes:
    """What tells whose a process is; empty where it is gone."""
    try:
        is_server = (process / "comm").read_text().startswith("sshd")
        return (process / "environ").read_bytes() + ((process / "cmdline").read_bytes() if is_server else b"")
    except OSError:
        return b""


def left(mark: bytes, folder: bytes) -> list[int]:
    """The processes that belong to the tests, this one left out."""
    return [
        int(process.name)
        for process in PROC.glob("[0-9]*")
        if int(process.name) != os.getpid() and any(each in seen(process) for each in (mark, folder))
    ]


def named(process: Path) -> str:
    """What runs there: the command line, cut where it is long, or the name where there is none."""
    words = (process / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    return os.fsdecode(words)[:200] or (process / "comm").read_text().strip()


def end(mark: bytes, folder: bytes) -> dict[int, str]:
    """Kill them, also those that they start meanwhile; each with what it was."""
    ended: dict[int, str] = {}
    looks_in_vain = 0
    # A process that is just becoming another program has no environment for a moment.
    while looks_in_vain < 2:
        found = left(mark, folder)
        looks_in_vain = 0 if found else looks_in_vain + 1
        for pid in found:
            try:
                ended[pid] = named(PROC / str(pid))
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
    return ended


def main() -> int:
    """Wait for the end, then clean up."""
    mark, folder = (os.fsencode(word) for word in sys.argv[1:])
    sys.stdin.buffer.read()
    ended = end(mark, folder)
    for pid, name in ended.items():
        print(f"left behind by the tests, killed: {name} ({pid})", file=sys.stderr)
    return min(len(ended), 100)


if __name__ == "__main__":
    sys.exit(main())
