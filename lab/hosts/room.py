"""Namespaces of the lab's own: mounts, network, processes. All that is in them ends with their first process.

So a lab leaves nothing behind, however it ends: no mount, no device, no process. Nothing in it reaches the network of
this machine.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab import processes
from lab.errors import LabError

PROGRAMS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "systemd-nspawn": "systemd-container"}
"""Programs that a lab needs, and Debian's packages of them."""

FIRST = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
echo ready
exec sleep infinity
"""
"""What the first process does. What machines see of control groups is the unified hierarchy, whatever is here."""


def why_not() -> str | None:
    """Why there can be no room here, or None if nothing speaks against it."""
    if os.geteuid() != 0:
        return "Machines in a box need root."
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        return f"Programs are missing. Install them: apt-get install {' '.join(missing)}"
    if not Path("/dev/net/tun").exists():
        return "There is no /dev/net/tun, by which the machines' network is made."
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "mount", "-t", "cgroup2", "none", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"Namespaces can't be made here: {tried.stderr.strip()}" if tried.returncode else None


class Room:
    """The namespaces of a lab whose state is in the folder ``state``."""

    def __init__(self, state: Path) -> None:
        self._pid_file = state / "room.pid"
        self._log = state / "room.log"

    @property
    def pid(self) -> int | None:
        """The first process, or None where the room is closed."""
        found = processes.read_pid(self._pid_file)
        return found if found is not None and self._is_first(found) else None

    def _is_first(self, pid: int) -> bool:
        # A pid is used again; the folder in its environment is not.
        return processes.environment(pid).get("RELUP_LAB_ROOM") == str(self._pid_file.parent)

    def open(self) -> bool:
        """Make the namespaces, unless they are there; returns whether they were not. Raises `LabError` (no_room)."""
        if self.pid is not None:
            return False
        reason = why_not()
        if reason is None:
            reason = self._begin()
        if reason is not None:
            raise LabError("no_room", reason, "See lab/hosts, and docs/testing.md.")
        return True

    def _begin(self) -> str | None:
        words = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
        with self._log.open("wb") as log:
            started = subprocess.Popen(
                [*words, "sh", "-c", FIRST],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "RELUP_LAB_ROOM": str(self._pid_file.parent)},
                start_new_session=True,
            )
        assert started.stdout is not None
        with started.stdout:
            if started.stdout.readline() != b"ready\n":
                started.wait()
                return f"Namespaces can't be made here: {self._log.read_text().strip()}"
        self._pid_file.write_text(str(processes.children(started.pid)[0]))
        return None

    def close(self) -> bool:
        """End all that is in the room; returns whether it was open."""
        pid = self.pid
        return pid is not None and processes.kill(pid, self._is_first)

    @property
    def files(self) -> Path:
        """The root of the file system as the room has it, with its mounts."""
        return Path(f"/proc/{self._open_pid}/root")

    def within(self, words: Sequence[str | Path], network_only: bool = False) -> list[str]:
        """The command that runs ``words`` in the room. ``network_only``: with the files and processes of outside."""
        spaces = ["--net"] if network_only else ["--mount", "--net", "--pid"]
        return ["nsenter", f"--target={self._open_pid}", *spaces, "--", *map(str, words)]

    def run(self, *words: str | Path, given: str = "") -> str:
        """What a command in the room prints. Raises `LabError` (``command_failed``)."""
        return run(self.within(words), given)

    @property
    def _open_pid(self) -> int:
        pid = self.pid
        if pid is None:
            raise LabError("lab_down", "The machines are down.", "Start them with `inv lab.hosts.up`.")
        return pid

    def hang_up(self, pid: int) -> None:
        """Send SIGHUP to a process of the room, by its pid outside."""
        os.kill(pid, signal.SIGHUP)


def run(words: Sequence[str], given: str = "") -> str:
    """What a command prints. Raises `LabError` (``command_failed``)."""
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError("command_failed", f"{' '.join(words)}: exit status {done.returncode}", said)
    return done.stdout
