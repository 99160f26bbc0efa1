"""Real OpenSSH servers on loopback, as hosts to connect to."""

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import config_files, layout, sshd
from relup_remote.inventory import HostSettings

ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Server:
    """A host that can be connected to."""

    host: layout.Host
    key: Path
    known_hosts: Path
    transport: str = "auto"

    @property
    def cache(self) -> Path:
        """Where cores are kept on it."""
        return self.host.home / ".cache" / "relup_remote"

    def settings(self, **changes: Any) -> HostSettings:
        """The host as an inventory would have it."""
        settings: dict[str, Any] = {
            "name": self.host.name,
            "address": layout.LOOPBACK,
            "port": self.host.ssh_port,
            "user": ME,
            "key": self.key,
            "known_hosts": self.known_hosts,
            "become": "never",
            "transport": self.transport,
            "connect_timeout": 5.0,
            "command_timeout": 10.0,
        }
        return HostSettings(**{**settings, **changes})

    def with_path(self, folder: Path) -> None:
        """Let commands on the host be looked for in ``folder`` first."""
        session = self.host.ssh_dir / "session"
        session.write_text(session.read_text().replace("cd ", f"PATH={folder}:$PATH\ncd ", 1))


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """A server whose files are in ``folder``, with an empty home; ``options`` come before others in `sshd_config`."""
    host = layout.Host(0, folder / "host", layout.Ports(ssh=free_port()))
    folder.mkdir(exist_ok=True)
    key = folder / "client_key"
    host_key = sshd.prepare(host, ME, sshd.make_key(key, "test"))
    config = sshd.config(host)
    is_given = any(option.startswith("MaxStartups") for option in options)
    # Of MaxStartups the last one counts, not the first.
    usual = [line for line in config.read_text().splitlines() if not (line.startswith("MaxStartups") and is_given)]
    config.write_text("\n".join([*options, *usual, ""]))
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(config_files.known_hosts([host], {host.name: host_key}))
    sshd.start(host)
    try:
        yield Server(host, key, known_hosts)
    finally:
        sshd.stop(host)


@contextmanager
def agent(path: Path, keys: list[Path]) -> Iterator[Path]:
    """An SSH agent that holds ``keys``; its socket."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        # It says where its socket is once there is one.
        process.stdout.readline()
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        if keys:
            subprocess.run(["ssh-add", "-q", *map(str, keys)], check=True, env=environment)
        yield path
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((layout.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
