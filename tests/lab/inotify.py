"""What is made, opened or read in folders while a block runs, by whomever; as Linux tells it (inotify(7))."""

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

READ, OPENED, MOVED_HERE, MADE, OVERFLOWN = 0x1, 0x20, 0x80, 0x100, 0x4000
_HEAD = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def events(folders: Iterable[Path], kinds: int) -> Iterator[list[Path]]:
    """A list that holds, once the block has ended, the paths directly in ``folders`` that something happened to.

    ``kinds`` is a sum of the constants above. A folder itself counts too. Fails the test if there was more than the
    kernel kept.
    """
    descriptor = _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    seen: list[Path] = []
    try:
        watched = {_checked(_LIBC.inotify_add_watch(descriptor, os.fsencode(path), kinds)): path for path in folders}
        yield seen
        seen += [watched[number] / name for number, name in _read(descriptor)]
    finally:
        os.close(descriptor)


def await_made(folder: Path, prefix: str) -> None:
    """Wait until something is made in a folder, or moved there, whose name begins with ``prefix``."""
    descriptor = _checked(_LIBC.inotify_init1(os.O_CLOEXEC))
    try:
        _checked(_LIBC.inotify_add_watch(descriptor, os.fsencode(folder), MADE | MOVED_HERE))
        print("watching", flush=True)
        while not any(name.startswith(prefix) for _, name in _events(os.read(descriptor, 1 << 16))):
            pass
    finally:
        os.close(descriptor)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _read(descriptor: int) -> Iterator[tuple[int, str]]:
    while True:
        try:
            raw = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return
        yield from _events(raw)


def _events(raw: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(raw):
        number, kind, _, length = _HEAD.unpack_from(raw, at)
        assert not kind & OVERFLOWN, "more happened than the kernel kept"
        at += _HEAD.size + length
        yield number, os.fsdecode(raw[at - length : at].rstrip(b"\0"))
