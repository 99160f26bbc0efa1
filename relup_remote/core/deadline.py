"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the time in which a request has to be done.

A core ends by itself when its time is over, whatever it waits for: nobody may be there any more to end it, and it holds
the node's lock. What must not be cut is finished first.
"""

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from .protocol import Failure

SILENCE = 60.0
"""Seconds for which the controller may send nothing where it has to send something."""

AGAIN = 30.0
"""Seconds after which the time is up once more, for those who do not end by being told once."""

STARTING = 300
"""Seconds in which core and request must have arrived (the launcher sets it), and the result must have left."""


class TimeIsUp(BaseException):
    """Raised in the main thread, wherever it is. It is no error of anything that could be caught there."""


class Deadline:
    """The time of one request, in `seconds` from `start`; None is without end. Only a main thread can be told."""

    def __init__(self, seconds: Optional[float] = None) -> None:
        self.seconds = seconds
        self.is_over = False
        self._whole = 0
        self._listening = False
        self._can_tell = False

    def start(self) -> None:
        """Begins to count. Whatever alarm was set before is off."""
        self._can_tell = threading.current_thread() is threading.main_thread()
        if self._can_tell:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self.seconds or 0, AGAIN)

    def stop(self) -> None:
        """Counts no more."""
        if self._can_tell:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def check(self) -> None:
        """Raises `TimeIsUp` if it is."""
        if self.is_over and not self._whole:
            raise TimeIsUp

    @contextmanager
    def holding(self) -> Iterator[None]:
        """A block that is not cut; `check` after it says whether the time was over meanwhile."""
        self._whole += 1
        try:
            yield
        finally:
            self._whole -= 1

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """A wait for the controller. Raises `Failure` connection_lost where it is silent for too long."""
        if not self._can_tell or self.is_over:
            yield
            return
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        limit = min(left or SILENCE, SILENCE)
        self._listening = limit == SILENCE
        signal.setitimer(signal.ITIMER_REAL, limit, AGAIN)
        try:
            yield
        finally:
            rest, _ = signal.getitimer(signal.ITIMER_REAL)
            self._listening = False
            passed = limit - min(rest, limit)
            signal.setitimer(signal.ITIMER_REAL, max(left - passed, 0.001) if left else 0, AGAIN)

    def _ring(self, _number: int, _frame: Any) -> None:
        if self._listening:
            raise Failure("connection_lost", "The operator's machine sent nothing for {:g} s.".format(SILENCE))
        self.is_over = True
        self.check()
