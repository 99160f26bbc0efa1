"""Who a host was when a command first met it. Whatever name leads to it later must lead to the same."""

import threading

from relup_remote.core.protocol import Failure


class Pin:
    """The ``address`` of a host that is connected to directly, and the fingerprint of its ``key``; None is unknown.

    All connections of a command go by it: gates and post-checks as well, and those of a run that is taken up again.
    """

    def __init__(self, address: str | None = None, key: str | None = None) -> None:
        self.address = address
        self.key = key
        self._lock = threading.Lock()

    def meet(self, address: str | None, key: str) -> None:
        """Take note of a host, or see that it is the one that is known. Raises `Failure` (``host_changed``)."""
        with self._lock:
            if self.key is None:
                self.address, self.key = address, key
        if self.key != key:
            message = f"Another host answers: its SSH key is {key}, and was {self.key} when it was looked at."
            raise Failure("host_changed", message, detail={"key": key, "key_before": self.key, "address": address})
