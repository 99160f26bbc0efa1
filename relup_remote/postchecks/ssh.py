"""testinfra's connection to a host of the inventory: the one that all other commands have, shared by all checks."""

import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from paramiko import Channel, Transport
from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from relup_remote.host.connection import Connection
from relup_remote.inventory import HostSettings


class Backend(BaseBackend):  # type: ignore[misc]  # testinfra has no types
    """Runs testinfra's commands over a connection that stands, as the SSH user or as ``sudo_user``."""

    NAME = "relup"

    def __init__(self, transport: Transport, settings: HostSettings, sudo_user: str | None = None) -> None:
        super().__init__(settings.name, sudo=sudo_user is not None, sudo_user=sudo_user)
        self._transport = transport
        self._settings = settings

    def run(self, command: str, *args: str, **_options: Any) -> CommandResult:
        """Run a command, its ``%s`` replaced by ``args``. Raises TimeoutError if an output is silent for too long."""
        encoded = self.encode(self.get_command(command, *args))
        with self._transport.open_session(timeout=self._settings.command_timeout) as channel:
            channel.settimeout(self._settings.command_timeout)
            channel.exec_command(encoded)
            if self.sudo and self._settings.secrets.sudo is not None:
                channel.sendall(f"{self._settings.secrets.sudo}\n".encode())
            channel.shutdown_write()
            out, err = _read(channel)
            return self.result(channel.recv_exit_status(), encoded, out, err)

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """The command as another user. One that needs no password must not find it on its standard input."""
        asks = ["-n"] if self._settings.secrets.sudo is None else ["-S", "-p", ""]
        return shlex.join(
            ["sudo", *asks, "-u", sudo_user or "root", "--", "/bin/sh", "-c", f"exec </dev/null; {command}"]
        )


def _read(channel: Channel) -> tuple[bytes, bytes]:
    """All that a command says on both its outputs, read at once: neither may fill up."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        err = pool.submit(channel.makefile_stderr("rb").read)
        out = channel.makefile("rb").read()
        return out, err.result()


class Link:
    """A way to get testinfra hosts that share one connection."""

    def __init__(self, connection: Connection, settings: HostSettings) -> None:
        self._connection = connection
        self._settings = settings

    def host(self, sudo_user: str | None = None) -> Host:
        """The host as the SSH user, or as another by sudo."""
        return Host(Backend(self._connection.transport, self._settings, sudo_user))


@contextmanager
def connect(settings: HostSettings) -> Iterator[Link]:
    """A connection that stands, for as long as the context does. Raises `Failure`, stage ``connect``."""
    connection = Connection(settings)
    try:
        yield Link(connection, settings)
    finally:
        connection.close()
