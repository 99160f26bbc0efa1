"""The files on the operator's machine: here alone they are opened, and here it is decided who may read what is written.

What tells of hosts, nodes or operators is for the operator's eyes: the ledger, tracebacks, reports. What is made to be
handed on is for all: hops, helper modules, findings for a code review.

A path that an operator gives may lead to anything. A pipe is read for a limited time (a shell's ``<(…)`` is one), a
device is not read at all (but for /dev/null), and no file is read beyond a limit. What is written replaces a file, but
never a device or a pipe: those are written to.
"""

import errno
import os
import select
import shlex
import stat
import time
from pathlib import Path
from typing import TextIO

from relup_remote.core.files import private_dir, write_whole, writing_failure
from relup_remote.core.protocol import Failure

PRIVATE, SHARED, PROGRAM = 0o600, 0o644, 0o700

LARGEST = 256 << 20
"""Bytes that are read of a file at most, unless told otherwise."""

WAIT = 10.0
"""Seconds within which all must come out of a pipe."""

_NULL = os.makedev(1, 3)
"""/dev/null, by which configurations say that there is no such file."""

_SPECIAL = ("/dev/", "/proc/")
"""Where names lead to what is open already, as ``/dev/stdout`` does."""


def expanded(path: str) -> Path:
    """A path with the home folder that a ``~`` stands for; one of a user who is not known stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def below_home(variable: str, place: str) -> Path:
    """The folder that an environment variable names, else the ``place`` in the user's home. Raises OSError."""
    found = expanded(os.environ.get(variable) or f"~/{place}")
    if str(found).startswith("~"):
        raise OSError(errno.ENOENT, f"there is no home folder; set HOME or {variable}", str(found))
    return found


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder, as far as this user can see. `Path.is_dir` fails below a closed folder."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether a path leads to a file, as far as this user can see. `Path.is_file` fails below a closed folder."""
    return os.path.isfile(path)  # noqa: PTH113


def read_bytes(path: Path, limit: int = LARGEST) -> bytes:
    """The content of a file of at most ``limit`` bytes; links are followed.

    Raises OSError, also for a device, a larger file, and a pipe from which not all comes in time.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if stat.S_ISFIFO(found.st_mode):
            content = _from_pipe(file.fileno(), limit)
        elif stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL:
            content = b""
        elif not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        else:
            content = b"" if found.st_size > limit else file.readall()
        if max(len(content), found.st_size) > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
        return content


def _from_pipe(descriptor: int, limit: int) -> bytes:
    """What comes out of a pipe until its end; one byte more than ``limit`` is enough. Raises TimeoutError."""
    content = b""
    until = time.monotonic() + WAIT
    while len(content) <= limit:
        try:
            part = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError(errno.ETIMEDOUT, f"not all came out of the pipe within {WAIT:g} s") from None
            continue
        if not part:
            break
        content += part
    return content


def read_text(path: Path, limit: int = LARGEST) -> str:
    """As `read_bytes`, of a file in UTF-8. Raises OSError, UnicodeDecodeError."""
    return read_bytes(path, limit).decode("utf-8")


def open_file(path: Path, limit: int | None = None) -> int:
    """A descriptor to read a regular file, of at most ``limit`` bytes if given; links are followed. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and (limit is None or found.st_size <= limit):
        return descriptor
    os.close(descriptor)
    if stat.S_ISREG(found.st_mode):
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def write_private(path: Path, text: str) -> None:
    """Write a file for the operator alone, which appears whole. Raises `Failure`."""
    _write(path, text.encode("utf-8", "surrogateescape"), PRIVATE)


def write_shared(path: Path, text: str) -> None:
    """Write a file that others may read, which appears whole. Raises `Failure`."""
    _write(path, text.encode(), SHARED)


def write_program(path: Path, text: str) -> None:
    """Write a program for the operator alone, which appears whole. Raises `Failure`."""
    _write(path, text.encode(), PROGRAM)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put a file in the place of ``path``, or of what a link there leads to; a device or a pipe is written to."""
    try:
        _check_place(path)
        if not str(path.absolute()).startswith(_SPECIAL) and (path.is_file() or not path.exists()):
            place = Path(os.path.realpath(path))
            if place.is_symlink():
                # Links that lead in a circle.
                raise OSError(errno.ELOOP, "")
            write_whole(str(place), content, mode)
            return
        # A pipe that nobody reads is an error, and not waited for.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise writing_failure(error, str(path)) from None


def _check_place(path: Path) -> None:
    """Raise `Failure` for a folder, and for a file in a folder that is not there; OSError for what can't be told."""
    folder = Path(os.path.realpath(path)).parent if path.is_symlink() else path.parent
    if is_folder(path):
        message, hint = f"{path} is a folder.", "Name a file."
    elif not folder.exists():
        message, hint = f"The folder {folder} does not exist.", f"`mkdir -p {shlex.quote(str(folder))}` makes it."
    elif not folder.is_dir():
        message, hint = f"{folder} is not a folder.", "Name a file in a folder."
    else:
        return
    raise Failure("cannot_write_file", message, detail={"path": str(path)}, hint=hint)


def open_private(path: Path, flags: int) -> int:
    """A descriptor of a file for the operator alone, made if it is not there. Raises OSError."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, PRIVATE)


def append_private(path: Path) -> TextIO:
    """Open a file for the operator alone, to read and to add to. Raises OSError."""
    return os.fdopen(open_private(path, os.O_RDWR | os.O_APPEND), "a", encoding="utf-8")


def private_folder(path: Path) -> None:
    """Make a folder for the operator alone, and those above it. Raises OSError, `Failure` if it is not his alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_dir(str(path))


def cache_folder() -> Path | None:
    """The folder for what can be made again, None if there can be none that is the user's alone.

    What lies in it is trusted as code is.
    """
    try:
        folder = below_home("XDG_CACHE_HOME", ".cache") / "relup_remote"
        private_folder(folder)
    except (OSError, Failure):
        return None
    return folder
