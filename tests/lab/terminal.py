"""A command on a terminal of its own, seen as people would see it."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyte

from lab.layout import PROJECT


@dataclass(frozen=True)
class Seen:
    """What a terminal showed: ``screens`` are how it looked after each line, ``raw`` is what was written to it."""

    status: int
    screens: list[list[str]]
    raw: bytes

    @property
    def last(self) -> list[str]:
        """What it showed in the end."""
        return self.screens[-1]


def on_terminal(
    command: Sequence[str], columns: int = 100, lines: int = 30, typed: bytes = b"", **environment: str
) -> Seen:
    """Run a command whose standard files are a terminal of that size; what is ``typed`` waits there to be read."""
    operator, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env={**inherited, "TERM": "xterm-256color", **environment},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    os.write(operator, typed)
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    screens, raw = [], b""
    for data in written(operator):
        raw += data
        # Several frames may have been read at once.
        for line in data.splitlines(keepends=True):
            stream.feed(line)
            screens.append([row.rstrip() for row in "\n".join(screen.display).rstrip().splitlines()])
    os.close(operator)
    return Seen(process.wait(timeout=60), screens, raw)


def written(operator: int) -> Iterator[bytes]:
    """All that is written to a terminal, given its operator's end, until nobody has it open any more."""
    while True:
        try:
            yield os.read(operator, 1 << 16)
        except OSError as error:
            if error.errno == errno.EIO:
                return
            raise
