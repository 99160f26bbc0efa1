"""A terminal of its own for a command, and somebody who answers what it asks there."""

import os
import pty
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def on_terminal(command: Sequence[str], typed: Sequence[str], question: bytes) -> tuple[int, str]:
    """The exit status of a command, and all that was seen of it on its terminal.

    ``typed`` are the answers, each given when another line that has ``question`` in it ends with a colon.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        os.execv(command[0], list(command))
    seen, answers = b"", list(typed)
    while part := _read(terminal):
        seen += part
        if answers and seen.count(question) > len(typed) - len(answers) and seen.rstrip().endswith(b":"):
            os.write(terminal, os.fsencode(answers.pop(0)))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # Linux ends a terminal so when nobody has it open any more.
        return b""
