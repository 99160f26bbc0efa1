"""The SSH connection to a host: made by Fabric, with our own rules for host keys, keys, ciphers and time.

The way is the operator's ssh_config's, see `route`; what the inventory says comes before it. A host key that is not in
a known_hosts file is never accepted, whatever ssh_config says.
"""

import functools
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import fabric
from paramiko import (
    Channel,
    ChannelException,
    Message,
    MissingHostKeyPolicy,
    PKey,
    SecurityOptions,
    SSHClient,
    SSHConfig,
    SSHException,
    Transport,
)
from paramiko.ssh_exception import IncompatiblePeer, NoValidConnectionsError

from relup_remote.core.protocol import Failure
from relup_remote.host import identities, known_hosts, route
from relup_remote.host.identities import Identities, Keys
from relup_remote.host.known_hosts import Verdict
from relup_remote.host.route import Station
from relup_remote.host.transport import SessionRefused, jumps
from relup_remote.host.transport.openssh import Folder
from relup_remote.host.transport.options import Options
from relup_remote.host.transport.text import shown
from relup_remote.ways import LOGIN_TRIES, Ways

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")

UNDER_WAY = 256 << 10
"""Bytes that may at least be on their way to a host, or wait there for the command.

OpenSSH would let us send 2 MB ahead, in a buffer that it copies whenever it grows: for the first file that is slower.
"""

LINE = 256 << 20
"""Bytes a second that a line may carry and still be full: the longer a host takes to answer, the more is under way."""

GONE = (OSError, EOFError, SSHException)
"""What paramiko raises where a connection is gone, or does not come about."""

# paramiko logs at error level what it raises as well; without a handler that would go to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class Incompatible(Failure):
    """There is nothing that both the server and paramiko know: another client may know more."""


class Connection:
    """An SSH connection that stands.

    The login password is the host's: jump hosts get none. A passphrase opens keys, those for jump hosts too, and leaves
    this machine never. Connections to jump hosts are shared with the other hosts of a command. Raises `Failure`:
    ``host_unreachable``, ``host_key_unknown``, ``host_key_changed``, ``host_key_revoked``, ``auth_failed``,
    ``key_unusable``, ``ssh_timeout``.
    """

    def __init__(self, settings: "HostSettings", stations: Sequence[Station] | None = None) -> None:
        self._own = ExitStack()
        try:
            ways = settings.ways or self._own.enter_context(Ways())
            stations = stations or route.to(settings)
            pin, is_direct = settings.pin, len(stations) == 1 and stations[0].command is None
            try:
                link = _linked(settings, stations, ways)
            except _Stale:
                # The connection to a jump host was older than it could bear. It is made anew, once.
                link = _linked(settings, stations, ways)
            self._own.callback(link.close)
            self._transport = link.transport
            if pin is not None:
                key = known_hosts.fingerprint(self._transport.get_remote_server_key().asbytes())
                pin.meet(str(self._transport.getpeername()[0]) if is_direct else None, key)
            self._transport.set_keepalive(max(1, round(settings.keepalive)))
        except BaseException as error:
            self.close()
            if isinstance(error, _Stale):
                raise error.failure(settings) from None
            if isinstance(error, GONE):
                raise Failure("host_unreachable", detail={"error": _words(error)}, stage="connect") from None
            if isinstance(error, Failure):
                error.stage = "connect"
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
                with _as_os_error():
                    channel = self._session(seconds)
                    channel.settimeout(seconds)
                    asked = time.monotonic()
                    channel.exec_command(command)
                    _limit(channel, max(UNDER_WAY, int(LINE * (time.monotonic() - asked))))
                    return Process(channel)
            except OSError as error:
                if time.monotonic() - started >= seconds:
                    raise TimeoutError from error
                raise

    def _session(self, seconds: float) -> Channel:
        """A session; a server that allows few of them may still be about to free the last one."""
        refusal: ChannelException | None = None
        for _ in Ways.tries():
            try:
                return self._transport.open_session(timeout=seconds)
            except ChannelException as error:
                refusal = error
        raise SessionRefused(_words(refusal) if refusal else "no answer") from None

    def close(self) -> None:
        """Close the connection; those of jump hosts are left to others. Safe to repeat."""
        self._own.close()


class _Stale(Exception):
    """The connection to a jump host leads nowhere any more."""

    def __init__(self, jump: Station) -> None:
        super().__init__()
        self._jump = jump

    def failure(self, settings: "HostSettings") -> Failure:
        """The failure where it is so again."""
        message = jumps.late(self._jump.name, settings.connect_timeout)
        return Failure("ssh_timeout", message, detail={"jump_host": self._jump.name}, stage="connect")


