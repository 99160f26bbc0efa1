"""Another user than the one that the tests run as, where they run as root, and what he may plant."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def by_nobody(folder: Path, act: Callable[[], object]) -> None:
    """Do something in ``folder`` as the user `NOBODY`, in a process of its own, and await its end.

    The paths used have to be relative: that user may not even get to the folder.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(folder)
            become_nobody()
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def become_nobody() -> None:
    """Turn this process into one of the user `NOBODY`."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0)


@contextlib.contextmanager
def mounted(path: Path, *options: str | Path) -> Iterator[Path]:
    """A file system at a path, made for it, for the time of a block; ``options`` are those of mount. Only for root."""
    path.mkdir()
    subprocess.run(["mount", *options, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def holding(take: Callable[[], object]) -> Iterator[int]:
    """A process of the user `NOBODY` that holds what ``take`` gives it; its pid."""
    (ready, say), (wait, go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(go)
        become_nobody()
        held = take()
        os.write(say, b"1" if held else b"")
        os.read(wait, 1)
        os._exit(0)
    os.close(say)
    try:
        assert os.read(ready, 1) == b"1"
        yield child
    finally:
        for descriptor in (ready, wait, go):
            os.close(descriptor)
        os.waitpid(child, 0)


@contextlib.contextmanager
def claiming(folder: Path, root: str, name: str, *options: str, uid: int = NOBODY) -> Iterator[int]:
    """A process, made in ``folder``, that calls itself a VM of ``root`` and ``name``; its pid."""
    folder.chmod(0o755)
    program = folder / "beam.smp"
    shutil.copy("/bin/sh", program)
    words = ["emqx", "-c", "echo ready; read _", "--", "-root", root, "-name", name, *options]
    process = subprocess.Popen(
        words,
        executable="./beam.smp",
        cwd=folder,
        user=uid,
        group=uid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.communicate()
