"""Who a host was when a command first met it. Whatever name leads to it later must lead to the same."""

import threading
from typing import Any

from relup_remote.core.protocol import Failure


class Pin:
    """The ``address`` of a host that is connected to directly, and the fingerprint of its ``key``; None is unknown.

    All connections of a command go by it: gates and post-checks as well, and those of a run that is taken up again.
    ``machine`` is what its core tells it by from others that have the same key, see `core.machine`; made of the ``id``
    alone, or of what a core has said. The host itself compares it.
    """

    def __init__(self, address: str | None = None, key: str | None = None, machine: str | None = None) -> None:
        self.address = address
        self.key = key
        self.machine: dict[str, Any] | None = {"id": machine, "boot": None} if machine else None
        self._lock = threading.Lock()

    def note(self, event: dict[str, Any]) -> None:
        """Take note of the machine that a core says hello from, the first time."""
        machine = event.get("machine") if event["event"] == "hello" else None
        with self._lock:
            if machine and (self.machine is None or self.machine["boot"] is None):
                self.machine = {**machine, "id": (self.machine or machine)["id"]}

    def meet(self, address: str | None, key: str) -> None:
        """Take note of a host, or see that it is the one that is known. Raises `Failure` (``host_changed``)."""
        with self._lock:
            if self.key is None:
                self.address, self.key = address, key
        if self.key != key:
            message = f"Another host answers: its SSH key is {key}, and was {self.key} when it was looked at."
            raise Failure("host_changed", message, detail={"key": key, "key_before": self.key, "address": address})