def _linked(settings: "HostSettings", stations: Sequence[Station], ways: Ways) -> "_Link":
    """A connection to the last station by way of the others, which are shared. Raises `Failure`, `_Stale`."""
    *passed, host = stations
    before: _Link | None = None
    for number, jump in enumerate(passed, 1):
        way = ("jump", settings.known_hosts, *(each.key for each in passed[:number]))
        before = ways.kept(way, functools.partial(_to_jump, jump, before, settings, ways), _Link.is_good)
    # Where it was found before, whatever its name leads to now.
    address = settings.pin.address if settings.pin and not passed and host.command is None else None
    return _Link(host, before, settings, ways, *_rules_of_host(host, settings), address)


def _to_jump(jump: Station, before: "_Link | None", settings: "HostSettings", ways: Ways) -> "_Link":
    try:
        link = _Link(jump, before, settings, ways, *_rules_of_jump(jump, settings))
    except Failure as failure:
        raise jumps.blamed(failure, jump.name, settings.connect_timeout) from None
    link.transport.set_keepalive(max(1, round(settings.keepalive)))
    return link


class _Link:
    """A connection to a station, perhaps ``before``'s next one. Raises `Failure`.

    ``address`` is where to connect to, by default where its name leads.
    """

    def __init__(
        self,
        station: Station,
        before: "_Link | None",
        settings: "HostSettings",
        ways: Ways,
        files: Sequence[Path],
        who: Identities,
        address: str | None = None,
    ) -> None:
        self.station = station
        self._before = before
        self._ways = ways
        self._seconds = settings.connect_timeout
        self._silence = settings.command_timeout
        self._proxy: _Proxy | None = None
        self._greeting = _Greeting()
        self._started = time.monotonic()
        self._fabric = fabric.Connection(
            "host",
            user=station.user,
            port=station.port,
            # Its own configuration and its reading of ssh_config are off.
            config=fabric.Config(lazy=True, ssh_config=SSHConfig()),
            gateway=False,
        )
        # Fabric would look for a user and a port in it.
        self._fabric.host = address or station.address
        policy = _Policy(station, files, self._seconds)
        _set_rules(self._fabric, policy, who, station.options, self._greeting, self._silence)
        try:
            for left in Ways.tries(LOGIN_TRIES):
                with ways.login(self._seconds):
                    if self._is_open(may_try_again=left > 0):
                        break
            self.transport: Transport = self._fabric.transport
        except GONE as error:
            # A proxy command is asked before it is ended.
            failure = self._failure(error, settings)
            self.close()
            raise failure from None
        except BaseException:
            self.close()
            raise

    def is_good(self) -> bool:
        """Whether it still stands."""
        return self.transport.is_active()

    def close(self) -> None:
        """Close it. Safe to repeat."""
        # What it goes through may be gone already: then it can't say goodbye.
        with suppress(*GONE):
            self._fabric.client.close()
        if self._proxy is not None:
            self._proxy.close()

    def _is_open(self, may_try_again: bool) -> bool:
        """Connect, as often as it takes to offer all that is to offer; not yet, if the server is too busy to greet."""
        while True:
            self._started = time.monotonic()
            self._greeting.clear()
            try:
                self._fabric.connect_kwargs["sock"] = self._socket()
                self._fabric.open()
            except identities.ConnectAgain:
                self.close()
            except GONE:
                transport = self._fabric.client.get_transport()
                hung_up = transport is not None and not transport.remote_version and self._greeting.is_busy
                is_late = time.monotonic() - self._started >= self._seconds
                if not (hung_up and may_try_again) or is_late or self._proxy:
                    raise
                self.close()
                return False
            else:
                return True

    def _socket(self) -> Any:
        """What leads to the station, if it is not simply TCP."""
        if self.station.command is not None:
            _check_tokens(self.station)
            # It can't ask on a terminal: an `ssh` in it would send empty passwords.
            folder = self._ways.kept(("folder",), Folder, lambda _folder: True)
            self._proxy = _Proxy(self.station.command, folder.environment(folder.path / "nobody"))
            return self._proxy.socket
        if self._before is None:
            return None
        there = (self.station.address, self.station.port)
        try:
            channel = self._before.transport.open_channel("direct-tcpip", there, ("", 0), timeout=self._seconds)
            return _Through(channel, self._silence)
        except ChannelException as error:
            to, said = f"{there[0]} port {there[1]}", shown(error.text or "")
            raise jumps.refused(self._before.station.name, to, error.code, said) from None
        except GONE:
            if self._before.answers():
                # Then it is the station that does not.
                raise
            self._before.close()
            raise _Stale(self._before.station) from None

    def answers(self) -> bool:
        """Whether this jump host still answers: others have connections through it that stand."""
        try:
            # Whatever is there, or is not: that is said at once.
            self.transport.open_channel("direct-tcpip", ("127.0.0.1", 1), ("", 0), timeout=self._seconds).close()
        except ChannelException:
            return True
        except GONE:
            return False
        return True

    def _failure(self, error: BaseException, settings: "HostSettings") -> Failure:
        """The failure behind what was raised."""
        where = settings.address if settings.port is None else f"{settings.address} port {settings.port}"
        if settings.address not in (self.station.name, self.station.address):
            where = f"{self.station.address} port {self.station.port}"
        said = {"stderr": self._proxy.said()} if self._proxy and self._proxy.said() else {}
        if _words(error).startswith("Indecipherable protocol version"):
            # So many lines are all that paramiko reads; OpenSSH reads more.
            why = "the server says a hundred lines or more before its version"
            return Incompatible("host_unreachable", detail={"address": where, "error": why, **said})
        if self._proxy is not None and self._proxy.has_failed():
            reason = said.get("stderr", "").strip().splitlines() or [f"exit status {self._proxy.status}"]
            message = f"The ProxyCommand of {where} ended: {reason[-1]}."
            return Failure("host_unreachable", message, detail={"address": where, **said})
        # paramiko has no type of its own for most of its timeouts.
        if isinstance(error, TimeoutError) or time.monotonic() - self._started >= self._seconds:
            message = f"{where} did not answer within {self._seconds:g} s."
            return Failure("ssh_timeout", message, detail={"error": _words(error), **said})
        reasons = _words(error)
        if isinstance(error, NoValidConnectionsError):
            reasons = "; ".join(sorted({_words(reason) for reason in error.errors.values()}))
        kind = Incompatible if isinstance(error, IncompatiblePeer) else Failure
        return kind("host_unreachable", detail={"address": where, "error": reasons, **said})


