"""testinfra's connection to a host of the inventory: the one that all other commands have, shared by all checks."""

import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from relup_remote.core.protocol import Failure
from relup_remote.deadline import NEVER, Deadline
from relup_remote.host import standing
from relup_remote.host.stderr import Stderr, prompt
from relup_remote.host.transport import Process, Start
from relup_remote.inventory import HostSettings
from relup_remote.secrets import Password

MOST = 16 << 20
"""Bytes that a command may say on each of its outputs."""

LONGEST = 300.0
"""Seconds for one command, however much it says meanwhile."""


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """Runs testinfra's commands over a connection that stands, as the SSH user or as ``sudo_user``.

    None of them takes more time than is left of the ``deadline`` of all.
    """

    NAME = "relup"

    def __init__(
        self, start: Start, settings: HostSettings, sudo_user: str | None = None, deadline: Deadline = NEVER
    ) -> None:
        super().__init__(settings.name, sudo=sudo_user is not None, sudo_user=sudo_user)
        self._start = start
        self._settings = settings
        self._deadline = deadline
        self._prompt = prompt()

    def run(self, command: str, *args: str, **_options: Any) -> CommandResult:
        """Run a command, its ``%s`` replaced by ``args``.

        Raises TimeoutError if an output is silent for too long, `Failure` (``deadline_exceeded``) if the time of all is
        over.
        """
        encoded = self.encode(self.get_command(command, *args))
        try:
            return self._run(encoded)
        except OSError:
            if self._deadline.is_over:
                raise too_late(self._deadline) from None
            raise

    def _run(self, encoded: bytes) -> CommandResult:
        password = self._settings.secrets.sudo if self.sudo else None
        process = self._start(encoded.decode("utf-8", "surrogateescape"), self._limit)
        try:
            err = Stderr(process, self._prompt if password else None, MOST)
            err.start()
            if password is None:
                process.end_input()
                out = self._read(process)
            else:
                out = self._read_as_another(process, err, password)
            err.join(self._limit)
            status = process.wait(self._limit)
            return self.result(-1 if status is None else status, encoded, out, err.text().encode())
        finally:
            process.close()

    @property
    def _limit(self) -> float:
        """Seconds that may be waited. Raises TimeoutError once the deadline is over."""
        return self._deadline.within(self._settings.command_timeout)

    def _read_as_another(self, process: Process, err: Stderr, password: Password) -> bytes:
        """What the command says once sudo has had the password, if it asks for it. Raises `NotTried`."""
        limit = self._limit
        with password.tried_at(self._settings.name, self._settings.user or "", limit) as trial:
            asked = threading.Thread(target=err.answer, args=(trial, limit), daemon=True)
            asked.start()
            out = self._read(process)
            asked.join(limit)
            if err.is_asked:
                trial.is_right = not err.is_refused
            return out

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """The command as another user. One that needs no password must not find it on its standard input."""
        asks = ["-n"] if self._settings.secrets.sudo is None else ["-S", "-p", self._prompt]
        return shlex.join(
            ["sudo", *asks, "-u", sudo_user or "root", "--", "/bin/sh", "-c", f"exec </dev/null; {command}"]
        )

    def _read(self, process: Process) -> bytes:
        """What a command says. Raises RuntimeError if that is too much, TimeoutError if it takes too long."""
        out, deadline = bytearray(), Deadline(self._deadline.within(LONGEST))
        while True:
            data = process.receive(deadline.within(self._limit))
            if not data:
                return bytes(out)
            out += data
            if len(out) > MOST:
                raise RuntimeError(f"it says more than {MOST >> 20} MB")


def too_late(deadline: Deadline) -> Failure:
    """The failure of a host that was not done in time."""
    message = f"The checks did not finish on the host within {deadline.seconds:g} s; the remaining ones did not run."
    return Failure("deadline_exceeded", message, detail={"seconds": deadline.seconds}, stage="postcheck")


class Link:
    """A way to get testinfra hosts that share one connection."""

    def __init__(self, start: Start, settings: HostSettings, deadline: Deadline) -> None:
        self._start = start
        self._settings = settings
        self._deadline = deadline

    def host(self, sudo_user: str | None = None) -> Host:
        """The host as the SSH user, or as another by sudo."""
        return Host(Backend(self._start, self._settings, sudo_user, self._deadline))


@contextmanager
def connect(settings: HostSettings, deadline: Deadline = NEVER, *, at_once: bool = True) -> Iterator[Link]:
    """The connection that stands on a host, for commands that end by the ``deadline``.

    It is made ``at_once``, or else by the first command. Raises `Failure`: that of the connection, stage ``connect``,
    or ``deadline_exceeded``, stage ``postcheck``.
    """
    if deadline.is_over:
        raise too_late(deadline)
    with standing.on(settings) as stands:
        try:
            if at_once:
                stands.connect(replace(settings, connect_timeout=deadline.within(settings.connect_timeout)), _ignore)
        except Failure:
            if deadline.is_over:
                raise too_late(deadline) from None
            raise
        yield Link(partial(stands.start, settings, _ignore), settings, deadline)


def _ignore(_said: str) -> None:
    """What is told of the way to a host was told by the core's requests."""
