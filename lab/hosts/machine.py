"""One machine: a file system over an image, booted by systemd in a container."""

import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

from lab import processes
from lab.errors import LabError
from lab.hosts import network
from lab.hosts.image import System
from lab.hosts.room import Room, run
from lab.node import POLL_INTERVAL

BOOT_TIMEOUT = 300.0
"""Seconds; a boot takes ten on a quiet machine."""

HALT_TIMEOUT = 60.0

BOOT = 'mkdir -p "$0" && echo $$ >"$0/cgroup.procs" && exec "$@"'
"""A control group of its own for each machine."""


class Machine:
    """A machine of a room. ``number``: the last part of its addresses. ``folder``: where what it writes is kept."""

    def __init__(self, room: Room, name: str, number: int, system: System, folder: Path) -> None:
        self.name = name
        self.number = number
        self.system = system
        self.folder = folder
        self._room = room
        self._pid_file = folder / "nspawn.pid"

    @property
    def address(self) -> str:
        return network.address(self.number)

    @property
    def is_made(self) -> bool:
        """Whether it has a file system."""
        return (self.folder / "upper").is_dir()

    def mount(self) -> bool:
        """Put its file system together in the room; returns whether it is a new one."""
        is_new = not self.is_made
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir={self.system.image},upperdir={self.folder}/upper,workdir={self.folder}/work"
        self._room.run("mount", "-t", "overlay", "overlay", "-o", layers, self.folder / "root")
        if is_new:
            self.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
            self.write("/etc/hostname", f"{self.name}\n")
            self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        return is_new

    def path(self, name: str) -> Path:
        """A file of the machine, as it is found from outside, whether or not the machine is on."""
        return self._room.files / f"{self.folder}/root{name}".lstrip("/")

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def chroot(self, script: str, *words: str) -> str:
        """What a shell script prints that runs in the file system of the machine while that is off."""
        root = self.folder / "root"
        return self._room.run(
            "chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "sh", "-euc", script, *words
        )

    # Power

    def power_on(self) -> bool:
        """Boot it, unless it is on; returns whether it was off. `await_ssh` waits for it."""
        if self.init is not None:
            return False
        group = f"/sys/fs/cgroup/relup-{self._room.pid}-{self.name}"
        nspawn = [
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
            *("--link-journal=no", "--resolv-conf=off", "--timezone=off", f"--directory={self.folder}/root"),
            *(f"--machine={self.name}", f"--network-namespace-path=/run/netns/{self.name}"),
        ]
        with (self.folder / "console").open("ab") as console:
            started = subprocess.Popen(
                self._room.within(["sh", "-c", BOOT, group, *nspawn]),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"},
                start_new_session=True,
            )
        self._pid_file.write_text(str(started.pid))
        return True

    @property
    def init(self) -> int | None:
        """The first process of the machine, by its pid outside; None while it is off."""
        pid = processes.read_pid(self._pid_file)
        for _ in range(2):
            # nsenter, nspawn, init.
            below = processes.children(pid) if pid else []
            pid = below[0] if below else None
        return pid

    def power_off(self) -> None:
        """Take the power away: all its processes are gone at once."""
        init = self.init
        if init is not None:
            processes.kill(init, lambda pid: pid == self.init)

    def halt(self) -> None:
        """Shut it down in an orderly way; what is not down in a minute loses its power."""
        if self.init is None:
            return
        self.run("systemctl", "poweroff")
        deadline = time.monotonic() + HALT_TIMEOUT
        while self.init is not None and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL)
        self.power_off()

    def forget(self) -> None:
        """Remove all that it has written. The room must be closed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # What it does

    def run(self, *words: str, given: str = "") -> str:
        """What a command prints that runs as root on the machine. Raises `LabError` (``command_failed``)."""
        init = self.init
        if init is None:
            raise LabError("machine_off", f"{self.name} is off.", "Start it with `inv lab.hosts.up`.")
        return run(["nsenter", f"--target={init}", "--all", "--", *words], given)