def _check_tokens(station: Station) -> None:
    """Refuse a ProxyCommand that OpenSSH would not run. Raises `Failure`."""
    if route.unknown_tokens(station, "proxycommand"):
        message = f"The ProxyCommand of {station.name} has a token that is not known there."
        hint = "Correct ProxyCommand: ssh_config(5), TOKENS, lists what it may have. A percent sign itself is `%%`."
        raise Failure("host_unreachable", message, hint=hint, detail={"command": station.options["proxycommand"][0]})


class _Transport(Transport):
    """One that raises what the server itself said where it opens no channel.

    paramiko only logs that, and mixes up what is refused to several threads at once.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        self._mine = threading.local()
        self._refusals: dict[int, tuple[int, str]] = {}
        super().__init__(*given, **options)

    def open_channel(self, *given: Any, **options: Any) -> Channel:
        """As of any transport. Raises ChannelException where the server refuses, OSError, SSHException."""
        self._mine.number = None
        try:
            return super().open_channel(*given, **options)
        except SSHException:
            if refusal := self._refusals.pop(self._mine.number, None):
                raise ChannelException(*refusal) from None
            raise

    def _next_channel(self) -> int:
        self._mine.number = number = super()._next_channel()  # type: ignore[misc]  # The stubs leave it out.
        return int(number)

    def _parse_channel_open_failure(self, message: Message) -> None:
        # The number, the code, and the server's words; the library reads the same again.
        said = Message(message.get_remainder())
        number, code, words = said.get_int(), said.get_int(), said.get_string()
        self._refusals[number] = code, words.decode("utf-8", "replace")
        super()._parse_channel_open_failure(message)  # type: ignore[misc]  # As above.


class _Greeting:
    """How a server greets; no more of it than tells whether it is too busy."""

    def __init__(self) -> None:
        self._said = b""

    def clear(self) -> None:
        """Forget what an earlier one said."""
        self._said = b""

    def hear(self, data: bytes) -> None:
        """Take note of what it says."""
        if len(self._said) < LONGEST_GREETING:
            self._said += data[:LONGEST_GREETING]

    @property
    def is_busy(self) -> bool:
        """Whether it has said nothing, or that it has too much to do."""
        return not self._said or self._said.startswith(BUSY)


LONGEST_GREETING = 64
BUSY = (b"Exceeded MaxStartups", b"Not allowed at this time")


class _Proxy:
    """A proxy command: its ``socket`` leads to the host, and what it says besides is read, so that it never waits."""

    def __init__(self, command: str, environment: Mapping[str, str]) -> None:
        self.socket, its_end = socket.socketpair()
        self.status: int | None = None
        self._said = b""
        with its_end:
            # OpenSSH has the user's shell do it, too.
            self._process = subprocess.Popen(
                [os.environ.get("SHELL") or "/bin/sh", "-c", f"exec {command}"],
                env=environment,
                stdin=its_end.fileno(),
                stdout=its_end.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stderr:
            while data := os.read(stderr.fileno(), 1 << 16):
                self._said = (self._said + data)[-LONGEST_SAID:]

    def said(self) -> str:
        """What it has said on standard error, without escapes."""
        return shown(self._said.decode("utf-8", "replace")).strip()

    def has_failed(self) -> bool:
        """Whether it has ended by itself."""
        with suppress(subprocess.TimeoutExpired):
            self.status = self._process.wait(PROXY_ENDS)
            self._reader.join(PROXY_ENDS)
        return self.status is not None

    def close(self) -> None:
        """End it."""
        self.has_failed()
        if self.status is None:
            self._process.kill()
            self.has_failed()
        self.socket.close()


LONGEST_SAID = 4096
PROXY_ENDS = 0.5
"""Seconds in which a proxy command ends that has lost its host."""


class Process:
    """A command that runs on a host, on a channel of its own."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def receive(self, seconds: float) -> bytes:
        """What it has said on standard output. Raises TimeoutError, OSError."""
        self._channel.settimeout(seconds)
        # What was read makes room, which is told to the server.
        with _as_os_error():
            return self._channel.recv(1 << 16)

    def has_output(self) -> bool:
        """Whether `receive` would have something at once."""
        return self._channel.recv_ready()

    def receive_error(self) -> bytes:
        """What it has said on standard error."""
        while True:
            try:
                with _as_os_error():
                    return self._channel.recv_stderr(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return b""

    def send(self, data: bytes | memoryview, seconds: float) -> int:
        """Write to its standard input. Raises TimeoutError, OSError."""
        started = time.monotonic()
        self._channel.settimeout(seconds)
        try:
            # paramiko sends any buffer, its stubs know of two.
            with _as_os_error():
                sent = self._channel.send(cast("bytes", data))
        except OSError as error:
            if time.monotonic() - started >= seconds:
                raise TimeoutError from error
            raise
        if not sent:
            raise OSError("the channel is closed")
        return sent

    def end_input(self) -> None:
        """Close its standard input."""
        with suppress(*GONE):
            self._channel.shutdown_write()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or None. Raises TimeoutError."""
        if not self._channel.status_event.wait(seconds):
            raise TimeoutError
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    def is_cut_off(self) -> bool:
        """Whether the connection was lost."""
        return not self._channel.eof_received

    def close(self) -> None:
        """Close its input and outputs."""
        with suppress(*GONE):
            self._channel.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise as a socket does: paramiko says that the connection is gone by errors of other kinds, too."""
    try:
        yield
    except OSError:
        raise
    except GONE as error:
        raise ConnectionError(_words(error)) from error


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


class _Patience:
    """How long a socket that takes nothing is tried.

    paramiko would try for ever, with a lock that everybody needs who has something to send, as to close a channel.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """For each try. Raises ConnectionError instead of TimeoutError once it is over."""
        try:
            yield
        except TimeoutError:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            if now - self._since >= self._seconds:
                raise ConnectionError(f"nothing was taken for {self._seconds:g} s") from None
            raise
        self._since = None


class _Prompt(socket.socket):
    """A TCP connection, taken over from another socket, on which neither side waits for the other's acknowledgements.

    What we have to say is said at once. What the server says is acknowledged at once: it holds a small packet back
    until then, for 40 ms if we take our time. Linux forgets that option, so it is set for every packet.
    """

    def __init__(self, sock: socket.socket, greeting: _Greeting, seconds: float) -> None:
        super().__init__(fileno=sock.detach())
        self._greeting = greeting
        self._patience = _Patience(seconds)
        with suppress(OSError):
            # A proxy command's is another kind.
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: Any, flags: int = 0) -> int:
        """As of any socket, but for one that takes nothing."""
        try:
            with self._patience.trying():
                return super().send(data, flags)
        except ConnectionError:
            # Whoever reads has to know, too.
            with suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)
            raise

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of any socket."""
        with suppress(OSError, AttributeError):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        data = super().recv(size, flags)
        self._greeting.hear(data)
        return data


class _Through:
    """A channel of a jump host's connection, as the socket of another one.

    A channel of paramiko may still send data that another thread has in hand while it is closed. A server ends the
    whole connection for that, and with it all other channels. So it is not closed before such data is sent.
    """

    def __init__(self, channel: Channel, seconds: float) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._patience = _Patience(seconds)
        self._given_up = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, data: bytes) -> int:
        """As of any socket, but for one that takes nothing."""
        try:
            with self._sending, self._patience.trying():
                sent: int = self._channel.send(data)
                return sent
        except ConnectionError:
            # Whoever reads has to know, too.
            self._given_up = True
            raise

    def recv(self, size: int) -> bytes:
        """As of any socket, but the end where what was sent was not taken."""
        return b"" if self._given_up else self._channel.recv(size)

    def close(self) -> None:
        """As of any socket."""
        with self._sending:
            self._channel.close()


