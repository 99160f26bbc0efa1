"""One way to limit how long something may take: each wait of the controller asks a deadline, or has its own limit."""

import time
from collections.abc import Callable


class Deadline:
    """A moment, so many ``seconds`` from now, after which no more is waited."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; 0 once it is over."""
        return max(self._end - self._clock(), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether it is over."""
        return self.left == 0

    def within(self, seconds: float) -> float:
        """``seconds``, or what is left if that is less. Raises TimeoutError once it is over."""
        if self.is_over:
            raise TimeoutError
        return min(seconds, self.left)


NEVER = Deadline(10**9)
"""More seconds than anybody waits."""
