"""What happens, as it happens, in plain lines for people (``n1 extract ok 0.9 s``)."""

import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from relup_remote.summary.text import clean, seconds, size

INTERVAL = 2.0
"""Seconds between two lines on the same long step."""


class Progress:
    """Writes a line to ``out`` for what a host's core tells. Safe to call from several threads."""

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], float] = {}

    def __call__(self, host: str, event: dict[str, Any]) -> None:
        """Tell of ``event``, unless there is nothing to tell."""
        with self._lock:
            line = self._line(host, event)
            if line:
                self._out.write(f"{host} {clean(line)}\n")
                self._out.flush()

    def _line(self, host: str, event: dict[str, Any]) -> str:
        kind = event.get("event")
        if kind == "note":
            return str(event["message"])
        if kind == "progress":
            return self._progress(host, event)
        if kind != "step":
            return ""
        if event["status"] == "start":
            self._last[host, event["step"]] = self._clock()
            return ""
        return f"{event['step']} {event['status']} {seconds(event['seconds'])}"

    def _progress(self, host: str, event: dict[str, Any]) -> str:
        """A line if the last one on the step is some time ago; quick steps have none."""
        now = self._clock()
        key = host, event["step"]
        if now - self._last.setdefault(key, now) < INTERVAL:
            return ""
        self._last[key] = now
        if event.get("unit") == "bytes":
            return f"{event['step']} {size(event['done'])} of {size(event['total'])}"
        return f"{event['step']} {event['done']} of {event['total']} {event.get('unit') or ''}".rstrip()
