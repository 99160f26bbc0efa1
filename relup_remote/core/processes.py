"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what /proc tells of a process.

What a process says of itself, its command line and its name, anyone may write into a process of his own. What the
kernel says of it can be relied on: its user, what it executes, its root folder, its open files.

"Nothing there" is told only where all could be seen: `hidden` says whether it could not.
"""

import os
import stat
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from .opening import of_kernel
from .trust import user_name

VM = b"beam.smp"
"""The name of a process that is an Erlang VM."""

LONGEST_LINE = 8 << 20
"""Bytes: more than Linux allows for the arguments of a process."""


def folders(proc: str) -> Iterator[str]:
    """The folders in /proc of all processes that can be seen."""
    for entry in os.listdir(proc):
        if entry.isdigit():
            yield os.path.join(proc, entry)


def hidden(proc: str) -> bool:
    """Whether other users' processes can't be seen, as where /proc is mounted with the option hidepid.

    The first process is always there, and is root's.
    """
    try:
        return os.geteuid() != 0 and of_kernel(os.path.join(proc, "1", "status")) is None
    except PermissionError:
        return True


def is_vm(folder: str) -> bool:
    """Whether a process calls itself an Erlang VM."""
    try:
        return (of_kernel(os.path.join(folder, "comm")) or b"").strip() == VM
    except PermissionError:
        return False


def words_of(folder: str) -> List[str]:
    """The words of a command line; none of a process that has ended. Raises PermissionError."""
    told = of_kernel(os.path.join(folder, "cmdline"), LONGEST_LINE) or b""
    return [os.fsdecode(word) for word in told.split(b"\0")[:-1]]


def uid_of(folder: str) -> int:
    """The user who started a process, by proc(5): its folder in /proc is root's if it has hidden itself.

    Raises `OSError` where it has ended.
    """
    return int(_status(folder, b"Uid:")[0])


def _status(folder: str, key: bytes) -> List[bytes]:
    told = of_kernel(os.path.join(folder, "status"))
    if told is None:
        raise ProcessLookupError(folder)
    return next((line.split()[1:] for line in told.splitlines() if line.startswith(key)), [])


def started(folder: str) -> str:
    """When a process started, in ticks since the boot, so that it is told from others of its number; empty: it ended.

    That is field 22 of proc(5). The second field is a name, which may hold anything.
    """
    try:
        fields = (of_kernel(os.path.join(folder, "stat")) or b"").rpartition(b")")[2].split()
    except PermissionError:
        return ""
    return fields[19].decode("ascii") if len(fields) > 19 and fields[0] not in (b"Z", b"X") else ""


def environment(folder: str) -> Optional[Dict[str, str]]:
    """The environment that a process was started with; empty of one that has ended, None where it can't be seen.

    A VM that may use ports below 1024 shows its environment to root alone.
    """
    try:
        told = of_kernel(os.path.join(folder, "environ"), LONGEST_LINE) or b""
    except PermissionError:
        return None
    pairs = [os.fsdecode(item).partition("=") for item in told.split(b"\0")]
    return {name: value for name, _, value in pairs}


def executes(folder: str) -> Optional[str]:
    """The path of what a process executes, or None where that can't be seen."""
    try:
        return os.readlink(os.path.join(folder, "exe"))
    except OSError:
        return None


def working_dir(folder: str) -> Optional[str]:
    """The working directory of a process, or None where that can't be seen."""
    try:
        return os.readlink(os.path.join(folder, "cwd"))
    except OSError:
        return None


def elsewhere(folder: str, paths: Tuple[str, ...]) -> Optional[str]:
    """Why the `paths` that a process names are not ours, as of one in a container; None where nothing says so.

    Its root folder is another, or it sees something else at a path than we do. Where that can't be seen, which is so
    for another user's process, it counts that it has a number of its own in an inner namespace of processes.
    """
    root = os.path.join(folder, "root")
    try:
        is_ours = os.path.samestat(os.stat(root), os.stat("/"))
    except OSError:
        try:
            inner = len(_status(folder, b"NSpid:")) > 1
        except OSError:
            inner = False
        return "it is in another namespace of processes than we are" if inner else None
    if not is_ours:
        return "its root folder is another than ours"
    return next(("it sees another {} than we do".format(path) for path in paths if not _is_same(root, path)), None)


def _is_same(root: str, path: str) -> bool:
    there, here = (_stat(place) for place in (root + path, path))
    return there is None or (here is not None and os.path.samestat(there, here))


def _stat(path: str) -> Optional[os.stat_result]:
    try:
        return os.stat(path)
    except OSError:
        return None


class OpenFile(NamedTuple):
    """A file that a process has open: `pid`, its `user`, the `path`, and whether it may write."""

    pid: int
    user: str
    path: str
    writes: bool

    def told(self) -> Dict[str, Any]:
        """It as JSON."""
        return dict(self._asdict())


def open_below(folder: str, leave_out: str = "", proc: str = "/proc") -> List[OpenFile]:
    """The files below a folder that processes have open, but for our own process and for those below `leave_out`.

    They are known by device and inode, so it does not matter by which path they were opened. Only processes of our own
    user are seen, by root all.
    """
    known: Dict[Tuple[int, int], str] = {}
    devices: Set[int] = set()
    for path, found in _files(folder, leave_out):
        known[(found.st_dev, found.st_ino)] = path
        devices.add(found.st_dev)
    return [each for process in folders(proc) for each in _open_in(process, known, devices)] if known else []


def _files(folder: str, leave_out: str) -> Iterator[Tuple[str, os.stat_result]]:
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        # It alone is gone: a node that runs makes and removes files all the time.
                        continue
                    if stat.S_ISDIR(found.st_mode) and entry.path != leave_out:
                        pending.append(entry.path)
                    elif stat.S_ISREG(found.st_mode):
                        yield entry.path, found
        except OSError:
            # What goes meanwhile, or is closed to us as well, is not what a node of ours has open.
            continue


def _open_in(process: str, known: Dict[Tuple[int, int], str], devices: Set[int]) -> Iterator[OpenFile]:
    pid = int(os.path.basename(process))
    if pid == os.getpid():
        return
    try:
        entries = os.listdir(os.path.join(process, "fd"))
    except OSError:
        return
    for entry in entries:
        path = os.path.join(process, "fd", entry)
        try:
            if not os.readlink(path).startswith("/"):
                # A socket or a pipe.
                continue
            found, link = os.stat(path), os.lstat(path)
        except OSError:
            continue
        if found.st_dev in devices and (found.st_dev, found.st_ino) in known:
            name = known[(found.st_dev, found.st_ino)]
            yield OpenFile(pid, _user(process), name, bool(link.st_mode & stat.S_IWUSR))


def _user(process: str) -> str:
    try:
        return user_name(uid_of(process))
    except OSError:
        return "a user unknown"
