"""Ports in use are refused by name, before anything starts."""

import os
import socket
from collections.abc import Iterator

import pytest

from lab.ports import Claim, PortsInUse, holder, is_free, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    """A port this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_a_port_of_a_closed_server_is_free_again() -> None:
    assert is_free(free_port())


def test_a_port_taken_on_all_addresses_is_not_free() -> None:
    with socket.create_server(("", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_the_holder_is_named_without_its_arguments(taken: int) -> None:
    assert holder(taken).startswith(f"pid {os.getpid()} (python")


def test_nobody_holds_a_free_port() -> None:
    assert holder(free_port()) == "a process that can't be seen from here"


def test_every_conflict_is_reported_at_once(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as second:
        also_taken = second.getsockname()[1]
        claims = [Claim(taken, "SSH of n1"), Claim(free_port(), "MQTT of n1"), Claim(also_taken, "MQTT of n2")]
        with pytest.raises(PortsInUse) as caught:
            require_free(claims)
    assert caught.value.err_type == "port_in_use"
    assert f"{taken} (SSH of n1): held by pid {os.getpid()} " in caught.value.message
    assert f"{also_taken} (MQTT of n2)" in caught.value.message
    assert "MQTT of n1" not in caught.value.message
    assert caught.value.hint


def test_free_ports_pass() -> None:
    require_free([Claim(free_port(), "SSH of n1")])
