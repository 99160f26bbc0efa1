"""What became of a run's waves, and of the gates between them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from relup_remote.report.model import UNFINISHED, Gate, Sitting, Stretch, Wave
from relup_remote.report.passages import Event, Passage, moment, passages
from relup_remote.report.plain import mapping, text


def sittings(request: Mapping[str, Any], events: Sequence[Event]) -> tuple[Sitting, ...]:
    """The times through which a controller worked on the run; there is always one."""
    found = [Sitting(request["started_at"], request["started_at"], text(request.get("operator")))]
    for event in events:
        at = moment(event)
        if event["event"] == "run" and event.get("status") == "resume":
            found.append(Sitting(at, at, text(event.get("operator"))))
        last = found[-1]
        found[-1] = Sitting(last.started_at, max(last.ended_at, at), last.operator)
    return tuple(found)


def waves(request: Mapping[str, Any], events: Sequence[Event]) -> tuple[Wave, ...]:
    """All waves of the plan, also those that were not begun."""
    begun = passages((event for event in events if event["event"] == "wave"), lambda event: event.get("wave"))
    tried = passages((event for event in events if event["event"] == "gate"), _gate_of)
    breaks = [sitting.ended_at for sitting in sittings(request, events)]
    return tuple(
        _wave(
            number,
            tuple(map(text, hosts)),
            [wave for wave in begun if wave.begin.get("wave") == number],
            [gate for gate in tried if gate.begin.get("wave") == number],
            breaks,
        )
        for number, hosts in enumerate(request["waves"], 1)
    )


def _gate_of(event: Event) -> tuple[Any, Any]:
    return event.get("wave"), event.get("gate")


def _wave(
    number: int, hosts: tuple[str, ...], begun: Sequence[Passage], tried: Sequence[Passage], breaks: Sequence[int]
) -> Wave:
    return Wave(
        wave=number,
        hosts=hosts,
        status=(begun[-1].status or UNFINISHED) if begun else "waiting",
        stretches=tuple(Stretch(wave.started_at, _end(wave, breaks)) for wave in begun),
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


def _end(wave: Passage, breaks: Sequence[int]) -> int:
    """When it ended; where it did not, when the controller that worked on it did."""
    return moment(wave.last) if wave.has_ended else next(end for end in breaks if end >= wave.started_at)
