"""Peers that are no nodes, hang up half-way, stay silent, trickle, or talk without end."""

import socket
import time
from typing import Any

import pytest

from relup_remote.core.erlang.distribution import Address, Connection, DistributionError, NotInTime
from relup_remote.core.erlang.term import Atom, encode

from .impostor import COOKIE, NAME, challenge, framed, packet, serving, shake_hands

TO_US = b"p" + encode((2, Atom(""), Atom("us")))


def refusal(port: int, timeout: float = 10.0) -> DistributionError:
    """Why no connection came about."""
    with pytest.raises(DistributionError) as caught:
        Connection(NAME, COOKIE, Address("127.0.0.1", port), timeout)
    assert COOKIE not in str(caught.value)
    return caught.value


def broken(port: int, timeout: float = 10.0) -> DistributionError:
    """What breaks a call over a connection that came about."""
    connection = Connection(NAME, COOKIE, Address("127.0.0.1", port))
    try:
        with pytest.raises(DistributionError) as caught:
            connection.call("erlang", "node", [], timeout)
        return caught.value
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    "said",
    [
        *(
            b"",
            b"\0",
            b"\0\3sok",
            b"\0\3xok",
            b"\0\3sok\0\2nn",
            b"\0\3sok\0\2N1",
            b"\0\0",
            b"\xff\xff",
            b"SSH-2.0-x\r\n",
        ),
        *(challenge(b"\xff"), challenge(b"other@127.0.0.1"), challenge()[:-1]),
    ],
    ids=lambda said: repr(said[-12:]),
)
def test_what_is_no_node(said: bytes) -> None:
    with serving(lambda peer: peer.sendall(said)) as port:
        assert not refusal(port).refused


@pytest.mark.parametrize("last", [b"", framed(b"a" + bytes(16)), framed(b"x"), framed(b"a")], ids=repr)
def test_a_node_that_does_not_know_the_cookie(last: bytes) -> None:
    with serving(lambda peer: peer.sendall(challenge() + last)) as port:
        error = refusal(port)
        assert error.refused
        assert "cookie" in str(error)


@pytest.mark.parametrize("said", [b"", challenge()], ids=["at once", "half-way"])
def test_a_peer_that_stays_silent(said: bytes) -> None:
    def wait(peer: socket.socket) -> None:
        peer.sendall(said)
        while peer.recv(1 << 16):
            pass

    with serving(wait) as port:
        started = time.monotonic()
        assert not refusal(port, 0.3).refused
        assert time.monotonic() - started < 5


def test_a_peer_that_trickles() -> None:
    def trickle(peer: socket.socket) -> None:
        peer.sendall(b"\xff\xff")
        while True:
            peer.sendall(b"s")
            time.sleep(0.05)

    with serving(trickle) as port:
        started = time.monotonic()
        assert not refusal(port, 0.3).refused
        assert time.monotonic() - started < 5


# ------------------------------------------------------------------------------------------------- packets


def after_the_handshake(said: bytes) -> Any:
    """An answer of a peer that is let in, and then says that."""

    def answer(peer: socket.socket) -> None:
        shake_hands(peer)
        peer.sendall(said)

    return answer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "closed"),
        (b"\0\0", "closed"),
        (bytes(4), "closed"),
        (packet(TO_US + encode(b"x" * 100))[:-1], "closed"),
        (b"\xff\xff\xff\xff", "4294967295"),
        (packet(b"D"), "kind"),
        (packet(b"\x83"), "kind"),
        (packet(b"p"), "not a term"),
        (packet(TO_US), "not a term"),
        (packet(TO_US + b"\x83\xff"), "not a term"),
        (packet(b"p" + encode((2,)) + b"\x83l\xff\xff\xff\xff"), "not a term"),
        (packet(b"p" + encode(Atom("no control"))), "closed"),
        (packet(b"p" + encode((6, 1, 2, Atom("rex"))) + encode(1)), "closed"),
        (packet(TO_US + encode(Atom("no answer"))), "closed"),
        (packet(TO_US + encode((b"another tag", 1))), "closed"),
    ],
)
def test_what_breaks_a_connection(said: bytes, reason: str) -> None:
    with serving(after_the_handshake(said)) as port:
        error = broken(port)
        assert reason in str(error)
        assert not isinstance(error, NotInTime)


def test_a_peer_that_talks_without_end_keeps_no_call_from_noticing_the_time() -> None:
    def talk(peer: socket.socket) -> None:
        shake_hands(peer)
        while True:
            peer.sendall(packet(TO_US + encode(b"nothing")) * 1000)

    with serving(talk) as port:
        started = time.monotonic()
        assert isinstance(broken(port, 0.3), NotInTime)
        assert time.monotonic() - started < 5
