"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the one place where files are opened.

Whatever lies where a file should be may be planted by another user: a pipe that never opens, a device that never ends,
a link that leads elsewhere, a file of a terabyte. So every file that the core reads is opened here, and a test allows
no other way:

==============  ====================================================================================================
`opened`        a regular file of one of the owners named; no link is followed, and nothing is waited for
`read_small`    the same, read whole, up to a limit of bytes
`open_ours`     the same, for a file of ours or root's; it may be made
`create`        a new file; whatever lies there already is an error
`open_folder`   a folder; no link is followed
`names_in`      the names in a folder
`of_kernel`     a file of /proc, which the kernel answers, up to a limit of bytes
`open_table`    the same, to be read line by line
==============  ====================================================================================================

`ANYONE` as owner is for what is only a claim until something else proves it, or what lies in a folder that was checked.
"""

import errno
import os
import stat
from typing import AbstractSet, List, Optional, TextIO

from .protocol import Failure
from .trust import untrusted, us, user_name

ANYONE = None
"""As `owners`: whoever owns the file."""

SMALL = 1 << 20
"""As many bytes as a small file has at most."""

_WITHOUT_WAITING = os.O_CLOEXEC | os.O_NONBLOCK


def opened(
    path: str,
    flags: int = os.O_RDONLY,
    mode: int = 0o600,
    *,
    owners: Optional[AbstractSet[int]],
    links: bool = False,
    limit: Optional[int] = None,
) -> int:
    """A descriptor of the regular file `path`, which belongs to one of the uids `owners` and has no more bytes than
    `limit`, where that is given.

    With `links`, links are followed, and the file they lead to is what is checked. Raises `OSError` where there is no
    such file or it may not be opened, and `Failure` untrusted_file where something else is there.
    """
    try:
        # Before it is opened: to open a device may be enough to make it do something.
        check_file(path, os.stat(path) if links else os.lstat(path), owners)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    descriptor = os.open(path, flags | _WITHOUT_WAITING | (0 if links else os.O_NOFOLLOW), mode)
    try:
        found = os.fstat(descriptor)
        check_file(path, found, owners)
        if limit is not None and found.st_size > limit:
            raise untrusted("untrusted_file", path, found, "it has more than {} bytes".format(limit))
    except Failure:
        os.close(descriptor)
        raise
    return descriptor


def check_file(path: str, found: os.stat_result, owners: Optional[AbstractSet[int]]) -> None:
    """Raises `Failure` untrusted_file unless what was found is a regular file of one of the `owners`."""
    if not stat.S_ISREG(found.st_mode):
        raise untrusted("untrusted_file", path, found, "it is {}, not a regular file".format(_kind(found)))
    if owners is not None and found.st_uid not in owners:
        raise untrusted("untrusted_file", path, found, "it belongs to {}".format(user_name(found.st_uid)))


def _kind(found: os.stat_result) -> str:
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for fits, name in kinds if fits(found.st_mode)), "a device")


def read_small(
    path: str, limit: int = SMALL, *, owners: Optional[AbstractSet[int]] = ANYONE, links: bool = False
) -> Optional[bytes]:
    """The content of a file of at most `limit` bytes, or None where there is none.

    Raises `Failure` cannot_read_file where it can't be read, and untrusted_file where something else is there, or more.
    """
    try:
        with os.fdopen(opened(path, owners=owners, links=links), "rb") as file:
            content = file.read(limit + 1)
            found = os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            # No file can have such a name.
            return None
        raise cannot_read(path, error)
    if len(content) > limit:
        raise untrusted("untrusted_file", path, found, "it has more than {} bytes".format(limit))
    return content


def cannot_read(path: str, error: OSError) -> Failure:
    """The `Failure` for an `OSError` met in reading `path`."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Failure("cannot_read_file", "{} can't be read: {}.".format(path, reason), detail={"paths": [path]})


def open_ours(path: str, flags: int, mode: int = 0o600) -> int:
    """A descriptor of the file `path` in a folder of ours. Raises `OSError`, and `Failure` untrusted_file."""
    return opened(path, flags, mode, owners=us())


def create(path: str, mode: int = 0o600) -> int:
    """A descriptor, for reading and writing, of the new file `path`, which has that mode whatever our umask.

    Raises `OSError`, also where anything is there.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_folder(path: str) -> int:
    """A descriptor of the folder `path`. Raises `OSError`, also where a link or anything else is there."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def names_in(folder: str) -> List[str]:
    """The names in a folder, sorted; none where there is no folder. Raises `Failure` cannot_read_file."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise cannot_read(folder, error)


def of_kernel(path: str, limit: int = SMALL) -> Optional[bytes]:
    """The content of a file below /proc, up to `limit` bytes; None where there is none, as of a process that has ended.

    Raises PermissionError.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            return file.read(limit)
    except PermissionError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
            return None
        raise PermissionError(error.errno, error.strerror)


def open_table(path: str) -> TextIO:
    """A file below /proc/net, to be read line by line: it may have a million of them. Raises `OSError`."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), encoding="ascii", errors="replace")