class _Policy(MissingHostKeyPolicy):
    """Judges a server's key. paramiko is told of no known keys, so that it asks this policy about every key.

    ``revoked`` and ``files`` are the files to judge by, ``name`` is that under which the host's key is filed,
    ``timeout`` the seconds for each part.
    """

    def __init__(self, station: Station, files: Sequence[Path], timeout: float) -> None:
        self.timeout = timeout
        self._revoked = station.revoked
        self._rsa_bits = _rsa_bits(station)
        self._files = files
        name = known_hosts.host_name(station.address, station.port, station.key_name)
        self._alias = station.key_name
        self._has_authority = known_hosts.has_authority(files, station.address, station.port, station.key_name)
        self._entries = known_hosts.find(files, name)
        if not self.known_types and name != station.address.lower() and station.key_name is None:
            # As OpenSSH does: a key that is filed without its port counts for all of them.
            self._entries += known_hosts.find(files, known_hosts.host_name(station.address, 22))

    @property
    def known_types(self) -> list[str]:
        """The types of the keys that the host is known by."""
        return [entry.key_type for entry in self._entries if not entry.revoked]

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        """Raises `Failure` unless the key is known, and not revoked."""
        hostname = self._alias or hostname
        shown = f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"
        if key.get_name() == "ssh-rsa" and key.get_bits() < self._rsa_bits:
            message = (
                f"The SSH key of {hostname} has less than the {self._rsa_bits} bits that ssh_config demands: {shown}."
            )
            advice = "Give the server a longer key, or lower RequiredRSASize in ssh_config."
            raise Failure("host_unreachable", message, hint=advice, detail={"host": hostname, "key_shown": shown})
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
            message, hint = f"The SSH key of {hostname} is in no known_hosts file: {shown}.", None
            if self._has_authority:
                message = f"known_hosts has an authority for {hostname}. The transport fabric checks no certificates."
                hint = "Use `--transport auto` or `--transport openssh`. Do not add the key to known_hosts."
            raise Failure("host_key_unknown", message, hint=hint, detail=detail)
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


