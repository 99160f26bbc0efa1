"""The feed: all events, in one order, to everyone who can hear them."""

import itertools
import threading
import time

import pytest

from relup_remote.rollout.feed import Event, Feed


def test_everyone_hears_everything_in_the_same_order() -> None:
    first: list[Event] = []
    second: list[Event] = []
    feed = Feed(first.append, second.append)
    begun = time.time_ns() // 1_000_000
    feed.tell("wave", wave=1, status="start")
    feed.watch("n1", {"event": "step", "step": "stage", "status": "start"})
    assert first == second
    assert [{**event, "at": 0} for event in first] == [
        {"event": "wave", "at": 0, "wave": 1, "status": "start"},
        {"event": "step", "at": 0, "step": "stage", "status": "start", "host": "n1"},
    ]
    assert begun <= first[0]["at"] <= first[1]["at"] <= time.time_ns() // 1_000_000


def test_the_order_of_events_is_that_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("relup_remote.rollout.feed.now", lambda: next(clock))
    heard: list[Event] = []
    inside, waiting = threading.Event(), threading.Event()

    def listen(event: Event) -> None:
        inside.set()
        assert waiting.wait(60)
        # The time at which the first was heard of: the second, which waits for it, has none yet.
        heard.append({**event, "heard": next(clock)})

    feed = Feed(listen)
    threads = [threading.Thread(target=feed.tell, args=(name,)) for name in ("first", "second")]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    waiting.set()
    for thread in threads:
        thread.join(60)
    assert [(event["event"], event["at"], event["heard"]) for event in heard] == [("first", 0, 1), ("second", 2, 3)]


def test_a_core_can_not_say_that_it_is_another_host_or_another_time() -> None:
    heard: list[Event] = []
    Feed(heard.append).watch("n1", {"event": "note", "message": "", "host": "n2", "at": -1})
    assert heard[0]["host"] == "n1"
    assert heard[0]["at"] > 0


def test_a_core_can_not_say_what_is_the_run_s_to_say() -> None:
    heard: list[Event] = []
    feed = Feed(heard.append)
    for name in ("run", "phase", "host", "wave", "gate", "connections", "interrupt", "end"):
        feed.watch("n1", {"event": name, "status": "done"})
    assert heard == []


def test_who_comes_late_hears_what_was_told_earlier_first() -> None:
    early: list[Event] = []
    late: list[Event] = []
    feed = Feed(early.append)
    feed.tell("phase", phase="survey")
    feed.add(late.append, earlier=early)
    feed.tell("run")
    assert [event["event"] for event in late] == ["phase", "run"]
    assert early == late


def test_who_is_removed_hears_no_more() -> None:
    heard: list[Event] = []
    feed = Feed(heard.append)
    feed.tell("run")
    feed.remove(heard.append)
    feed.tell("end")
    assert [event["event"] for event in heard] == ["run"]


def unwritable(_event: Event) -> None:
    raise OSError(28, "No space left on device")


def test_who_can_not_write_any_more_hears_no_more_and_the_others_do() -> None:
    tries: list[Event] = []
    heard: list[Event] = []

    def full(event: Event) -> None:
        tries.append(event)
        unwritable(event)

    feed = Feed(full, heard.append)
    for number in range(3):
        feed.tell("note", number=number)
    assert len(tries) == 1
    assert [event["number"] for event in heard] == [0, 1, 2]
    assert feed.broken is None


def test_one_that_is_needed_and_can_not_write_breaks_the_feed() -> None:
    feed = Feed()
    feed.add(unwritable, needed=True)
    feed.tell("note")
    assert feed.broken is not None
    assert feed.broken.strerror == "No space left on device"


def test_what_was_told_earlier_breaks_it_as_well() -> None:
    feed = Feed()
    feed.add(unwritable, needed=True, earlier=[{"event": "note"}, {"event": "note"}])
    assert feed.broken is not None
    feed.tell("note")


def test_events_of_several_threads_come_one_at_a_time() -> None:
    inside = threading.Lock()
    together = threading.Barrier(4, timeout=60)
    heard: list[Event] = []

    def alone(event: Event) -> None:
        assert inside.acquire(blocking=False)
        heard.append(event)
        inside.release()

    feed = Feed(alone)

    def tell(host: str) -> None:
        together.wait()
        for number in range(100):
            feed.watch(host, {"event": "progress", "step": "stage", "done": number, "total": 100})

    threads = [threading.Thread(target=tell, args=(f"n{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 400
    for _host, events in itertools.groupby(sorted(heard, key=lambda event: str(event["host"])), lambda e: e["host"]):
        assert [event["done"] for event in events] == list(range(100))
