"""What became of a run's waves, and of the gates between them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.report.model import UNFINISHED, Gate, Resumption, Stretch, Wave
from relup_remote.report.passages import Event, Passage, moment, passages
from relup_remote.report.plain import mapping, text
from relup_remote.rollout.worked import spans

PAUSE_MS = 30_000
"""A run that was surveyed waits for the operator's yes: a wait that is longer than this is drawn as a pause."""


def sittings(request: Mapping[str, Any], events: Sequence[Event]) -> tuple[Stretch, ...]:
    """The times through which the run was worked on, as they are drawn; there is always one."""
    found = [Stretch(*span) for span in spans(events, PAUSE_MS)]
    return tuple(found) or (Stretch(request["started_at"], request["started_at"]),)


def resumptions(events: Sequence[Event]) -> tuple[Resumption, ...]:
    """When the run was taken up again."""
    taken = (event for event in events if event["event"] == "run" and event.get("status") == "resume")
    return tuple(Resumption(moment(event), text(event.get("operator"))) for event in taken)


def waves(plan: Mapping[str, Any], events: Sequence[Event], worked: Sequence[Stretch]) -> tuple[Wave, ...]:
    """All waves of the plan, also those that were not begun; ``worked`` are the `sittings` of the run."""
    begun = passages((event for event in events if event["event"] == "wave"), lambda event: event.get("wave"))
    tried = passages((event for event in events if event["event"] == "gate"), _gate_of)
    return tuple(
        _wave(
            number,
            tuple(map(text, hosts)),
            [wave for wave in begun if wave.begin.get("wave") == number],
            [gate for gate in tried if gate.begin.get("wave") == number],
            worked,
        )
        for number, hosts in enumerate(plan["waves"], 1)
    )


def _gate_of(event: Event) -> tuple[Any, Any]:
    return event.get("wave"), event.get("gate")


def _wave(
    number: int, hosts: tuple[str, ...], begun: Sequence[Passage], tried: Sequence[Passage], worked: Sequence[Stretch]
) -> Wave:
    return Wave(
        wave=number,
        hosts=hosts,
        status=(begun[-1].status or UNFINISHED) if begun else "waiting",
        stretches=tuple(Stretch(wave.started_at, _end(wave, worked)) for wave in begun),
        gates=tuple(_gate(number, gate) for gate in tried),
    )


def _gate(number: int, gate: Passage) -> Gate:
    return Gate(
        wave=number,
        gate=text(gate.begin.get("gate")),
        status=gate.status or UNFINISHED,
        started_at=gate.started_at,
        seconds=gate.seconds,
        message=text(gate.last.get("message")),
        detail=mapping(gate.last.get("detail")),
    )


def _end(wave: Passage, worked: Sequence[Stretch]) -> int:
    """When it ended; where it did not, when the controller that worked on it did."""
    if wave.has_ended:
        return moment(wave.last)
    return next(sitting.ended_at for sitting in worked if sitting.ended_at >= wave.started_at)
