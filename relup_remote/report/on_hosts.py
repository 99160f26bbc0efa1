"""What a run came to on one host, from the events that are the host's. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.report.model import SKIPPED, UNFINISHED, UNKNOWN, Hop, Host, Instruction, Sample, Step, Turn
from relup_remote.report.passages import Event, Passage, moment, passages
from relup_remote.report.plain import mapping, mappings, number, text
from relup_remote.rollout.rows import CHANGED, OUTCOMES

_BY_EXIT_STATUS = {0: "done", 1: "failed", 3: "refused"}

_CHANGING_PHASES = ("apply", "cleanup")
"""The phases in which a host is changed. The row of a cleanup is that of the upgrade, with the cleanup in it."""
GATE = "gate"
"""Stands for the phase of steps that were taken in no turn of the host's: a gate looked at it."""


def host(
    request: Mapping[str, Any], member: Mapping[str, Any], wave: int | None, events: Sequence[Event], *, is_over: bool
) -> Host:
    """The host of the request's ``member``; ``events`` are its own, in order. ``is_over`` says that the run has ended.

    A host whose turn has not come by then is ``skipped``, as in the table of the run.
    """
    turns = passages((event for event in events if event["event"] == "host"), lambda event: event.get("phase"))
    last = _decisive(turns)
    row = last.row if last else {}
    is_done = bool(member.get("done"))
    outcome = _outcome(last) or ("unchanged" if is_done else "waiting")
    is_begun = last is not None and last.begin.get("phase") in _CHANGING_PHASES
    state = _state(outcome, row, is_begun=is_begun, is_done=is_done)
    return Host(
        host=text(member.get("host")),
        address=text(member.get("address")),
        node=text(row.get("node") or member.get("node")),
        role=text(member.get("role") or mapping(row.get("facts")).get("role")),
        wave=wave,
        from_vsn=text(member.get("from") or row.get("from")),
        target=text(row.get("target") or request.get("target")),
        running=text(row.get("running")),
        outcome=SKIPPED if is_over and state == "waiting" else outcome,
        state=state,
        seconds=number(row.get("seconds")) if is_begun else None,
        turns=tuple(
            Turn(text(turn.begin.get("phase")), _outcome(turn), turn.started_at, turn.seconds) for turn in turns
        ),
        steps=_steps(events, turns),
        connections=_samples(request, member, events),
        hop=_hop(mapping(mapping(row.get("facts")).get("hop"))),
    )


def rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    """All rows of a host, in order."""
    return [mapping(event.get("row")) for event in events if event["event"] == "host" and event.get("row")]


def _decisive(turns: Sequence[Passage]) -> Passage | None:
    """The turn that says how the host stands: the last in which it was changed, else the last before that.

    What a resumed run found there at its survey counts more where the change had not ended, or failed and then ended by
    itself.
    A cleanup that has not ended says nothing.
    """
    told = [turn for turn in turns if turn.begin.get("phase") != "cleanup" or turn.has_ended]
    changing = [turn for turn in told if turn.begin.get("phase") in _CHANGING_PHASES]
    if not changing:
        return told[-1] if told else None
    later = told[told.index(changing[-1]) + 1 :]
    if _outcome(changing[-1]) in CHANGED:
        return changing[-1]
    found = [turn for turn in later if turn.has_ended and (not changing[-1].has_ended or _has_nothing_left(turn.row))]
    return (found or changing)[-1]


def _has_nothing_left(row: Mapping[str, Any]) -> bool:
    return row.get("outcome") in ("unchanged", "nothing to do")


def _outcome(turn: Passage | None) -> str:
    if turn is None:
        return ""
    return text(turn.row.get("outcome")) if turn.has_ended else UNFINISHED


def _state(outcome: str, row: Mapping[str, Any], *, is_begun: bool, is_done: bool) -> str:
    if (is_done and not row) or _has_nothing_left(row):
        return "nothing_left"
    if outcome == UNFINISHED:
        return UNFINISHED if is_begun else "waiting"
    state = "waiting" if outcome in ("waiting", SKIPPED) else _BY_EXIT_STATUS[OUTCOMES.get(outcome, 1)]
    return "waiting" if state == "done" and not is_begun else state


def _steps(events: Sequence[Event], turns: Sequence[Passage]) -> tuple[Step, ...]:
    taken = passages((event for event in events if event["event"] == "step"), lambda event: event.get("step"))
    return tuple(
        Step(
            text(step.begin.get("step")),
            _phase_at(step.started_at, turns),
            step.status or (UNKNOWN if _is_over(step, turns) else UNFINISHED),
            step.started_at,
            step.seconds,
        )
        for step in taken
    )


def _is_over(step: Passage, turns: Sequence[Passage]) -> bool:
    """Whether the turn in which a step began has ended."""
    begun = [turn for turn in turns if turn.started_at <= step.started_at]
    return _phase_at(step.started_at, turns) != GATE and begun[-1].has_ended


def _phase_at(at: int, turns: Sequence[Passage]) -> str:
    begun = [turn for turn in turns if turn.started_at <= at]
    is_over = not begun or (begun[-1].has_ended and moment(begun[-1].last) < at)
    return GATE if is_over else text(begun[-1].begin.get("phase"))


def _samples(request: Mapping[str, Any], member: Mapping[str, Any], events: Sequence[Event]) -> tuple[Sample, ...]:
    """The connections that were counted; those of the plan where there are no others."""
    told = [(event.get("at"), event.get("count")) for event in events if event["event"] == "connections"]
    told = told or [(request["started_at"], member.get("connections"))]
    counted = [(number(at), number(count)) for at, count in told]
    return tuple(Sample(int(at), int(count)) for at, count in counted if at is not None and count is not None)


def _hop(said: Mapping[str, Any]) -> Hop | None:
    if not said:
        return None
    return Hop(
        file=text(said.get("file")),
        from_vsn=text(said.get("from")),
        target=text(said.get("target")),
        seconds=number(said.get("seconds")),
        suspended_ms=number(said.get("suspended_ms")),
        swap_ms=number(said.get("swap_ms")),
        instructions=tuple(_instruction(each) for each in mappings(said.get("instructions"))),
    )


def _instruction(said: Mapping[str, Any]) -> Instruction:
    n = number(said.get("n"))
    return Instruction(
        n=None if n is None else int(n),
        text=text(said.get("text")),
        does=text(said.get("does")),
        status=text(said.get("status")),
        seconds=number(said.get("seconds")),
        window_ms=number(said.get("window_ms")),
    )
