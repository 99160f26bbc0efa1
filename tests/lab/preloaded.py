"""Commands in processes of their own that have imported everything before they begin.

A command takes most of a second of a processor to import what it needs, and to make what is the same in each: the
core's payload, the grammar of hops. So each process of tests has a server that has done that once, and forks for each
command. What is forked is a process like any other: its words, environment, folder, streams and exit status are its
own, and it ends as an interpreter does.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache

from lab.layout import PROJECT
from relup_remote.hops.hop_file import read_hop
from relup_remote.host.payload import payload

MODULE = "relup_remote"
LATE = ("paramiko", "fabric", "rich.live", "tabulate", "relup_remote.host.host", "relup_remote.hops.release")
"""What commands import only when they need it."""

_NUMBER = 8
"""Bytes in which the server tells a pid, and how a command has ended."""


class Command:
    """``relup WORDS``, begun in the project's folder, with nothing to read; ``variables`` are all of its environment.

    It is used as a `subprocess.Popen` is.
    """

    def __init__(self, words: Sequence[str], variables: Mapping[str, str]) -> None:
        self.args = list(words)
        self.returncode: int | None = None
        self._said: list[str] = []
        self._streams = [os.memfd_create(name) for name in ("stdout", "stderr")]
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(_server())
        request = json.dumps({"words": self.args, "variables": dict(variables)}).encode()
        head = len(request).to_bytes(4, "big")
        socket.send_fds(self._server, [head], self._streams)
        self._server.sendall(request)
        self.pid = self._answer()

    def poll(self) -> int | None:
        """How it has ended, None as long as it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ends. Raises `subprocess.TimeoutExpired` where that takes more than ``timeout`` seconds."""
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._answer()
            self._server.close()
            self._said = self.said
            for stream in self._streams:
                os.close(stream)
        return self.returncode

    @property
    def said(self) -> list[str]:
        """What it has written to stdout and stderr until now."""
        # Reading must not move the place at which the command writes.
        return self._said or [os.pread(it, os.fstat(it).st_size, 0).decode() for it in self._streams]

    def communicate(self, timeout: float | None = None) -> list[str]:
        """All that it has written to stdout and stderr. Raises as `wait`; then it is killed."""
        try:
            self.wait(timeout)
        finally:
            self.kill()
            self.wait()
        return self.said

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _answer(self) -> int:
        told = self._server.recv(_NUMBER, socket.MSG_WAITALL)
        assert len(told) == _NUMBER, "the server of commands is gone"
        return int.from_bytes(told, "big", signed=True)


@cache
def _server() -> str:
    """The address of this process's server, which `end` ends."""
    folder = tempfile.mkdtemp(prefix="relup-preloaded-")
    address = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        command = [sys.executable, "-m", __name__, str(listener.fileno())]
        process = subprocess.Popen(command, cwd=PROJECT, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL)
    _ending.callback(shutil.rmtree, folder)
    _ending.callback(process.wait)
    _ending.callback(process.kill)
    return address


_ending = contextlib.ExitStack()


def end() -> None:
    """End the server, if there is one."""
    _server.cache_clear()
    _ending.close()


def serve(listener: socket.socket) -> None:
    """Fork for each command that is asked for. Returns only where a command is to be run."""
    for found in pkgutil.iter_modules(importlib.import_module(f"{MODULE}.commands").__path__, f"{MODULE}.commands."):
        importlib.import_module(found.name)
    for name in (f"{MODULE}.cli", *LATE):
        importlib.import_module(name)
    payload()
    read_hop("a hop", '#{from_version => "1", target_version => "2"}.')
    # What is there by now is not to be copied by every collection of garbage.
    gc.freeze()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _begin(connection)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _begin(connection: socket.socket) -> None:
    """Fork once more, tell the pid and how it ended, and end; in the fork, be the command's process and return."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 2)
    with connection.makefile("rb") as asked:
        request = json.loads(asked.read(int.from_bytes(head, "big")))
    pid = os.fork()
    if pid:
        connection.sendall(pid.to_bytes(_NUMBER, "big"))
        _, status = os.waitpid(pid, 0)
        # Nobody may be waiting any more.
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(_NUMBER, "big", signed=True))
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.argv = [MODULE, *request["words"]]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
