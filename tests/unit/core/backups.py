"""A node's root with data and settings, and the core's commands for backing it up."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import commands
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import Site

NODE = "emqx1@127.0.0.1"

MEMORY = Path("/dev/shm")
ROOM = 256 << 20
"""Bytes that the nodes of a test take at most."""


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder on a file system in memory, or another one where there is none with room.

    A backup and a restore wait until all is durable that was written to the file system, by whomever. On the disk that
    is much, while other tests run.
    """
    if not (os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free > ROOM):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(prefix="relup-tests-", dir=MEMORY, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Node:
    """A root with data and settings; `vm` is what runs from it, if anything does."""

    def __init__(self, root: Path, vm: RunningNode | None = None) -> None:
        self.root = root
        self.vm = vm
        self.name = vm.name if vm else NODE
        self.data = root / "data"
        self.etc = root / "etc"
        self.backups = root / "relup_backups"
        self.events: list[dict[str, Any]] = []
        self.make_release("5.10.4", root)
        for folder in (self.data / "mnesia" / NODE, self.data / "configs", self.etc / "certs"):
            folder.mkdir(parents=True)
        (self.data / "mnesia" / NODE / "schema.DAT").write_bytes(os.urandom(300_000))
        (self.data / "configs" / "cluster.hocon").write_text("retained = 1")
        (self.data / "empty").touch()
        (self.data / "link").symlink_to("configs/cluster.hocon")
        (self.data / "dangling").symlink_to("/nowhere")
        (self.data / "großes \udcff").write_text("odd name")
        (self.etc / "emqx.conf").write_text("node.name = a")
        (self.etc / "emqx.conf").chmod(0o640)
        (self.etc / "certs" / "key.pem").write_text("secret")
        (self.etc / "certs").chmod(0o500)

    @staticmethod
    def make_release(version: str, root: Path) -> None:
        info = root / "releases" / version / "BUILD_INFO"
        info.parent.mkdir(parents=True)
        info.write_text('erlang: "25.3"\n')
        (root / "releases" / "emqx_vars").write_text(f'REL_VSN="{version}"\nEMQX_ETC_DIR="$BASE_RUNNER_ROOT_DIR/etc"\n')

    def deploy(self, version: str) -> None:
        """Let the root boot another release."""
        self.make_release(version, self.root / "relup" / version)
        (self.root / "relup" / "current").write_text(version)

    def context(self, command: str, run: str = "run-1", **options: Any) -> Context:
        vm = None
        if self.vm is not None:
            vm = self.vm._replace(root=str(self.root), base=str(self.root), data_dir=str(self.data))
        node = {"root_dir": str(self.root), "name": self.name}
        request = {"command": command, "operator": "alice@desk", "run": run, "node": node, "options": options}
        site = Site(str(self.root), str(self.data), None, vm)
        return Context(request, site, self.events.append, io.BytesIO())

    def run(self, command: str, run: str = "run-1", **options: Any) -> Context:
        """Carry out a command. Raises `Failure`."""
        context = self.context(command, run, **options)
        try:
            commands.run(context)
        finally:
            context.close()
        return context

    def refused(self, command: str, **options: Any) -> list[str]:
        """The err_types of all that stands in the way."""
        context = self.context(command, "run-9", **options)
        with pytest.raises(Failure):
            commands.run(context)
        assert not context.changed
        return [problem.err_type for problem in context.result.problems]

    def facts(self) -> dict[str, str]:
        """What is in data and settings, with modes and times, but for what is ours or was put aside."""
        found = {}
        for path in sorted([*self.data.rglob("*"), *self.etc.rglob("*")]):
            inner = str(path.relative_to(self.root))
            if "relup_" not in inner:
                seen = path.lstat()
                what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
                times = "" if path.is_symlink() else f"{seen.st_mode:o} {seen.st_mtime_ns}"
                found[inner] = f"{times} {hashlib.sha256(os.fsencode(what)).hexdigest()}"
        return found
