"""The ledger: each run of a rollout is a folder of the controller's state directory, and outlives the controller.

::

    <state>/runs/2026-11-24T08-15-03-k3f9/     0700; $XDG_STATE_HOME/relup_remote, else ~/.local/state/relup_remote
      request.json      what the run began with, see `relup_remote.rollout.plan`; written whole, once
      events.jsonl      all events of the feed, one a line, appended
      hosts/n1.json     the last row of each host, written whole
      lock              held by the controller that works on the run

The events are the authority. A last line that a killed controller left cut short counts as not written.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from relup_remote.core.files import private_dir, write_whole
from relup_remote.core.protocol import Failure
from relup_remote.rollout import traces
from relup_remote.rollout.feed import Event
from relup_remote.usage import UsageError

FORMAT = 1
REQUEST, EVENTS, ROWS, LOCK = "request.json", "events.jsonl", "hosts", "lock"
LAST = "last"
"""Stands for the newest run."""

THIN_MS = 1000
"""Between two events of progress of the same host in the ledger."""

_PASSING = ("progress", "hello", "note")
"""Events that need not outlive a crash of the machine at once."""


def runs_folder() -> Path:
    """Where runs are kept."""
    return traces.default_folder() / "runs"


@dataclass(frozen=True)
class Record:
    """A run as its ledger tells it."""

    path: Path
    request: Mapping[str, Any]

    @property
    def run(self) -> str:
        """Its name."""
        return self.path.name

    @cached_property
    def events(self) -> list[Event]:
        """All events, in order."""
        try:
            lines = (self.path / EVENTS).read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        return [event for line in lines if (event := _event(line)) is not None]

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """What it goes by: the request, or what that became when it was last taken up."""
        begun = [event["plan"] for event in self.events if event["event"] == "run" and "plan" in event]
        return begun[-1] if begun else self.request

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The last row of each host, in the order in which hosts came."""
        ends = [event for event in self.events if event["event"] == "host" and event["status"] == "end"]
        return {event["host"]: event["row"] for event in ends}

    @cached_property
    def end(self) -> Event | None:
        """How it ended, or None: it is under way, or its controller died."""
        last = next((event for event in reversed(self.events) if event["event"] in ("end", "run")), None)
        return last if last is not None and last["event"] == "end" else None

    @property
    def is_under_way(self) -> bool:
        """Whether a controller works on it."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


def runs(folder: Path | None = None) -> list[Record]:
    """All runs, the oldest first. A folder without a whole request is none."""
    try:
        paths = list((folder or runs_folder()).iterdir())
    except OSError:
        return []
    return sorted((record for path in paths if (record := _record(path)) is not None), key=_age)


def open_run(name: str, folder: Path | None = None, command: str | None = None) -> Record:
    """The run of that name, of any beginning of it that fits no other, or `LAST`; where given, of that ``command``.

    Raises `UsageError` (``unknown_run``).
    """
    known = [record for record in runs(folder) if command in (None, record.request.get("command"))]
    if name == LAST and known:
        return known[-1]
    found = [record for record in known if record.run == name] or [r for r in known if r.run.startswith(name)]
    if len(found) == 1 and name:
        return found[0]
    what = f"run of {command}" if command else "run"
    if not known:
        raise UsageError("unknown_run", f"there is no {what} yet")
    there = ", ".join(record.run for record in known[-5:])
    begins = f"several {what}s begin" if found else f"no {what} begins"
    raise UsageError("unknown_run", f"{begins} with {name!r}; the last ones: {there}")


class Ledger:
    """Writes a run down, as a listener of its feed and as a context manager. Only one controller can hold a run."""

    def __init__(self, path: Path) -> None:
        """``path`` is the run's folder. Raises `UsageError` (``run_in_progress``, ``ledger_unusable``)."""
        self.path = path
        self._thinned: dict[str, int] = {}
        try:
            self._lock = _locked(path / LOCK)
            self._file = _appending(path / EVENTS)
            self._keep_what_was_told()
        except BlockingIOError:
            raise UsageError("run_in_progress", f"another controller on this machine works on {path.name}") from None
        except OSError as error:
            raise _unusable(path, error) from error

    @classmethod
    def create(cls, request: Mapping[str, Any], folder: Path | None = None) -> "Ledger":
        """Begin the ledger of a run with its ``request``. Raises `UsageError` (``ledger_unusable``)."""
        path = (folder or runs_folder()) / str(request["run"])
        try:
            path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (path.parent.parent, path.parent, path, path / ROWS):
                private_dir(str(each))
            write_whole(str(path / REQUEST), _text(request).encode())
        except (OSError, Failure) as error:
            raise _unusable(path, error) from error
        return cls(path)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the run. Safe to repeat."""
        # What the disk had no room for has been told of when it was written.
        with suppress(OSError):
            self._file.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __call__(self, event: Event) -> None:
        """Write an event down. Raises OSError."""
        if self._file.closed or self._is_thinned(event):
            return
        self._file.write(json.dumps(event, separators=(",", ":"), default=str) + "\n")
        self._file.flush()
        if event["event"] not in _PASSING:
            os.fsync(self._file.fileno())
        if "row" in event:
            self._keep(event["host"], event["row"])

    def _keep_what_was_told(self) -> None:
        """A controller that was killed may have told of a row without having kept it."""
        for host, row in Record(self.path, {}).rows.items():
            path = self.path / ROWS / f"{host}.json"
            if not path.exists() or path.read_text() != _text(row):
                self._keep(host, row)

    def _keep(self, host: str, row: Mapping[str, Any]) -> None:
        try:
            write_whole(str(self.path / ROWS / f"{host}.json"), _text(row).encode())
        except Failure as failure:
            raise OSError(failure.message) from failure

    def _is_thinned(self, event: Event) -> bool:
        if event["event"] != "progress":
            return False
        host, at = event["host"], event["at"]
        if at - self._thinned.get(host, 0) < THIN_MS:
            return True
        self._thinned[host] = at
        return False


def _age(record: Record) -> tuple[int, str]:
    # Names tell seconds only.
    began = record.request.get("started_at")
    return (began if isinstance(began, int) else 0, record.run)


def _record(path: Path) -> Record | None:
    try:
        request = json.loads((path / REQUEST).read_bytes())
    except (OSError, ValueError):
        return None
    return Record(path, request) if isinstance(request, dict) and request.get("format") == FORMAT else None


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _appending(path: Path) -> TextIO:
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "a", encoding="utf-8")
    size = os.fstat(file.fileno()).st_size
    # What a killed controller left of its last line must not become a part of ours.
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        file.write("\n")
    return file


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, default=str) + "\n"


def _unusable(path: Path, error: Exception) -> UsageError:
    return UsageError("ledger_unusable", f"the ledger {path} can't be written: {error}")