def _rules_of_jump(jump: Station, settings: "HostSettings") -> tuple[Sequence[Path], Identities]:
    """Where a jump host's key is known from, and who we are there: as ssh_config has it."""
    agent = _agent_of(jump, settings)
    keys = _usual_keys(jump, agent, settings)
    keys = identities.accepted(keys, _listed(jump.options, *ACCEPTED), _rsa_bits(jump))
    given = [settings.known_hosts] if settings.known_hosts else []
    return [*given, *jump.known_hosts], Identities(jump.user, keys, may_leave=_may_leave(settings))


def _rules_of_host(host: Station, settings: "HostSettings") -> tuple[Sequence[Path], Identities]:
    """The same of the host itself, of which the inventory may say other things."""
    agent = _agent_of(host, settings)
    if settings.key:
        keys = identities.only(settings.key, agent, settings.secrets.passphrase)
    else:
        keys = _usual_keys(host, agent, settings)
    keys = identities.accepted(keys, _listed(host.options, *ACCEPTED), _rsa_bits(host))
    files = [settings.known_hosts] if settings.known_hosts else host.known_hosts
    return files, Identities(host.user, keys, settings.secrets.login, settings.name, _may_leave(settings))


def _may_leave(settings: "HostSettings") -> bool:
    """Whether the host may be left to OpenSSH."""
    return settings.transport == "auto"


