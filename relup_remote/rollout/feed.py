"""All that happens in a run, as one stream of events, to those who listen: the ledger, and what people see.

An event is a flat dictionary with ``event``, ``at`` (milliseconds since the epoch) and, where it is a host's, ``host``.

===============  ============================================================================================
event            with
===============  ============================================================================================
a core's own     see `relup_remote.core.protocol`; and ``host``
``run``          ``status`` (begin, resume), ``run``, ``command``, ``operator``, ``target``, ``plan`` as it holds now
``phase``        ``phase`` (survey, lock, prepare, waves, cleanup), ``hosts``
``host``         ``host``, ``phase``, ``status`` (start, end); at the end ``row``
``wave``         ``wave`` (from 1), ``waves``, ``status`` (start, done, stopped, interrupted), ``hosts``
``gate``         ``wave``, ``gate``, ``status`` (start, wait, open, closed), ``seconds``, ``message``, ``detail``
``connections``  ``host``, ``count``
``interrupt``    ``count``
``end``          ``outcome`` (see `relup_remote.rollout.endings`), ``err_type``, ``reason``, ``next``, ``detail``
===============  ============================================================================================
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

Event = dict[str, Any]

OF_CORES = ("hello", "step", "progress", "want", "note")
"""The events that are a host's to tell. Any other is the run's own word, and is believed: in the ledger above all."""

Listener = Callable[[Event], None]
"""Gets each event as it happens: from several threads, but one at a time."""


class Feed:
    """Gives events to ``listeners``, in one order for all of them.

    Who can't write any more hears no more. ``broken`` is the first such error of one that is needed.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._needed: list[Listener] = []
        self._lock = threading.Lock()
        self.broken: OSError | None = None

    def add(self, listener: Listener, *, needed: bool = False, earlier: Iterable[Event] = ()) -> None:
        """Have ``listener`` hear what is told from now on, and before that what was told ``earlier``.

        If it is ``needed``, nothing may be lost to it.
        """
        with self._lock:
            self._listeners.append(listener)
            if needed:
                self._needed.append(listener)
            for event in tuple(earlier):
                self._tell(listener, event)

    def remove(self, listener: Listener) -> None:
        """Have ``listener`` hear no more."""
        with self._lock:
            self._listeners.remove(listener)

    def tell(self, event: str, **facts: Any) -> None:
        """Tell of something."""
        self._give({"event": event, **facts})

    def watch(self, host: str, event: Event) -> None:
        """Tell what a host's core says, if it is a core's to say; `relup_remote.rollout.run.Watch`."""
        if event["event"] in OF_CORES:
            self._give({**event, "host": host})

    def _give(self, event: Event) -> None:
        with self._lock:
            # Within the lock, so that the order of events is that of their times.
            event["at"] = now()
            for listener in tuple(self._listeners):
                self._tell(listener, event)

    def _tell(self, listener: Listener, event: Event) -> None:
        if listener not in self._listeners:
            return
        try:
            listener(event)
        except OSError as error:
            self._listeners.remove(listener)
            if listener in self._needed:
                self.broken = self.broken or error


def now() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
