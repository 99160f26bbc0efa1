"""The SSH connection to a host: made by Fabric, with our own rules for host keys, keys, ciphers and time.

The way is the operator's ssh_config's, see `route`; what the inventory says comes before it. A host key that is not in
a known_hosts file is never accepted, whatever ssh_config says.
"""

import logging
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import fabric
from paramiko import Channel, MissingHostKeyPolicy, PKey, SSHClient, SSHConfig, SSHException, Transport
from paramiko.ssh_exception import NoValidConnectionsError

from relup_remote.core.protocol import Failure
from relup_remote.host import identities, known_hosts, route
from relup_remote.host.identities import Identities, Keys
from relup_remote.host.known_hosts import Verdict
from relup_remote.host.route import Station

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")

UNDER_WAY = 256 << 10
"""Bytes that may at least be on their way to a host, or wait there for the command.

OpenSSH would let us send 2 MB ahead, in a buffer that it copies whenever it grows: for the first file that is slower.
"""

LINE = 256 << 20
"""Bytes a second that a line may carry and still be full: the longer a host takes to answer, the more is under way."""

# paramiko logs at error level what it raises as well; without a handler that would go to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Connection:
    """An SSH connection that stands.

    The login password is the host's: jump hosts get none. A passphrase opens keys, those for jump hosts too, and leaves
    this machine never. Raises `Failure`:
    ``host_unreachable``, ``host_key_unknown``, ``host_key_changed``, ``host_key_revoked``, ``auth_failed``,
    ``key_unusable``, ``ssh_timeout``.
    """

    def __init__(self, settings: "HostSettings") -> None:
        self._settings = settings
        self._chain: list[fabric.Connection] = []
        self._started = time.monotonic()
        jump: Station | None = None
        try:
            *jumps, host = route.to(settings)
            for jump in jumps:
                self._connect(jump, *_rules_of_jump(jump, settings))
            jump = None
            pin, is_direct = settings.pin, not jumps and host.command is None
            self._connect(host, *_rules_of_host(host, settings), pin.address if pin and is_direct else None)
            self._transport: Transport = self._chain[-1].transport
            if pin is not None:
                key = known_hosts.fingerprint(self._transport.get_remote_server_key().asbytes())
                pin.meet(str(self._transport.getpeername()[0]) if is_direct else None, key)
            self._transport.set_keepalive(max(1, round(settings.keepalive)))
        except BaseException as error:
            self.close()
            if isinstance(error, Failure | OSError | EOFError | SSHException):
                failure = _failure(error, settings, jump, time.monotonic() - self._started)
                failure.stage = "connect"
                raise failure from None
            raise

    @property
    def is_active(self) -> bool:
        """Whether it still stands, as far as is known."""
        return self._transport.is_active()

    def start(self, command: str, seconds: float) -> "Process":
        """Have the host's login shell run a command. Raises TimeoutError, OSError."""
        started = time.monotonic()
        with _closed_after(self._transport, seconds):
            try:
                channel = self._transport.open_session(timeout=seconds)
                channel.settimeout(seconds)
                asked = time.monotonic()
                channel.exec_command(command)
                _limit(channel, max(UNDER_WAY, int(LINE * (time.monotonic() - asked))))
                return Process(channel)
            except (SSHException, EOFError, OSError) as error:
                if time.monotonic() - started >= seconds:
                    raise TimeoutError from error
                if isinstance(error, OSError):
                    raise
                raise ConnectionError(str(error)) from error

    def close(self) -> None:
        """Close the connection, and those of the jump hosts under it. Safe to repeat."""
        for connection in reversed(self._chain):
            connection.client.close()

    def _connect(
        self, station: Station, known_hosts_files: Sequence[Path], who: Identities, address: str | None = None
    ) -> None:
        """Connect to the next station, through the last one: as often as it takes to offer all that is to offer.

        ``address`` is where it was found before, whatever its name leads to now.
        """
        there = station if address is None else replace(station, address=address)
        connection = _fabric(there, self._chain[-1] if self._chain else None)
        self._chain.append(connection)
        name = known_hosts.host_name(station.address, station.port, station.key_name)
        _set_rules(connection, _Policy(station.revoked, known_hosts_files, name, self._settings.connect_timeout), who)
        while not connection.is_connected:
            self._started = time.monotonic()
            try:
                connection.open()
            except identities.ConnectAgain:
                connection.client.close()


