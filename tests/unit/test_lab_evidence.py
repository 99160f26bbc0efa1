"""The judge of the lab must be able to say no."""

import pytest

from lab.evidence import Evidence, Ledger

PAIR = {"a": ("a", "b"), "b": ("a", "b")}


def ledger(*, skip: tuple[str, str, int] | None = None, until: float = 10.0) -> Ledger:
    """A ledger of two clients that each hear all messages of both, one a second, but for the delivery to skip."""
    made = Ledger(PAIR)
    made.connected("a")
    made.connected("b")
    for number in range(1, int(until) + 1):
        for publisher, audience in PAIR.items():
            made.sent(publisher, number)
            made.acknowledged(publisher, number)
            for subscriber in audience:
                if (subscriber, publisher, number) != skip:
                    made.delivered(subscriber, publisher, number, float(number))
    return made


def evidence(made: Ledger) -> Evidence:
    return made.evidence(start=0.0, end=10.0)


def test_it_holds_when_everything_came_once() -> None:
    made = ledger()
    assert made.is_settled
    seen = evidence(made)
    assert seen == Evidence(
        clients=2, kept=2, reconnects=0, sent=20, acknowledged=20, received=40, lost=0, duplicated=0, longest_gap=1.0
    )
    assert seen.held


def test_a_lost_delivery_breaks_it() -> None:
    made = ledger(skip=("b", "a", 5))
    assert not made.is_settled
    seen = evidence(made)
    assert (seen.lost, seen.received) == (1, 39)
    assert not seen.held


def test_a_message_that_was_never_acknowledged_breaks_it() -> None:
    made = ledger()
    made.sent("a", 11)
    for subscriber in PAIR["a"]:
        made.delivered(subscriber, "a", 11, 10.0)
    assert not made.is_settled
    assert evidence(made).lost == 0
    assert not evidence(made).held


def test_a_lost_connection_breaks_it_even_if_no_message_is_missing() -> None:
    made = ledger()
    made.disconnected("a")
    made.connected("a")
    seen = evidence(made)
    assert (seen.kept, seen.reconnects, seen.lost) == (1, 1, 0)
    assert not seen.held


def test_a_client_that_never_came_back_is_not_kept() -> None:
    made = ledger()
    made.disconnected("b")
    assert evidence(made).kept == 1
    assert not evidence(made).held


def test_a_client_that_never_connected_is_not_kept() -> None:
    assert evidence(Ledger(PAIR)).kept == 0


def test_a_duplicate_is_counted_but_qos_1_allows_it() -> None:
    made = ledger()
    made.delivered("b", "a", 5, 10.0)
    seen = evidence(made)
    assert (seen.duplicated, seen.received) == (1, 40)
    assert seen.held


def test_silence_is_no_success() -> None:
    made = Ledger(PAIR)
    made.connected("a")
    made.connected("b")
    assert not evidence(made).held


@pytest.mark.parametrize(
    ("arrivals", "gap"),
    [([1.0, 2.0, 6.0, 9.0], 4.0), ([5.0, 9.5], 5.0), ([1.0, 2.0, 3.0], 7.0), ([], 10.0), ([4.0, 8.0, 13.0], 5.0)],
    ids=["between", "before the first", "after the last", "nothing came", "a late one after the end"],
)
def test_the_longest_gap(arrivals: list[float], gap: float) -> None:
    made = Ledger({"a": ("a",)})
    for number, at in enumerate(arrivals, start=1):
        made.delivered("a", "a", number, at)
    assert evidence(made).longest_gap == gap


def test_it_reads_as_one_line() -> None:
    line = str(evidence(ledger(skip=("b", "a", 5))))
    assert line == (
        "2 of 2 connections kept, 0 reconnects; 20 messages sent, 20 acknowledged, 39 received, 1 lost, 0 duplicated; "
        "longest gap 1.00 s"
    )
