"""The SSH connection to a host: made by Fabric, with our own rules for host keys, keys, ciphers and time.

The user's ssh_config is honoured as far as Fabric and paramiko read it (not ``Include``); what the inventory says wins.
A host key that is not in a known_hosts file is never accepted, whatever ssh_config says.
"""

import logging
import shlex
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fabric
from paramiko import MissingHostKeyPolicy, PKey, SSHClient, SSHException, Transport
from paramiko.ssh_exception import ConfigParseError, NoValidConnectionsError

from relup_remote.core.protocol import Failure
from relup_remote.host import identities, known_hosts
from relup_remote.host.known_hosts import Entry, Verdict

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

# paramiko logs at error level what it raises as well; without a handler that would go to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Connection:
    """An SSH connection that stands.

    ``ssh_config`` is a file to read in place of the user's and the system's. Raises `Failure`: ``host_unreachable``,
    ``host_key_unknown``, ``host_key_changed``, ``auth_failed``, ``key_unusable``, ``ssh_timeout``.
    """

    def __init__(self, settings: "HostSettings", ssh_config: Path | None = None) -> None:
        started = time.monotonic()
        self._chain: list[fabric.Connection] = []
        try:
            final = _configured(settings, ssh_config)
            self._chain = list(_gateways(final))
            _prepare(final, settings, jump=False)
            for gateway in self._chain[1:]:
                _prepare(gateway, settings, jump=True)
            final.open()
            final.transport.set_keepalive(max(1, round(settings.keepalive)))
            self.transport: Transport = final.transport
        except BaseException as error:
            self.close()
            if isinstance(error, Failure | OSError | EOFError | SSHException):
                failure = _failure(error, settings, time.monotonic() - started)
                failure.stage = "connect"
                raise failure from None
            raise

    def close(self) -> None:
        """Close the connection, and those of the jump hosts under it. Safe to repeat."""
        for connection in self._chain:
            connection.client.close()


