"""What a host may say: fitting events pass as they are, all others are named, and neither costs much."""

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote import boundary, schema
from relup_remote.core.protocol import Failure, Result, encode
from relup_remote.host import session
from relup_remote.host.transport import Process
from relup_remote.schema import Unfit

from ..fuzz.inputs import bounded, fuzz
from ..shapes import fitting, wrong_somewhere

EVENTS = st.sampled_from(sorted(boundary.EVENTS)).flatmap(
    lambda kind: fitting(boundary.EVENTS[kind]).map(lambda said: {**said, "event": kind})
)


def told(said: Any) -> str:
    """Where the event is refused, and why."""
    with pytest.raises(Failure) as caught:
        boundary.event(said if isinstance(said, bytes) else json.dumps(said).encode())
    assert caught.value.err_type == "malformed_answer"
    assert json.dumps(caught.value.to_json(), allow_nan=False)
    return f"{caught.value.detail['at']}: {caught.value.detail['why']}"


def result(**changes: Any) -> dict[str, Any]:
    """A good result, with changes."""
    return {**Result().to_json(), **changes}


OTHER_FORMS = {
    "an error without a name": result(outcome="failed", error={"message": "oh"}),
    "an error that is none": result(outcome="refused", error="oh"),
    "a refusal without an error": result(outcome="refused"),
    "a success with an error": result(error=Failure("call_failed", stage="apply").to_json()),
    "steps that are none": result(steps=["apply"]),
    "a step that took no time": result(steps=[{"step": "apply", "status": "ok", "detail": {}}]),
    "a version that is no text": result(running=5),
    "a step of no name": {"event": "step", "step": ["stage"], "status": "start"},
    "a step that took no time either": {"event": "step", "step": "stage", "status": "ok"},
    "progress in words": {"event": "progress", "step": "stage", "done": "1", "total": 2},
    "a note without one": {"event": "note", "message": None},
    "a wish for what is before the file": {"event": "want", "file": "tarball", "offset": -1, "bytes": 1},
}


@pytest.mark.parametrize("said", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_what_listeners_could_not_understand_is_refused(said: dict[str, Any]) -> None:
    assert told(said)


@fuzz
@given(EVENTS)
def test_what_fits_passes_as_it_is(said: dict[str, Any]) -> None:
    try:
        assert boundary.event(json.dumps(said).encode()) == said
    except Failure as failure:
        # The fields of two events have to go with each other as well.
        assert failure.detail["at"] in ("error", "seconds")
        assert said["event"] in ("result", "step")


@fuzz
@given(EVENTS.flatmap(wrong_somewhere))
def test_what_does_not_fit_is_named(said: dict[str, Any]) -> None:
    line = json.dumps(said).encode()
    try:
        passed = boundary.event(line)
    except Failure as failure:
        assert failure.err_type == "malformed_answer"
        assert failure.detail["why"] in failure.message
        assert json.dumps(failure.to_json(), allow_nan=False)
    else:
        assert passed is None or json.dumps(passed, allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"facts": []}, "facts: should be a mapping, and is a list of 0"),
        ({"facts": {"nodes": ["a", 1]}}, "facts.nodes[1]: should be text, and is 1"),
        ({"facts": {"role": "boss"}}, 'facts.role: should be core or replicant or null, and is "boss"'),
        (
            {"facts": {"connections": -1}},
            "facts.connections: should be a whole number from 0 to 1000000000000, and is -1",
        ),
        ({"facts": {"cluster_lock": {"run": "r"}}}, "facts.cluster_lock.operator: is missing"),
        ({"facts": {"history": [{"started_at": True}]}}, "facts.history[0].run: is missing"),
        ({"facts": {"recovered": {}}}, "facts.recovered: should be a list of at most 100000, and is a mapping of 0"),
        (
            {"facts": {"hop": {"instructions": 7}}},
            "facts.hop.instructions: should be a list of at most 100000, and is 7",
        ),
        ({"warnings": [1]}, "warnings[0]: should be a mapping, and is 1"),
        ({"seconds": 1e13}, "seconds: should be a number from 0 to 1000000000000, and is 10000000000000.0"),
        ({"outcome": "great"}, 'outcome: should be a word that is known, and is "great"'),
        ({"outcome": "failed"}, "error: contradicts the outcome failed"),
    ],
)
def test_the_place_and_the_reason_are_told(changes: dict[str, Any], said: str) -> None:
    shown = told(result(**changes))
    # Of what may be null, that is not told.
    assert shown == said or shown == said.replace(" or null", "")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused_wherever_it_is(word: str) -> None:
    line = json.dumps(result(facts={"anything": ["MARK"]})).replace('"MARK"', word)
    assert "number" in told(line.encode())


