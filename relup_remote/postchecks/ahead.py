"""Asking all hosts at the same time for what the checks of this package want to know, ahead of the checks."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from relup_remote.deadline import Deadline
from relup_remote.inventory import HostSettings
from relup_remote.postchecks.node import Known, look_at
from relup_remote.postchecks.ssh import too_late
from relup_remote.rollout.run import AT_ONCE


class Ahead:
    """Looks at ``hosts`` from when it is made, in order, `AT_ONCE` of them at a time. ``target`` is as in `Node`."""

    def __init__(self, hosts: Sequence[HostSettings], target: str | None, deadline: Deadline) -> None:
        self._target = target
        self._deadline = deadline
        self._found: dict[str, Future[Known]] = {host.name: Future() for host in hosts}
        self._waiting = deque(hosts)
        for _ in range(min(AT_ONCE, len(hosts))):
            # Daemons: after an interruption nobody waits for a host that does not answer.
            threading.Thread(target=self._work, daemon=True).start()

    def known(self, host: str) -> Known | None:
        """What is known of a host, once it has been looked at; None for one that nobody looks at.

        Raises what looking at it came to: `Failure` as `look_at`.
        """
        if host not in self._found:
            return None
        try:
            return self._found[host].result(self._deadline.left)
        except TimeoutError:
            if self._deadline.is_over:
                raise too_late(self._deadline) from None
            raise

    def stop(self) -> None:
        """Look at no more hosts."""
        self._waiting.clear()

    def _work(self) -> None:
        with suppress(IndexError):
            while True:
                host = self._waiting.popleft()
                found = self._found[host.name]
                try:
                    with look_at(host, self._target, self._deadline) as node:
                        found.set_result(node.look_ahead())
                except Exception as error:
                    found.set_exception(error)
