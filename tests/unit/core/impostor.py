"""What answers where a node should: something that knows the handshake, up to a point, and then does as it is told."""

import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

from relup_remote.core.erlang.distribution import FLAGS

NAME, COOKIE = "impostor@127.0.0.1", "cookie-value"
CHALLENGE = 0x01020304

Answer = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """A port whose connections are answered, one after the other; each is closed after its answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                # That we hang up on it is what most of them provoke.
                with peer, contextlib.suppress(OSError):
                    answer(peer)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(1 << 16):
                        pass

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            # Closing alone would not wake the thread up.
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def framed(message: bytes) -> bytes:
    """A message of the handshake."""
    return struct.pack(">H", len(message)) + message


def challenge(name: bytes = NAME.encode()) -> bytes:
    """The handshake up to and with the challenge, as a node of that name sends it."""
    return framed(b"sok") + framed(struct.pack(">cQIIH", b"N", FLAGS, CHALLENGE, 1, len(name)) + name)


def shake_hands(peer: socket.socket) -> None:
    """The whole handshake, as a node does it that knows the cookie."""
    _message(peer)
    peer.sendall(challenge())
    reply = _message(peer)
    (theirs,) = struct.unpack_from(">I", reply, 1)
    peer.sendall(framed(b"a" + hashlib.md5(f"{COOKIE}{theirs}".encode()).digest()))


def packet(content: bytes) -> bytes:
    """A packet of a connection that stands."""
    return struct.pack(">I", len(content)) + content


def _message(peer: socket.socket) -> bytes:
    (size,) = struct.unpack(">H", _exactly(peer, 2))
    return _exactly(peer, size)


def _exactly(peer: socket.socket, size: int) -> bytes:
    return peer.recv(size, socket.MSG_WAITALL)
