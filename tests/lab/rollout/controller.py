"""The tool with a state directory of its own, and what it writes down there."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from relup_remote.rollout import ledger
from relup_remote.rollout.feed import Event
from relup_remote.rollout.ledger import Record
from tests.lab.cluster import Tool, until
from tests.lab.preloaded import Command

PAUSE = 0.002
"""Between two looks for a line of the ledger, seconds."""


class Controller(Tool):
    """Runs `relup` on an inventory; ``state`` is its state directory."""

    def __init__(self, inventory: Path, state: Path) -> None:
        super().__init__(inventory, state)
        self._runs = state / "relup_remote" / "runs"

    @property
    def runs(self) -> list[Record]:
        """All its runs, the oldest first."""
        return ledger.runs(self._runs)

    @property
    def last(self) -> Record:
        """Its newest run, as it is now."""
        return self.runs[-1]

    @contextmanager
    def started(self, command: str, *options: str) -> Iterator[tuple[Command, Iterator[Event]]]:
        """A command that is left running, and what its run tells, as soon as it stands in the ledger.

        What it told last comes too, though the command has ended meanwhile.
        """
        before = len(self.runs)
        process = self.start(command, *options)
        try:
            yield process, self._events(process, before)
        finally:
            process.kill()
            process.wait()

    def _events(self, process: Command, before: int) -> Iterator[Event]:
        ended, written = False, None
        while written is None:
            if ended:
                return
            ended = process.poll() is not None
            written = next((path for run in self.runs[before:] if (path := run.path / "events.jsonl").exists()), None)
            time.sleep(PAUSE)
        with written.open() as file:
            line = ""
            while True:
                ended = process.poll() is not None
                line += file.readline()
                if line.endswith("\n"):
                    yield json.loads(line)
                    line = ""
                elif ended:
                    return
                else:
                    time.sleep(PAUSE)

    def await_event(self, process: Command, what: str, fits: Callable[[Event], bool], since: int = 0) -> Event:
        """The first event of the newest run that fits, its first ``since`` left out, once the command has told it.

        Fails where the command ends without it.
        """

        def look() -> Event | None:
            ended = process.poll() is not None
            found = next((event for run in self.runs[-1:] for event in run.events[since:] if fits(event)), None)
            assert found or not ended, f"ended without {what}: {process.communicate()}"
            return found

        event: Event = until(what, look, timeout=180)
        return event


def is_event(kind: str, **facts: object) -> Callable[[Event], bool]:
    """Fits events of a kind with these facts."""
    return lambda event: event["event"] == kind and all(event.get(name) == value for name, value in facts.items())


def applied(record: Record) -> list[str]:
    """The hosts on which the change was begun, in the order in which that happened."""
    return [event["host"] for event in record.events if is_event("host", phase="apply", status="start")(event)]


def gates(record: Record, status: str) -> list[tuple[int, str]]:
    """The waves and names of the gates that were told with a status, in order."""
    return [(event["wave"], event["gate"]) for event in record.events if is_event("gate", status=status)(event)]
