"""Stopping on request: the first Ctrl-C lets the hosts in hand finish, the second leaves at once."""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Any

from relup_remote.deadline import NEVER, Deadline
from relup_remote.rollout.endings import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PATIENCE = 1.0
"""Seconds that the end waits until the last request has been told."""


class Stop:
    """Whether the operator wants no more. As a context manager, in the main thread, it takes the signals.

    ``requested`` counts. The second request is a KeyboardInterrupt, wherever the main thread is then. The ``deadline``
    of the command stops as the first request does.
    """

    def __init__(self, told: Callable[[int], None] = lambda count: None, deadline: Deadline = NEVER) -> None:
        """``told`` hears of each request, in a thread of its own."""
        self.requested = 0
        self._deadline = deadline
        self._told = told
        # All that a signal handler may put to is queues of this kind: whoever it interrupts may hold any lock.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._news: SimpleQueue[int | None] = SimpleQueue()
        self._all_told: SimpleQueue[None] = SimpleQueue()
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self.requested > 0 or self._deadline.is_over

    def why(self) -> Stopped:
        """What there is to raise where nothing more may be begun."""
        if self.requested:
            return Stopped("interrupted_by_operator", "The operator interrupted the run.", outcome="interrupted")
        return Stopped("out_of_time", f"The run took longer than {self._deadline.seconds:g} s.")

    def __enter__(self) -> "Stop":
        threading.Thread(target=self._tell, daemon=True).start()
        for number in SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # Each request is told before what comes of it, unless whoever hears of it is stuck.
        self._news.put(None)
        with suppress(Empty):
            self._all_told.get(timeout=PATIENCE)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until there is a request; says whether there is one."""
        if not self:
            try:
                self._wake.get(timeout=max(min(seconds, self._deadline.left), 0))
            except Empty:
                return bool(self)
        return True

    def request(self) -> None:
        """Want no more. Raises KeyboardInterrupt the second time."""
        self.requested += 1
        self._wake.put(None)
        self._news.put(self.requested)
        if self.requested > 1:
            raise KeyboardInterrupt

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.request()

    def _tell(self) -> None:
        while (count := self._news.get()) is not None:
            self._told(count)
        self._all_told.put(None)