def _usual_keys(station: Station, agent: Keys, settings: "HostSettings") -> Keys:
    are_named = station.options.get("identityfile") != route.usual(route.ASKED).get("identityfile")
    files, passphrase = station.identity_files, settings.secrets.passphrase
    return identities.usual(files, station.identities_only, agent, passphrase, are_named)


def _agent_of(station: Station, settings: "HostSettings") -> Keys:
    # An agent that does not answer is to be told from a server that does not, which has a little longer.
    return identities.of_agent(station.agent, 0.8 * settings.connect_timeout)


def _set_rules(
    connection: fabric.Connection,
    policy: _Policy,
    who: Identities,
    options: Options,
    greeting: _Greeting,
    silence: float,
) -> None:
    """Set what a connection is made by: what judges the host's key, who we are, and which algorithms are allowed.

    ``silence``: seconds for which it may take nothing.
    """
    timeout = policy.timeout
    connection.client.set_missing_host_key_policy(policy)
    connection.connect_timeout = timeout
    accepted = _listed(options, *ACCEPTED)
    connection.connect_kwargs = {
        "banner_timeout": timeout,
        "auth_timeout": timeout,
        "channel_timeout": timeout,
        "auth_strategy": who,
        "disabled_algorithms": {"pubkeys": [name for name in KNOWN["pubkeyacceptedalgorithms"] if name not in accepted]}
        if accepted
        else None,
        "transport_factory": _transport_factory(policy.known_types, options, greeting, silence),
    }


def _transport_factory(known_types: Sequence[str], options: Options, greeting: _Greeting, silence: float) -> Any:
    """What makes paramiko's transports: without Nagle's delay, with fast ciphers, asking for the known key first.

    They use nothing that ssh_config does not allow.
    """

    def make(sock: Any, **others: Any) -> Transport:
        transport = _Transport(_Prompt(sock, greeting, silence) if isinstance(sock, socket.socket) else sock, **others)
        security = transport.get_security_options()
        security.ciphers = _allowed(options, "ciphers", _first(FAST_CIPHERS, security.ciphers))
        security.digests = _allowed(options, "macs", security.digests)
        security.kex = _allowed(options, "kexalgorithms", security.kex)
        security.key_types = _by_known(options, known_types, security.key_types)
        return transport

    return make


def _by_known(options: Options, known_types: Sequence[str], possible: Sequence[str]) -> Sequence[str]:
    """The kinds of host keys to ask for: in the order of ssh_config, the known ones first, as OpenSSH does.

    So a server that has keys of several known types shows the same one as to OpenSSH, which may be found changed.
    """
    known = {name for each in known_types for name in (RSA_SIGNATURES if each == "ssh-rsa" else (each,))}
    listed = [name for value in options.get("hostkeyalgorithms", ()) for name in value.split(",")]
    ordered = _first(listed, _allowed(options, "hostkeyalgorithms", possible))
    return _first([name for name in ordered if name in known], ordered)


def _security() -> Mapping[str, Sequence[str]]:
    """The algorithms that paramiko uses of each list of ssh_config."""
    # It reads the defaults of the class.
    security = SecurityOptions(cast("Transport", Transport))
    return {
        "ciphers": security.ciphers,
        "macs": security.digests,
        "kexalgorithms": security.kex,
        "hostkeyalgorithms": security.key_types,
        "pubkeyacceptedalgorithms": security.key_types,
        "pubkeyacceptedkeytypes": security.key_types,
    }


KNOWN = _security()


def _rsa_bits(station: Station) -> int:
    """How many bits an RSA key must have there; versions of OpenSSH that do not say so demand the same."""
    return int(station.options.get("requiredrsasize", ["1024"])[0])


ACCEPTED = ("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes")
"""Which kinds of keys may be used to log in; older versions of OpenSSH have the second name."""


def _listed(options: Options, *names: str) -> set[str]:
    return {word for name in names for value in options.get(name, ()) for word in value.split(",")}


def _allowed(options: Options, name: str, possible: Sequence[str]) -> Sequence[str]:
    """Those of the ``possible`` algorithms that ssh_config allows; all of them where it has none of them."""
    listed = _listed(options, name)
    return [each for each in possible if each in listed] or possible


def _first(preferred: Sequence[str], possible: Sequence[str]) -> list[str]:
    """``possible`` with the ``preferred`` ones of it in front."""
    return list(dict.fromkeys([*(name for name in preferred if name in possible), *possible]))


def _words(error: BaseException) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).strip() or type(error).__name__
