"""The clients see what a broker does to them, good or bad."""

import threading
from collections.abc import Callable

import pytest

from lab.clients import Traffic
from lab.errors import LabError
from lab.evidence import Evidence
from tests.unit.small_broker import Broker

SECONDS = 0.6


def watch(broker: Broker, meanwhile: Callable[[], None] = lambda: None) -> Evidence:
    """What four clients on two "nodes", both of them ``broker``, see in some tenths of a second."""
    with broker.running(), Traffic({"n1": broker.port, "n2": broker.port}, clients=4, rate=20) as traffic:
        threading.Event().wait(SECONDS / 2)
        meanwhile()
        threading.Event().wait(SECONDS / 2)
        return traffic.stop(drain_timeout=1)


def test_a_good_broker_holds() -> None:
    seen = watch(Broker())
    assert seen.held, str(seen)
    assert seen.clients == seen.kept == 4
    assert seen.sent >= 20
    assert seen.received == 2 * seen.sent
    assert 0 < seen.longest_gap < SECONDS


def test_a_broker_that_drops_one_message_does_not_hold() -> None:
    seen = watch(Broker(copies=lambda payload: 0 if payload == "client-1 2" else 1))
    assert (seen.lost, seen.reconnects) == (2, 0)
    assert not seen.held


def test_a_broker_that_delivers_twice_is_seen() -> None:
    seen = watch(Broker(copies=lambda payload: 2 if payload == "client-1 2" else 1))
    assert (seen.duplicated, seen.lost) == (2, 0)


def test_a_broker_that_cuts_connections_does_not_hold() -> None:
    broker = Broker()
    seen = watch(broker, broker.cut_all)
    assert (seen.kept, seen.reconnects) == (0, 4)
    assert not seen.held


def test_clients_that_do_not_hear_each_other_are_an_error() -> None:
    with Broker(copies=lambda payload: 0).running() as broker:
        traffic = Traffic({"n1": broker.port}, clients=2)
        with pytest.raises(LabError, match="client-1, client-2") as caught:
            traffic.start(timeout=0.5)
    assert caught.value.err_type == "clients_not_ready"


def test_a_node_that_is_down_is_an_error() -> None:
    with Broker().running() as broker:
        port = broker.port
    with pytest.raises(LabError):
        Traffic({"n1": port}, clients=2).start(timeout=0.3)