class Process:
    """A command that runs on a host, on a channel of its own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def receive(self, seconds: float) -> bytes:
        """What it has said on standard output. Raises TimeoutError, OSError."""
        self._channel.settimeout(seconds)
        return self._channel.recv(1 << 16)

    def has_output(self) -> bool:
        """Whether `receive` would have something at once."""
        return self._channel.recv_ready()

    def receive_error(self) -> bytes:
        """What it has said on standard error."""
        while True:
            try:
                return self._channel.recv_stderr(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return b""

    def send(self, data: bytes | memoryview, seconds: float) -> int:
        """Write to its standard input. Raises TimeoutError, OSError."""
        self._channel.settimeout(seconds)
        # paramiko sends any buffer, its stubs know of two.
        sent = self._channel.send(cast("bytes", data))
        if not sent:
            raise OSError("the channel is closed")
        return sent

    def end_input(self) -> None:
        """Close its standard input."""
        with suppress(OSError):
            self._channel.shutdown_write()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or None."""
        self._channel.status_event.wait(seconds)
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    def is_cut_off(self) -> bool:
        """Whether the connection was lost."""
        return not self._channel.eof_received

    def close(self) -> None:
        """Close its input and outputs."""
        self._channel.close()


def _limit(channel: Channel, size: int) -> None:
    """Let no more than so many bytes be under way: the window is how many more the other side allows us to send."""
    with channel.lock:
        channel.out_window_size = min(channel.out_window_size, size)


@contextmanager
def _closed_after(transport: Transport, seconds: float) -> Iterator[None]:
    """Close the transport if the context takes longer: paramiko would wait for ever for an answer to ``exec``."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
    """Judges a server's key. paramiko is told of no known keys, so that it asks this policy about every key.

    ``revoked`` and ``files`` are the files to judge by, ``name`` is that under which the host's key is filed,
    ``timeout`` the seconds for each part.
    """

    def __init__(self, revoked: Path | None, files: Sequence[Path], name: str, timeout: float) -> None:
        self.timeout = timeout
        self._revoked = revoked
        self._files = files
        self._entries = known_hosts.find(files, name)

    @property
    def known_types(self) -> list[str]:
        """The types of the keys that the host is known by."""
        return [entry.key_type for entry in self._entries if not entry.revoked]

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Raises `Failure` unless the key is known, and not revoked."""
        shown = f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"
        detail: dict[str, Any] = {"host": hostname, "key_shown": shown, "files": [str(file) for file in self._files]}
        verdict = known_hosts.judge(self._entries, key.asbytes())
        reason, hint = self._revocation(key, verdict)
        if self._revoked is not None and reason:
            detail["revoked_host_keys"] = str(self._revoked)
        if verdict not in (Verdict.KNOWN, Verdict.UNKNOWN):
            detail["keys_known"] = [
                f"{entry.key_type} {known_hosts.fingerprint(entry.blob)} ({entry.where})" for entry in self._entries
            ]
        if reason:
            raise Failure("host_key_revoked", f"The SSH key of {hostname} {reason}: {shown}.", hint=hint, detail=detail)
        if verdict is Verdict.UNKNOWN:
            message = f"The SSH key of {hostname} is in no known_hosts file: {shown}."
            raise Failure("host_key_unknown", message, detail=detail)
        if verdict is not Verdict.KNOWN:
            message = f"The SSH key of {hostname} is not the one in known_hosts: {shown}."
            raise Failure("host_key_changed", message, detail=detail)

    def _revocation(self, key: PKey, verdict: Verdict) -> tuple[str, str | None]:
        """Why the key counts as revoked, as the end of a sentence, and what to do if not the usual; no words if not.

        A list of revoked keys that can't be read revokes every key, as with OpenSSH.
        """
        if self._revoked is not None:
            try:
                if known_hosts.is_revoked(self._revoked, key.get_name(), key.asbytes(), self.timeout):
                    return f"is revoked by {self._revoked}", None
            except OSError as error:
                hint = "Correct RevokedHostKeys in ssh_config, or the file that it names."
                return f"is not accepted, since {self._revoked} can't be read ({_words(error)})", hint
        return ("is revoked" if verdict is Verdict.REVOKED else ""), None