def test_text_that_is_not_unicode_is_refused() -> None:
    assert told(result(facts={"anything": "\udc00"})) == ": has text that is not Unicode"
    assert told(b'{"event": "note", "message": "\xff"}') == ": is not UTF-8"


@pytest.mark.parametrize(
    "value",
    [
        "1e309",
        "-1E+309",
        "1.5e0309",
        "9" * 199 + "e199",
        "9" * 309 + ".0",
        str(1 << 10_001),
        r'"\ud800"',
        r'"\uDFFF and more"',
        r'{"\udc00": 1}',
        "[" * 101 + "]" * 101,
        '{"a":' * 60 + "[" * 41 + "]" * 41 + "}" * 60,
    ],
)
def test_what_no_value_may_be_is_found_in_the_shortest_line(value: str) -> None:
    """Most lines are not looked through value by value: these have to be."""
    with pytest.raises(schema.Unfit):
        schema.parsed(value.encode())


def test_what_looks_like_it_and_is_not_is_taken() -> None:
    for value in ("1e308", "9" * 199 + "e99", r'"\ud83d\ude00"', '"[[[' + "[" * 200 + '"', '"a1e999"'):
        assert schema.parsed(value.encode()) == json.loads(value)


def test_depth_and_numbers_are_bounded() -> None:
    deep: Any = []
    for _ in range(schema.DEPTH):
        deep = [deep]
    assert told(result(facts={"deep": deep})) == f": is nested more than {schema.DEPTH} deep"
    assert told(b'{"event": "note", "message": ' + b"[" * 100_000) == ": is nested more than 100 deep"
    assert told(result(facts={"large": schema.LARGEST + 1})) == ": has a number that is too large"


def test_an_event_that_is_none_of_a_core_s() -> None:
    assert told({"event": "end", "outcome": "done"}) == "event: is not an event that our program on the host sends"


@pytest.mark.parametrize("line", [b"Welcome to this host", b"", b"[1, 2]", b'{"a": 1}', b"\xff\xfe", b"7", b"NaN"])
def test_what_others_say_is_no_event(line: bytes) -> None:
    assert boundary.event(line) is None


# What it costs


class Endless:
    """A process that says the same bytes, so many times."""

    def __init__(self, data: bytes, times: int) -> None:
        self.data, self.times = data, times

    def receive(self, _seconds: float) -> bytes:
        self.times -= 1
        return self.data if self.times >= 0 else b""

    def has_output(self) -> bool:
        return self.times > 0


def lines(data: bytes, times: int) -> session._Lines:
    return session._Lines(cast("Process", Endless(data, times)))


def test_a_line_is_measured_while_it_comes() -> None:
    with bounded(memory=4 * boundary.LONGEST_LINE), pytest.raises(Failure) as caught:
        lines(b'{"event": "note", "message": "' + b"x" * 65_000, 60 << 20 >> 16).next()
    assert (caught.value.err_type, caught.value.detail["why"]) == ("malformed_answer", "a line has more than 16 MB")


def test_a_line_of_many_small_values_is_not_even_read() -> None:
    line = b'{"event": "note", "message": [' + b"{}," * 5_000_000 + b"{}]}"
    assert len(line) < boundary.LONGEST_LINE
    with bounded(memory=4 << 20):
        assert told(line) == f": has more than {schema.VALUES} values"


def test_lines_that_come_faster_than_they_are_looked_at_are_not_piled_up() -> None:
    arrived = lines(b'{"event":"alive"}\n' * 100, 1_000_000)
    with bounded(memory=1 << 20):
        assert sum(1 for _ in arrived.arrived()) <= session.AHEAD + 100


def test_the_largest_line_that_is_taken_costs_little_more_than_its_values() -> None:
    attempt = {"run": "r" * 30, "operator": "alice@desk", "started_at": 1, "finished_at": 2, "from_vsn": "1.0"}
    attempt |= {"target_vsn": "1.1", "status": "finished", "result": "success", "source": "journal"}
    line = encode(result(facts={"history": [attempt] * 10_000}))
    with bounded(memory=100 << 20):
        event = boundary.event(line)
    assert event is not None
    assert len(event["facts"]["history"]) == 10_000


def test_a_shape_shows_little_of_what_does_not_fit() -> None:
    with pytest.raises(Unfit) as caught:
        schema.Flag().check("x" * 1000, "place")
    assert len(str(caught.value)) < 120
