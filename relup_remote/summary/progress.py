"""What happens, as it happens, in plain lines for people (``n1 extract ok 0.9 s``)."""

from collections.abc import Sequence
from typing import Any, TextIO

from relup_remote.rollout.feed import Event
from relup_remote.rollout.rows import OUTCOMES
from relup_remote.summary.layout import folded
from relup_remote.summary.text import LONGEST, clean, columns, seconds, size

INTERVAL_MS = 2000
"""Milliseconds between two lines on the same long step."""

WAIT_MS = 15000
"""Milliseconds between two lines on a gate that waits for the same thing."""

INTERRUPTED = "interrupted: hosts in hand are finished, no more start; Ctrl-C again: leave now"
LEAVING = "interrupted again: leaving now; what has started on hosts may go on there"


class Lines:
    """A listener that writes a line to ``out`` for what a feed tells."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: dict[tuple[str, str], int] = {}
        self._waits_for = ""

    def __call__(self, event: Event) -> None:
        """Tell of ``event``, unless there is nothing to tell."""
        line = sentence(event) or self._thinned(event)
        if line:
            self._out.write(f"{folded(clean(line), columns(self._out) or LONGEST)}\n")
            self._out.flush()

    def pause(self) -> None:
        """Lines are in nobody's way."""

    def _thinned(self, event: Event) -> str:
        """Of what goes on for long, a line now and then."""
        match event["event"]:
            case "step" if event["status"] == "start":
                self._last[event["host"], event["step"]] = event["at"]
            case "progress" if self._is_time(event["host"], event["step"], event["at"], INTERVAL_MS):
                return f"{event['host']} {event['step']} {amount(event)}"
            case "gate" if event["status"] == "wait":
                return self._waiting(event)
        return ""

    def _waiting(self, event: Event) -> str:
        line = f"gate {event['gate']} waits: {event.get('message') or 'not open yet'}"
        if not self._is_time("", event["gate"], event["at"], WAIT_MS if line == self._waits_for else INTERVAL_MS):
            return ""
        self._waits_for = line
        return line

    def _is_time(self, host: str, what: str, at: int, interval: int) -> bool:
        """Whether the last line on something is some time ago; what is quick has none."""
        if at - self._last.setdefault((host, what), at) < interval:
            return False
        self._last[host, what] = at
        return True


def sentence(event: Event) -> str:
    """What there is to say of an event once and for all; empty for one that begins something, or goes on with it."""
    match event["event"]:
        case "note":
            return f"{event['host']} {event['message']}" if event.get("host") else str(event["message"])
        case "step" if event["status"] != "start":
            return f"{event['host']} {event['step']} {event['status']} {seconds(event['seconds'])}"
        case "run":
            goes_on = " resumed" if event["status"] == "resume" else ""
            target = f" to {event['target']}" if event.get("target") else ""
            return f"run {event['run']}{goes_on}: {event['command']}{target}"
        case "phase" if event["phase"] != "waves":
            return f"{event['phase']}: {hosts(event.get('hosts', ()))}"
        case "wave":
            which = f"wave {event['wave']} of {event['waves']}"
            return f"{which}: {hosts(event['hosts'])}" if event["status"] == "start" else f"{which} {event['status']}"
        case "gate" if event["status"] in ("open", "closed"):
            said = f": {event['message']}" if event.get("message") else ""
            return f"gate {event['gate']} {event['status']} {seconds(event.get('seconds') or 0)}{said}"
        case "host" if event["status"] == "end":
            return _ended(event["host"], event["phase"], event["row"])
        case "interrupt":
            return INTERRUPTED if event["count"] == 1 else LEAVING
    return ""


def is_story(event: Event) -> bool:
    """Whether the sentence on an event belongs to what is read afterwards: all but the steps, which a table shows."""
    return bool(event["event"] != "step" and sentence(event))


def amount(event: Event) -> str:
    """How far a step is: ``4.0 MB of 71 MB``, ``3 of 12 instructions``."""
    if event.get("unit") == "bytes":
        return f"{size(event['done'])} of {size(event['total'])}"
    return f"{event['done']} of {event['total']} {event.get('unit') or ''}".rstrip()


def hosts(names: Sequence[str], most: int = 8) -> str:
    """Hosts by their names; of more than ``most`` their number."""
    return ", ".join(names) if len(names) <= most else f"{len(names)} hosts"


def _ended(host: str, phase: str, row: dict[str, Any]) -> str:
    """How a host ended: always if it was its turn to be changed, else only if not well."""
    if phase != "apply" and OUTCOMES.get(row["outcome"], 1) == 0:
        return ""
    why = f", {row['error']['err_type']}" if row.get("error") else ""
    return f"{host} {row['outcome']}{why} {seconds(row.get('seconds') or 0)}"