class _Prompt(socket.socket):
    """A TCP connection, taken over from another socket, on which neither side waits for the other's acknowledgements.

    What we have to say is said at once. What the server says is acknowledged at once: it holds a small packet back
    until then, for 40 ms if we take our time. Linux forgets that option, so it is set for every packet.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of any socket."""
        with suppress(OSError, AttributeError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().recv(size, flags)


class _Policy(MissingHostKeyPolicy):
    """Judges a server's key. paramiko is told of no known keys, so that it asks this policy about every key."""

    def __init__(self, files: Sequence[Path], entries: Sequence[Entry]) -> None:
        self._files = files
        self._entries = entries

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Raises `Failure` unless the key is known."""
        verdict = known_hosts.judge(self._entries, key.asbytes())
        if verdict is Verdict.KNOWN:
            return
        shown = f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"
        detail: dict[str, Any] = {"host": hostname, "key_shown": shown, "files": [str(file) for file in self._files]}
        if verdict is Verdict.UNKNOWN:
            message = f"The SSH key of {hostname} is in no known_hosts file: {shown}."
            raise Failure("host_key_unknown", message, detail=detail)
        detail["keys_known"] = [
            f"{entry.key_type} {known_hosts.fingerprint(entry.blob)} ({entry.where})" for entry in self._entries
        ]
        said = "is marked as revoked" if verdict is Verdict.REVOKED else "is not the one in known_hosts"
        raise Failure("host_key_changed", f"The SSH key of {hostname} {said}: {shown}.", detail=detail)


def _configured(settings: "HostSettings", ssh_config: Path | None) -> fabric.Connection:
    """The connection as ssh_config and the inventory have it; Fabric's own configuration files are left alone."""
    try:
        config = fabric.Config(lazy=True, runtime_ssh_path=str(ssh_config) if ssh_config else None)
        config.load_ssh_config()
        found = config.base_ssh_config.lookup(settings.address)
        without_jump = found.get("proxyjump", "").lower() == "none"
        return fabric.Connection(
            settings.address,
            user=settings.user,
            port=settings.port,
            config=config,
            gateway=False if without_jump else None,
        )
    except (ConfigParseError, ValueError) as error:
        raise Failure(
            "host_unreachable",
            f"{settings.address} can't be looked up in ssh_config: {error}.",
            hint="Correct ~/.ssh/config or /etc/ssh/ssh_config, or the address in the inventory.",
        ) from error


def _gateways(connection: fabric.Connection) -> Iterator[fabric.Connection]:
    """The connection and the jump hosts that lead to it, the nearest to the host first."""
    while isinstance(connection, fabric.Connection):
        yield connection
        connection = connection.gateway


def _prepare(connection: fabric.Connection, settings: "HostSettings", jump: bool) -> None:
    """Set our rules. For a jump host, user and keys are ssh_config's; the inventory speaks of the host."""
    files = _known_hosts_files(connection.ssh_config, settings.known_hosts, jump)
    alias = connection.ssh_config.get("hostkeyalias")
    entries = known_hosts.find(files, known_hosts.host_name(connection.host, connection.port, alias))
    agent = identities.of_agent()
    if settings.key and not jump:
        keys = identities.only(settings.key, agent)
    else:
        configured = connection.ssh_config.get("identityfile", [])
        keys = identities.usual(configured, connection.ssh_config.get("identitiesonly") == "yes", agent)
    connection.client.set_missing_host_key_policy(_Policy(files, entries))
    connection.connect_timeout = settings.connect_timeout
    connection.connect_kwargs = {
        "banner_timeout": settings.connect_timeout,
        "auth_timeout": settings.connect_timeout,
        "channel_timeout": settings.connect_timeout,
        "auth_strategy": identities.Identities(connection.user, keys),
        "transport_factory": _transport_factory([entry.key_type for entry in entries if not entry.revoked]),
    }


def _known_hosts_files(ssh_config: Mapping[str, str], given: Path | None, jump: bool) -> list[Path]:
    if given and not jump:
        return [given]
    words = [
        *shlex.split(ssh_config.get("userknownhostsfile", KNOWN_HOSTS)),
        *shlex.split(ssh_config.get("globalknownhostsfile", GLOBAL_KNOWN_HOSTS)),
    ]
    configured = [Path(word).expanduser() for word in words if word.lower() != "none"]
    return [given, *configured] if given else configured


def _transport_factory(known_types: Sequence[str]) -> Any:
    """What makes paramiko's transports: without Nagle's delay, with fast ciphers, asking for the known key first."""

    def make(sock: Any, **options: Any) -> Transport:
        transport = Transport(_Prompt(sock) if isinstance(sock, socket.socket) else sock, **options)
        security = transport.get_security_options()
        security.ciphers = _first(FAST_CIPHERS, security.ciphers)
        signatures = [name for known in known_types for name in (RSA_SIGNATURES if known == "ssh-rsa" else (known,))]
        security.key_types = _first(signatures, security.key_types)
        return transport

    return make


def _first(preferred: Sequence[str], possible: Sequence[str]) -> list[str]:
    """``possible`` with the ``preferred`` ones of it in front."""
    return list(dict.fromkeys([*(name for name in preferred if name in possible), *possible]))


def _failure(error: BaseException, settings: "HostSettings", seconds: float) -> Failure:
    """The failure behind what was raised ``seconds`` after the attempt began."""
    if isinstance(error, Failure):
        return error
    where = settings.address if settings.port is None else f"{settings.address} port {settings.port}"
    # paramiko has no type of its own for most of its timeouts.
    if isinstance(error, TimeoutError) or seconds >= settings.connect_timeout:
        message = f"{where} did not answer within {settings.connect_timeout:g} s."
        return Failure("ssh_timeout", message, detail={"error": _words(error)})
    if isinstance(error, NoValidConnectionsError):
        reasons = sorted({_words(reason) for reason in error.errors.values()})
        return Failure("host_unreachable", detail={"address": where, "error": "; ".join(reasons)})
    return Failure("host_unreachable", detail={"address": where, "error": _words(error)})


def _words(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).strip() or type(error).__name__
