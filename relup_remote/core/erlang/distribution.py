"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a hidden node of Erlang's distribution.

Source of the protocol: the ERTS User's Guide, chapter "Distribution Protocol" (handshake of OTP 23 and later). We ask
for no atom cache and no fragments, so each message comes whole in one packet, whatever its size.
"""

import hashlib
import hmac
import os
import select
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Tuple

from . import term
from .term import Atom

if TYPE_CHECKING:
    # Slow to import; only a node with TLS distribution needs it.
    import ssl

# EXTENDED_REFERENCES, FUN_TAGS, NEW_FUN_TAGS, EXTENDED_PIDS_PORTS, EXPORT_PTR_TAG, BIT_BINARIES, NEW_FLOATS,
# UTF8_ATOMS, MAP_TAG, BIG_CREATION, HANDSHAKE_23, UNLINK_ID, V4_NC, MANDATORY_25_DIGEST.
# No PUBLISHED: that makes the node a hidden one.
FLAGS = (
    0x4 | 0x10 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x20000 | 0x40000 | 0x1000000 | 0x2000000
    | 1 << 34 | 1 << 36
)  # fmt: skip

_REG_SEND = 6
_SEND = 2
_PASS_THROUGH = 112
_TICK_INTERVAL = 10.0
_MAX_PACKET = 1 << 28
_MAX_HANDSHAKE = 1 << 16
_STALLED = 60.0

NAMES = tuple("Relup_remote_{}".format(number) for number in range(1, 33))
"""The short names under which we come. A node never forgets a name, so there are few, and each is used again.

Of two that come at once under one name the node turns the later away where its own name is the greater; else it drops
the earlier, which then can't tell that from a cookie that is refused. So ours begin with a letter before most others.
"""

_TRIES, _TRIES_OF_COOKIE = 10, 3
"""So many handshakes may break off without a word, and over the cookie: it may be for others that come at once."""


class DistributionError(Exception):
    """No connection to the node, or it broke. `refused` tells that the node turned us away (cookie, name)."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class _NameTaken(DistributionError):
    """The node knows somebody of this name already, and is told to keep it."""


class _BrokenOff(DistributionError):
    """The node hung up in the middle of the handshake, and did not say why."""


class NotInTime(DistributionError):
    """The node did not answer a call within its time; the connection is still good."""


class BadRpc(Exception):
    """The call ran and ended in `reason`, an Erlang term: what ``rpc:call`` returns as ``{badrpc, Reason}``."""

    def __init__(self, reason: Any) -> None:
        super().__init__("badrpc")
        self.reason = reason


class Address(NamedTuple):
    """Where a node listens: `host` a name or number, `port`, and a TLS `context` or None for plain TCP."""

    host: str
    port: int
    context: Optional["ssl.SSLContext"] = None


