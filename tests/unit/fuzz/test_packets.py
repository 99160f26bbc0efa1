"""What a peer sends in the handshake, and over a connection that stands."""

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.distribution import Address, BadRpc, Connection, DistributionError
from relup_remote.core.erlang.term import Atom, encode
from tests.unit.core.impostor import COOKIE, NAME, challenge, framed, packet, serving, shake_hands
from tests.unit.core.terms import terms

from .inputs import damaged, fuzz

Tell = Callable[[bytes, bool], None]

TO_US = b"p" + encode((2, Atom(""), Atom("us")))


@pytest.fixture(scope="module")
def tell() -> Iterator[Tell]:
    """Makes a call to a peer that says certain bytes: at once, or after the handshake."""
    said: list[tuple[bytes, bool]] = []

    def answer(peer: socket.socket) -> None:
        # To whom it hangs up on may come again under another name.
        data, let_in = said[-1]
        if let_in:
            shake_hands(peer)
        peer.sendall(data)

    with serving(answer) as port:

        def call(data: bytes, let_in: bool) -> None:
            said.append((data, let_in))
            connection = Connection(NAME, COOKIE, Address("127.0.0.1", port), 5.0)
            try:
                connection.call("erlang", "node", [], 5.0)
            finally:
                connection.close()

        yield call


@fuzz
@given(damaged(challenge() + framed(b"a" + bytes(16))))
def test_handshakes(tell: Tell, data: bytes) -> None:
    with pytest.raises(DistributionError) as caught:
        tell(data, False)
    assert COOKIE not in str(caught.value)


@fuzz
@given(st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"p\x83" + data), max_size=4))
def test_packets(tell: Tell, packets: list[bytes]) -> None:
    with pytest.raises((DistributionError, BadRpc)):
        tell(b"".join(map(packet, packets)), True)


@fuzz
@given(st.lists(st.builds(lambda control, term: b"p" + encode(control) + encode(term), terms, terms), max_size=3))
def test_messages(tell: Tell, packets: list[bytes]) -> None:
    with pytest.raises((DistributionError, BadRpc)):
        tell(b"".join(map(packet, packets)), True)


@fuzz
@given(terms.flatmap(lambda value: damaged(packet(TO_US + encode((Atom("rex"), value))))))
def test_damaged_messages(tell: Tell, data: bytes) -> None:
    with pytest.raises((DistributionError, BadRpc)):
        tell(data, True)