def _fabric(station: Station, before: fabric.Connection | None) -> fabric.Connection:
    """Fabric's connection to a station, not opened. Its own configuration and its reading of ssh_config are off."""
    gateway: fabric.Connection | str | None = before
    if station.command is not None:
        # paramiko starts it by itself, where OpenSSH has a shell do it.
        gateway = shlex.join(["sh", "-c", f"exec {station.command}"])
    config = fabric.Config(lazy=True, ssh_config=SSHConfig())
    return fabric.Connection(
        station.address, user=station.user, port=station.port, config=config, gateway=gateway or False
    )


def _rules_of_jump(jump: Station, settings: "HostSettings") -> tuple[Sequence[Path], Identities]:
    """Where a jump host's key is known from, and who we are there: as ssh_config has it."""
    agent = _agent_of(jump, settings)
    keys = identities.usual(jump.identity_files, jump.identities_only, agent, settings.secrets.passphrase)
    given = [settings.known_hosts] if settings.known_hosts else []
    return [*given, *jump.known_hosts], Identities(jump.user, keys)


def _rules_of_host(host: Station, settings: "HostSettings") -> tuple[Sequence[Path], Identities]:
    """The same of the host itself, of which the inventory may say other things."""
    agent = _agent_of(host, settings)
    if settings.key:
        keys = identities.only(settings.key, agent, settings.secrets.passphrase)
    else:
        keys = identities.usual(host.identity_files, host.identities_only, agent, settings.secrets.passphrase)
    files = [settings.known_hosts] if settings.known_hosts else host.known_hosts
    return files, Identities(host.user, keys, settings.secrets.login, settings.name)


def _agent_of(station: Station, settings: "HostSettings") -> Keys:
    # An agent that does not answer is to be told from a server that does not, which has a little longer.
    return identities.of_agent(station.agent, 0.8 * settings.connect_timeout)


def _set_rules(connection: fabric.Connection, policy: _Policy, who: Identities) -> None:
    """Set what a connection is made by: what judges the host's key, and who we are."""
    timeout = policy.timeout
    connection.client.set_missing_host_key_policy(policy)
    connection.connect_timeout = timeout
    connection.connect_kwargs = {
        "banner_timeout": timeout,
        "auth_timeout": timeout,
        "channel_timeout": timeout,
        "auth_strategy": who,
        "transport_factory": _transport_factory(policy.known_types),
    }


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


def _failure(error: BaseException, settings: "HostSettings", jump: Station | None, seconds: float) -> Failure:
    """The failure behind what was raised ``seconds`` after the attempt began, perhaps at a jump host."""
    at: dict[str, Any] = {"jump_host": jump.name} if jump else {}
    if isinstance(error, Failure):
        error.detail.update(at)
        return error
    where = settings.address if settings.port is None else f"{settings.address} port {settings.port}"
    if jump:
        where = f"{jump.address} port {jump.port}"
    # paramiko has no type of its own for most of its timeouts.
    if isinstance(error, TimeoutError) or seconds >= settings.connect_timeout:
        message = f"{where} did not answer within {settings.connect_timeout:g} s."
        return Failure("ssh_timeout", message, detail={"error": _words(error), **at})
    reasons = _words(error)
    if isinstance(error, NoValidConnectionsError):
        reasons = "; ".join(sorted({_words(reason) for reason in error.errors.values()}))
    return Failure("host_unreachable", detail={"address": where, "error": reasons, **at})


def _words(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).strip() or type(error).__name__