class Connection:
    """A connection to `node` as a hidden node on the same host.

    It ticks by itself while open, so a call, or the time between two, may be as long as it likes.
    """

    def __init__(self, node: str, cookie: str, address: Address, timeout: float = 10.0) -> None:
        """Connects and shakes hands within `timeout` seconds. Raises `DistributionError`."""
        self.node = node
        self.name = ""
        # Over TLS the node has two bytes more before the messages of the handshake.
        self._length = ">H" if address.context is None else ">I"
        self._creation = int.from_bytes(os.urandom(4), "big") | 4
        self._calls = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._join(cookie, address, time.monotonic() + timeout)
        self._socket.settimeout(None)
        self._pid = term.pid(self.name, 1, 0, self._creation)
        threading.Thread(target=self._tick, name="relup-tick", daemon=True).start()

    def _join(self, cookie: str, address: Address, deadline: float) -> None:
        """Comes in under the first name that is free."""
        broken: List[bool] = []
        for name in NAMES:
            self.name = "{}@{}".format(name, self.node.partition("@")[2])
            self._open(address, deadline)
            try:
                self._handshake(cookie, deadline)
                return
            except _NameTaken:
                self._socket.close()
            except _BrokenOff as error:
                self._socket.close()
                broken.append(error.refused)
                if len(broken) == _TRIES or sum(broken) == _TRIES_OF_COOKIE:
                    raise
            except (OSError, struct.error) as error:
                self._socket.close()
                raise DistributionError("the handshake broke: {}".format(error))
            except UnicodeError:
                # Its text would hold what could not be coded.
                self._socket.close()
                raise DistributionError("a name or cookie has characters that are not allowed")
            except DistributionError:
                self._socket.close()
                raise
        raise DistributionError("all of our {} names are taken (alive)".format(len(NAMES)), refused=True)

    def _open(self, address: Address, deadline: float) -> None:
        try:
            left = max(0.01, deadline - time.monotonic())
            raw = socket.create_connection((address.host, address.port), left)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = raw if address.context is None else address.context.wrap_socket(raw)
        except (OSError, ValueError, OverflowError) as error:
            # A port beyond 65535 overflows.
            raise DistributionError("{} port {}: {}".format(address.host, address.port, error))

    def close(self) -> None:
        """Closes the connection; calls under way in the node go on there."""
        self._closed.set()
        self._socket.close()

    def call(self, module: str, function: str, args: List[Any], timeout: float = 30.0) -> Any:
        """What ``apply(module, function, args)`` returns on the node.

        It runs in a process of its own there, by ``rex``, with the node's ``user`` as group leader. Raises `BadRpc`
        when it fails, `NotInTime` after `timeout` seconds, `DistributionError` when the connection breaks.
        """
        self._calls += 1
        tag = term.reference(self.name, self._creation, [self._calls & 0x3FFFF, self._calls >> 18, 0])
        call = (Atom("call"), Atom(module), Atom(function), args, Atom("user"))
        self._send(
            (_REG_SEND, self._pid, Atom(""), Atom("rex")),
            (Atom("$gen_call"), (self._pid, tag), call),
        )
        deadline = time.monotonic() + timeout
        while True:
            message = self._receive(deadline)
            if isinstance(message, tuple) and len(message) == 2 and message[0] == tag:
                reply = message[1]
                if isinstance(reply, tuple) and len(reply) == 2 and reply[0] == "badrpc" and isinstance(reply[0], Atom):
                    raise BadRpc(reply[1])
                return reply

    # ------------------------------------------------------------------------------------------ packets

    def _send(self, control: Tuple[Any, ...], message: Any) -> None:
        packet = bytes([_PASS_THROUGH]) + term.encode(control) + term.encode(message)
        try:
            with self._lock:
                self._socket.sendall(struct.pack(">I", len(packet)) + packet)
        except OSError as error:
            raise DistributionError("the connection broke: {}".format(error))

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_INTERVAL):
            try:
                with self._lock:
                    self._socket.sendall(bytes(4))
            except OSError:
                return

    def _receive(self, deadline: float) -> Any:
        """The next message meant for a process of ours."""
        while True:
            # What else the node sends may not keep us from noticing the time.
            if time.monotonic() > deadline:
                raise NotInTime("no answer in time")
            (size,) = struct.unpack(">I", self._read(4, deadline))
            if size > _MAX_PACKET:
                raise DistributionError("a packet of {} bytes".format(size))
            if size == 0:
                continue
            packet = self._read(size, None)
            if packet[0] != _PASS_THROUGH:
                raise DistributionError("an unknown kind of packet ({})".format(packet[0]))
            try:
                control, end = term.decode_from(packet, 1)
                if isinstance(control, tuple) and control and control[0] == _SEND:
                    return term.decode_from(packet, end)[0]
            except term.TermError as error:
                raise DistributionError("the node sent something that is not a term: {}".format(error))

    def _read(self, size: int, deadline: Optional[float], whole: bool = False) -> bytes:
        """The next bytes. Their first (if `whole`, all of them) must come before the deadline."""
        chunks: List[bytes] = []
        missing = size
        while missing:
            # A message that has begun is read to its end: half of one would leave the stream unusable.
            waiting = (whole or not chunks) and deadline is not None
            left = (deadline or 0.0) - time.monotonic() if waiting else _STALLED
            if not self._readable(left):
                if waiting:
                    raise NotInTime("no answer in time")
                raise DistributionError("the connection stalled within a message")
            try:
                # A TLS socket can't be read and written at the same time.
                with self._lock:
                    chunk = self._socket.recv(min(missing, 1 << 20))
            except OSError as error:
                raise DistributionError("the connection broke: {}".format(error))
            if not chunk:
                raise DistributionError("the node closed the connection")
            chunks.append(chunk)
            missing -= len(chunk)
        return b"".join(chunks)

    def _readable(self, seconds: float) -> bool:
        # The socket stays a blocking one, since the ticking thread writes to it with the same time-out.
        # Only a TLS socket has it.
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        return bool(select.select([self._socket], [], [], max(seconds, 0))[0])

    # ------------------------------------------------------------------------------------------ handshake

    def _handshake(self, cookie: str, deadline: float) -> None:
        name = self.name.encode("utf-8")
        self._put(struct.pack(">cQIH", b"N", FLAGS, self._creation, len(name)) + name)
        status = self._heard(deadline)
        if status in (b"salive", b"snok"):
            # Alive: we are asked whether that one is gone. Hanging up instead would leave the name in limbo.
            if status == b"salive":
                self._put(b"sfalse")
            raise _NameTaken("the node says {}".format(status[1:].decode("latin-1")), refused=True)
        if status[:1] != b"s":
            raise DistributionError("an unknown answer to our name")
        if status[1:] not in (b"ok", b"ok_simultaneous"):
            raise DistributionError("the node says {}".format(status[1:].decode("latin-1")), refused=True)
        challenge = self._heard(deadline)
        if challenge[:1] != b"N":
            raise DistributionError("the node speaks the handshake of an OTP before 23")
        _, theirs, _, size = struct.unpack_from(">QIIH", challenge, 1)
        peer = challenge[19 : 19 + size].decode("utf-8")
        if peer != self.node:
            raise DistributionError("{} answers, not {}".format(peer, self.node))
        ours = int.from_bytes(os.urandom(4), "big")
        self._put(struct.pack(">cI", b"r", ours) + _digest(cookie, theirs))
        try:
            answer = self._heard(deadline)
        except _BrokenOff:
            raise _BrokenOff("the node rejected our cookie", refused=True)
        if answer[:1] != b"a" or not hmac.compare_digest(answer[1:], _digest(cookie, ours)):
            raise DistributionError("the node does not know the cookie", refused=True)

    def _heard(self, deadline: float) -> bytes:
        try:
            return self._get(deadline)
        except NotInTime:
            raise
        except DistributionError as error:
            raise _BrokenOff(str(error))

    def _put(self, message: bytes) -> None:
        self._socket.sendall(struct.pack(self._length, len(message)) + message)

    def _get(self, deadline: float) -> bytes:
        (size,) = struct.unpack(self._length, self._read(struct.calcsize(self._length), deadline, whole=True))
        if size > _MAX_HANDSHAKE:
            raise DistributionError("no message of the handshake came")
        return self._read(size, deadline, whole=True)


def _digest(cookie: str, challenge: int) -> bytes:
    # The protocol's own choice of a hash.
    return hashlib.md5((cookie + str(challenge)).encode("latin-1")).digest()  # noqa: S324
