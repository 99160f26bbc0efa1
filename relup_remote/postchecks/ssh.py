"""testinfra's connection to a host of the inventory: OpenSSH, one connection for all checks, host keys verified."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testinfra.backend.ssh import SshBackend
from testinfra.host import Host

from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings

_CAUSES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "host_key_changed"),
    ("Host key verification failed", "host_key_unknown"),
    ("Permission denied", "auth_failed"),
    ("timed out", "ssh_timeout"),
)
"""What OpenSSH says, and which error that is; the first that fits."""

LINGER = 30
"""Seconds after which the shared connection closes by itself, should nobody close it."""


def ssh_config(host: HostSettings) -> str:
    """An `ssh_config` in which the inventory's settings come first, then the operator's own configuration."""
    lines = [
        "Host *",
        "BatchMode yes",
        "StrictHostKeyChecking yes",
        f"ConnectTimeout {max(1, round(host.connect_timeout))}",
        f"ServerAliveInterval {max(1, round(host.keepalive))}",
    ]
    if host.port:
        lines.append(f"Port {host.port}")
    if host.user:
        lines.append(f"User {host.user}")
    if host.key:
        lines += [f"IdentityFile {_quoted(host.key)}", "IdentitiesOnly yes"]
    if host.known_hosts:
        lines += [f"UserKnownHostsFile {_quoted(host.known_hosts)}", "GlobalKnownHostsFile /dev/null"]
    return "\n".join([*lines, "Include ~/.ssh/config", "Include /etc/ssh/ssh_config", ""])


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("%", "%%") + '"'


@dataclass(frozen=True)
class Link:
    """A way to get testinfra hosts that share one connection."""

    settings: HostSettings
    config: Path
    socket: Path

    def host(self, sudo_user: str | None = None) -> Host:
        """The host as the SSH user, or as another by sudo."""
        backend = SshBackend(
            f"[{self.settings.address}]",
            ssh_config=str(self.config),
            timeout=max(1, round(self.settings.connect_timeout)),
            controlpath=str(self.socket),
            controlpersist=LINGER,
            sudo=sudo_user is not None,
            sudo_user=sudo_user,
        )
        return Host(backend)


@contextmanager
def connect(settings: HostSettings) -> Iterator[Link]:
    """A connection that stands, for as long as the context does. Raises `Failure`, stage ``connect``."""
    with tempfile.TemporaryDirectory(prefix="relup-") as name:
        folder = Path(name)
        config = folder / "config"
        config.write_text(ssh_config(settings), encoding="utf-8")
        link = Link(settings, config, folder / "socket")
        try:
            link.host().run("true")
        except RuntimeError as error:
            raise _failure(error) from None
        try:
            yield link
        finally:
            _close(link)


def _close(link: Link) -> None:
    command = ["ssh", "-F", str(link.config), "-o", f"ControlPath={link.socket}", "-O", "exit", link.settings.address]
    # No connection to close is as good as a closed one; one that does not answer closes itself, see LINGER.
    subprocess.run(command, capture_output=True, check=False, timeout=LINGER)


def _failure(error: RuntimeError) -> Failure:
    """The failure behind testinfra's error, which carries the result of `ssh`."""
    said = getattr(error.args[0], "stderr", str(error)).strip() if error.args else ""
    name = next((name for sign, name in _CAUSES if sign in said), "host_unreachable")
    return Failure(name, detail={"ssh": said.splitlines()[-1] if said else "no message"}, stage="connect")
