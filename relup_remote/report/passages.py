"""Events in pairs: what begins with one and ends with another."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from relup_remote.report.plain import mapping, number, text

Event = dict[str, Any]

_GOING_ON = ("start", "wait")


@dataclass
class Passage:
    """Something that took time: the event with which it began, and the last that was told of it."""

    begin: Event
    last: Event

    @property
    def has_ended(self) -> bool:
        """Whether the last event is its end."""
        return self.last.get("status") not in _GOING_ON

    @property
    def status(self) -> str:
        """The status of its end; empty while there is none."""
        return text(self.last.get("status")) if self.has_ended else ""

    @property
    def row(self) -> dict[str, Any]:
        """The row that came with the end."""
        return mapping(self.last.get("row"))

    @property
    def started_at(self) -> int:
        """When it began. Where nothing told so, that follows from its end."""
        if self.begin is not self.last or not self.has_ended:
            return moment(self.begin)
        return moment(self.begin) - round(1000 * (number(self.last.get("seconds")) or 0))

    @property
    def seconds(self) -> float | None:
        """How long it took: by its own word, else by the clock of the controller; None while it has not ended."""
        if not self.has_ended:
            return None
        said = number(self.last.get("seconds"))
        return max(moment(self.last) - moment(self.begin), 0) / 1000 if said is None else said


def passages(events: Iterable[Event], key: Callable[[Event], Hashable]) -> list[Passage]:
    """What began and ended in ``events``, in the order of beginnings; ``key`` says which events belong together.

    What begins anew without an end has been broken off before.
    """
    found: list[Passage] = []
    going_on: dict[Hashable, Passage] = {}
    for event in events:
        is_new = event.get("status") == "start" or key(event) not in going_on
        passage = Passage(event, event) if is_new else going_on[key(event)]
        passage.last = event
        if is_new:
            found.append(passage)
        if passage.has_ended:
            going_on.pop(key(event), None)
        else:
            going_on[key(event)] = passage
    return found


def moment(event: Event) -> int:
    """When an event was told, in milliseconds since the epoch."""
    return int(number(event.get("at")) or 0)
