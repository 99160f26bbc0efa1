"""How long a run was worked on."""

from typing import Any

from relup_remote.rollout.worked import seconds_between, seconds_worked, spans

EVENTS: list[dict[str, Any]] = [
    {"event": "run", "at": 1_000},
    {"event": "phase", "phase": "survey", "at": 1_000},
    {"event": "host", "at": 4_000},
    # The operator is asked for 6 s.
    {"event": "phase", "phase": "lock", "at": 10_000},
    {"event": "host", "at": 12_000},
    # The controller dies, and another one comes an hour later. Its operator takes a minute.
    {"event": "run", "at": 3_612_000},
    {"event": "host", "at": 3_613_000},
    {"event": "phase", "phase": "lock", "at": 3_673_000},
    {"event": "end", "at": 3_675_500},
]


def test_waiting_for_an_answer_or_a_controller_is_no_work() -> None:
    assert seconds_worked(EVENTS) == 3 + 2 + 1 + 2.5
    assert seconds_between(EVENTS) == 3600


def test_a_short_wait_is_no_pause_where_that_is_said() -> None:
    assert spans(EVENTS, 30_000) == [(1_000, 12_000), (3_612_000, 3_613_000), (3_673_000, 3_675_500)]


def test_what_was_not_begun_took_no_time() -> None:
    assert (seconds_worked([]), seconds_between([]), spans([])) == (0, 0, [])


def test_a_clock_that_was_set_back_takes_no_time_away() -> None:
    back = [{"event": "run", "at": 9_000}, {"event": "end", "at": 8_000}, {"event": "run", "at": 7_000}]
    assert (seconds_worked(back), seconds_between(back)) == (0, 0)
