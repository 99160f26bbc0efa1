"""How long a run was worked on. Pure.

The time of a run is the same everywhere, in the last line of its summary, in `inv runs` and in reports: from the
beginning of its survey to its end, without the time for which it waited for the operator's answer, and without the time
between two controllers.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from relup_remote.rollout.feed import Event

Span = tuple[int, int]
"""The moments (ms since the epoch) between which something was going on."""


def spans(events: Iterable[Event], pause_ms: int = 0) -> list[Span]:
    """The times through which a run was worked on, in order.

    A wait for the operator's answer of no more than ``pause_ms`` counts as work. A controller tells ``run`` first, then
    its survey, and once it may go on the phase ``lock``.
    """
    found: list[Span] = []
    for event in events:
        at = int(event.get("at") or 0)
        if not found or _begins_anew(event, at - found[-1][1], pause_ms):
            found.append((at, at))
        found[-1] = (found[-1][0], max(found[-1][1], at))
    return found


def seconds_worked(events: Iterable[Event]) -> float:
    """The time of a run, in seconds."""
    return round(sum(end - begin for begin, end in spans(events)) / 1000, 3)


def seconds_between(events: Sequence[Event]) -> float:
    """For how many seconds no controller worked on a run that was resumed."""
    gaps = [
        int(event.get("at") or 0) - int(before.get("at") or 0)
        for before, event in pairwise(events)
        if event["event"] == "run"
    ]
    return sum(max(gap, 0) for gap in gaps) / 1000


def _begins_anew(event: Event, idle_ms: int, pause_ms: int) -> bool:
    """Whether a controller begins with ``event``, or the operator was waited for before it."""
    was_asked = event["event"] == "phase" and event.get("phase") == "lock" and idle_ms > pause_ms
    return event["event"] == "run" or was_asked
