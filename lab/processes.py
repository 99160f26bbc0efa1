"""Finding processes by what `/proc` says of them, and ending exactly those.

A pid is a number that is used again: every signal goes through a pidfd, opened before the process was recognised.
"""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError

PROC = Path("/proc")
Recognise = Callable[[int], bool]
"""Says of a pid whether it is the process that is meant."""


def arguments(pid: int) -> list[str]:
    """The command line of a process, word by word; empty for one that is gone or a zombie."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").rstrip("\0").split("\0") if raw else []


def executable(pid: int) -> str:
    """The name of the file a process runs, without its folder; empty where it can't be seen."""
    try:
        # The kernel marks a file that was replaced since: it is still the same program.
        return Path((PROC / str(pid) / "exe").readlink()).name.removesuffix(" (deleted)")
    except OSError:
        return ""


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty where it can't be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    entries = (entry.partition("=") for entry in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in entries if name}


def parent(pid: int) -> int:
    """The pid of a process's parent; 0 where there is none."""
    return int(_stat(pid)[1])


def children(pid: int) -> list[int]:
    """The processes that another one has started, which are there yet; none where that one is gone."""
    try:
        return [int(word) for word in (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """The processes that another one has started, those that these have started, and so on."""
    below = children(pid)
    return [*below, *(each for child in below for each in descendants(child))]


def lives(pid: int) -> bool:
    """Whether a process is there and has not ended; also while it becomes another program."""
    return _stat(pid)[0] not in ("", "Z", "X")


def _stat(pid: int) -> list[str]:
    """What `/proc` says of a process, from its state on; as of one that is not there where it can't be read."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return ["", "0"]
    # The second field, the name in parentheses, may hold anything.
    return stat.rpartition(")")[2].split()


def all_pids() -> list[int]:
    """Every process of the machine that can be seen."""
    return [int(entry.name) for entry in PROC.glob("[0-9]*")]


def find(recognise: Recognise) -> list[int]:
    """The pids of the processes that ``recognise`` accepts."""
    return [pid for pid in all_pids() if recognise(pid)]


def describe(pid: int) -> str:
    """A process in a phrase. Its first word only: a command line may hold a cookie."""
    words = arguments(pid)
    return f"pid {pid} ({executable(pid) or '?'}{': ' + words[0] if words else ''})"


def read_pid(path: Path) -> int | None:
    """The pid in a pid file, or None where there is no such file or no number in it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def end(pid: int, recognise: Recognise, timeout: float = 10.0) -> bool:
    """Terminate a process if it is the one meant, by SIGTERM, after ``timeout`` seconds by SIGKILL, and await its end.

    Returns whether it was there. Raises `LabError` (``process_stays``) where it does not even die of SIGKILL.
    """
    return _end(pid, recognise, [(signal.SIGTERM, timeout), (signal.SIGKILL, 10.0)])


def kill(pid: int, recognise: Recognise) -> bool:
    """As `end`, by SIGKILL at once."""
    return _end(pid, recognise, [(signal.SIGKILL, 10.0)])


def _end(pid: int, recognise: Recognise, attempts: list[tuple[signal.Signals, float]]) -> bool:
    with _pidfd(pid) as handle:
        if handle is None or not recognise(pid):
            return False
        for number, timeout in attempts:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return True
            if select.select([handle], [], [], timeout)[0]:
                return True
    raise LabError(
        "process_stays",
        f"{describe(pid)} could not be ended.",
        "It is probably waiting for a disk; look at `cat /proc/<pid>/stack` and end it by hand.",
    )


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)
