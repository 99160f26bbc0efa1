"""The ledger: each run of a rollout is a folder of the controller's state directory, and outlives the controller.

::

    <state>/runs/2026-11-24T08-15-03-k3f9/     0700; $XDG_STATE_HOME/relup_remote, else ~/.local/state/relup_remote
      overview.json     the run in a few facts, once it has ended, see `relup_remote.rollout.overview`
      request.json      what the run began with, see `relup_remote.rollout.plan`; written whole, once
      events.jsonl      all events of the feed, one a line, appended
      hosts/n1.json     the last row of each host, written whole
      lock              held by the controller that works on the run

The events are the authority. A last line that a killed controller left cut short counts as not written. What is written
otherwise than here makes a run that can't be read: its `trouble` says why, and it keeps nobody from the other runs.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from relup_remote.boundary import MAYBE_TEXT, TEXT, TEXTS
from relup_remote.core.protocol import Failure
from relup_remote.files import append_private, open_private, private_folder, read_bytes, read_text, write_private
from relup_remote.rollout import traces
from relup_remote.rollout.feed import Event
from relup_remote.rollout.rows import OUTCOMES, succeeded
from relup_remote.schema import (
    COUNT,
    MOMENT,
    OBJECT,
    SIZE,
    Anything,
    Flag,
    ListOf,
    Maybe,
    NotJson,
    OneOf,
    Shape,
    Unfit,
    parsed,
)
from relup_remote.schema import Record as Fields
from relup_remote.secrets import Shell
from relup_remote.usage import UsageError

FORMAT = 1
REQUEST, EVENTS, ROWS, LOCK = "request.json", "events.jsonl", "hosts", "lock"
OVERVIEW = "overview.json"
"""What is kept of a run that has ended, with the size of its events, see `relup_remote.rollout.overview`."""

LAST = "last"
"""Stands for the newest run."""

THIN_MS = 1000
"""Between two events of progress of the same host in the ledger."""

_PASSING = ("progress", "hello", "note")
"""Events that need not outlive a crash of the machine at once."""


def runs_folder() -> Path:
    """Where runs are kept. Raises `UsageError` (``ledger_unusable``)."""
    try:
        return traces.default_folder() / "runs"
    except OSError as error:
        raise UsageError("ledger_unusable", f"there is no place for the records of runs: {error.strerror}") from error


@dataclass(frozen=True)
class Record:
    """A run as its ledger tells it."""

    path: Path
    request: Mapping[str, Any]
    unread: str | None = None
    """Why its request can't be read; None if it can."""

    @cached_property
    def trouble(self) -> str | None:
        """Why the run can't be read, or None. All of it is looked at."""
        try:
            _ = self.events
        except Unfit as unfit:
            return self.unread or f"{EVENTS}: {unfit}"
        except OSError as error:
            return self.unread or f"{EVENTS}: {error.strerror}"
        return self.unread or self._lost

    @property
    def _lost(self) -> str | None:
        """What shows that events are lost, or None. They come before what is kept of them, and are only added to."""
        kept = _size_at_end(self.path)
        try:
            size = (self.path / EVENTS).stat().st_size
        except FileNotFoundError:
            return f"it has no {EVENTS}" if kept or any((self.path / ROWS).glob("*.json")) else None
        return f"{EVENTS} has {size} bytes, and had {kept} when the run ended" if size < kept else None

    @property
    def began(self) -> int:
        """When it began, in milliseconds since the epoch; by its name where nothing else says so."""
        said = self.request.get("started_at")
        if isinstance(said, int):
            return said
        try:
            return int(datetime.strptime(self.run[:19] + "Z", "%Y-%m-%dT%H-%M-%S%z").timestamp() * 1000)
        except ValueError:
            return int(self.path.stat().st_mtime * 1000)

    @property
    def run(self) -> str:
        """Its name."""
        return self.path.name

    @cached_property
    def events(self) -> list[Event]:
        """All events, in order. Raises `Unfit`, OSError."""
        try:
            lines = read_bytes(self.path / EVENTS).split(b"\n")
        except FileNotFoundError:
            return []
        return [event for number, line in enumerate(lines, 1) if (event := _event(line, number)) is not None]

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
    def is_over(self) -> bool:
        """Whether every host is done, as the run says. Its lock may be left, and the hosts may say otherwise by now."""
        return (
            self.end is not None
            and self.end["outcome"] in ("done", "partly done")
            and all(map(succeeded, self.rows.values()))
        )

    @property
    def is_under_way(self) -> bool:
        """Whether a controller works on it."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False


def _size_at_end(path: Path) -> int:
    """How many bytes of events a run had when it ended; 0 where that was not kept."""
    try:
        said = parsed(read_bytes(path / OVERVIEW))
        Fields({"events_size": SIZE}).check(said)
    except (OSError, Unfit):
        return 0
    return int(said["events_size"])


def paths_of_runs(folder: Path | None = None) -> list[Path]:
    """What is where runs are kept. Raises `UsageError` (``ledger_unusable``)."""
    where = folder or runs_folder()
    try:
        return list(where.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError("ledger_unusable", f"the runs in {where} can't be read: {error.strerror}") from error


def runs(folder: Path | None = None) -> list[Record]:
    """All runs, the oldest first, those that can't be read among them.

    Raises `UsageError` (``ledger_unusable``).
    """
    return sorted(
        (found for path in paths_of_runs(folder) if (found := record(path)) is not None),
        key=lambda record: (record.began, record.run),
    )


def is_under_way(run: object) -> bool:
    """Whether a command on this machine works on the run of that name, which is what a host says."""
    try:
        return any(path.name == run and Record(path, {}).is_under_way for path in paths_of_runs())
    except UsageError:
        return False


def open_run(name: str, folder: Path | None = None, command: str | None = None) -> Record:
    """The run of that name, of any beginning of it that fits no other, or `LAST`; where given, of that ``command``.

    A run that can't be read may be of any command. Raises `UsageError` (``unknown_run``, ``run_unreadable``).
    """
    known = [r for r in runs(folder) if r.unread or command in (None, r.request["command"])]
    if name == LAST and known:
        return _readable(known[-1], command)
    found = [record for record in known if record.run == name] or [r for r in known if r.run.startswith(name)]
    if len(found) == 1 and name:
        return _readable(found[0], command)
    paths = [path for path in paths_of_runs(folder) if name and path.name.startswith(name) and path.is_dir()]
    if empty := [path.name for path in paths if record(path) is None]:
        raise UsageError("run_unreadable", f"the run {empty[0]} has no record: it was not begun, or its files are gone")
    what = f"{command} run" if command else "run"
    if not known:
        hint = "A run is kept for the user who began it, on that machine only. `inv upgrade` begins one."
        raise UsageError("unknown_run", f"there is no {what} yet", hint)
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
            raise UsageError("run_in_progress", f"another command on this machine works on {path.name}") from None
        except OSError as error:
            raise _unusable(path, error) from error

    @classmethod
    def create(cls, request: Mapping[str, Any], folder: Path | None = None) -> "Ledger":
        """Begin the ledger of a run with its ``request``. Raises `UsageError` (``ledger_unusable``)."""
        path = (folder or runs_folder()) / str(request["run"])
        try:
            for each in (path.parent.parent, path.parent, path, path / ROWS):
                private_folder(each)
            write_private(path / REQUEST, _text(request))
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
        self._file.write(json.dumps(event, separators=(",", ":"), default=_told) + "\n")
        self._file.flush()
        if event["event"] not in _PASSING:
            os.fsync(self._file.fileno())
        if "row" in event:
            self._keep(event["host"], event["row"])

    def _keep_what_was_told(self) -> None:
        """A controller that was killed may have told of a row without having kept it."""
        for host, row in Record(self.path, {}).rows.items():
            path = self.path / ROWS / f"{host}.json"
            if not path.exists() or read_text(path) != _text(row):
                self._keep(host, row)

    def _keep(self, host: str, row: Mapping[str, Any]) -> None:
        try:
            write_private(self.path / ROWS / f"{host}.json", _text(row))
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


_DIGEST = Fields({"file": TEXT, "sha256": TEXT})
PLAN = Fields(
    {
        "run": TEXT,
        "command": TEXT,
        "operator": TEXT,
        "started_at": MOMENT,
        "version": MAYBE_TEXT,
        "inventory": TEXT,
        "selection": TEXTS,
        "target": MAYBE_TEXT,
        "tarball": Maybe(Fields({"name": TEXT, "sha256": TEXT, "path": TEXT})),
        "hops": ListOf(_DIGEST),
        "helpers": ListOf(_DIGEST),
        "hosts": ListOf(
            Fields(
                {"host": TEXT, "address": TEXT},
                dict.fromkeys(("node", "role", "ssh_address", "ssh_key", "machine"), MAYBE_TEXT),
            )
        ),
        "waves": ListOf(TEXTS),
        "parallel": COUNT,
        "max_failures": COUNT,
        "allow_missing": Flag(),
        "gates": OBJECT,
        "options": OBJECT,
    },
    {"prepare_parallel": COUNT},
)
"""What is relied on of a plan that was written."""

ROW = Fields(
    {
        "outcome": OneOf(tuple(OUTCOMES)),
        "error": Maybe(Fields({"err_type": TEXT, "message": TEXT})),
        "facts": OBJECT,
        "steps": ListOf(Fields({"step": TEXT, "status": TEXT})),
        "problems": ListOf(OBJECT),
        "warnings": ListOf(OBJECT),
    }
)
"""What is relied on of a row; another version of relup_remote may have written it."""

_EVENTS: Mapping[str, Shape] = {
    "run": Fields(optional={"plan": PLAN, "operator": TEXT}),
    "phase": Fields({"phase": TEXT}, {"hosts": TEXTS}),
    "host": Fields({"host": TEXT, "phase": TEXT, "status": OneOf(("start", "end"))}, {"row": ROW}),
    "wave": Fields({"wave": COUNT, "status": TEXT, "hosts": TEXTS}),
    "gate": Fields({"wave": COUNT, "gate": TEXT, "status": TEXT}),
    "connections": Fields({"host": TEXT, "count": COUNT}),
    "interrupt": Fields({"count": COUNT}),
    "end": Fields({"outcome": TEXT}, {"reason": MAYBE_TEXT, "err_type": MAYBE_TEXT, "next": MAYBE_TEXT}),
}
"""What is relied on of the run's own events."""

_ANY = Fields({"event": TEXT}, {"at": MOMENT})


def _readable(record: Record, command: str | None) -> Record:
    if record.trouble:
        # Who does not ask for runs of a command wants to look, and not to resume.
        hint = (
            None if command else "Restore its folder from a copy, or move it away. `inv report RUN` shows another run."
        )
        raise UsageError("run_unreadable", f"the run {record.run} can't be read: {record.trouble}", hint)
    return record


def record(path: Path) -> Record | None:
    """The run in a folder; None where none has ever begun: its request is written before its first event."""
    try:
        request = parsed(read_bytes(path / REQUEST))
        Fields({"format": Anything()}).check(request)
        if request["format"] != FORMAT:
            raise Unfit("format", f"is {request['format']!r}, of another version of relup_remote")
        PLAN.check(request)
    except (FileNotFoundError, NotADirectoryError):
        return Record(path, {}, f"it has no {REQUEST}") if (path / EVENTS).exists() else None
    except (Unfit, OSError) as error:
        return Record(path, {}, f"{REQUEST}: {error}")
    return Record(path, masked(request))


def _event(line: bytes, number: int) -> Event | None:
    """The event in a line, which has that number; None for what a killed controller left. Raises `Unfit`."""
    place = f"line {number}"
    try:
        event = parsed(line)
    except NotJson:
        return None
    except Unfit as unfit:
        raise Unfit(place, unfit.why) from None
    if not isinstance(event, dict) or "event" not in event:
        return None
    _ANY.check(event, place)
    _EVENTS.get(event["event"], OBJECT).check(event, place)
    if event["event"] == "host" and event["status"] == "end" and "row" not in event:
        raise Unfit(f"{place}.row", "is missing")
    return {**event, "plan": masked(event["plan"])} if "plan" in event else event


def _locked(path: Path) -> int:
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _appending(path: Path) -> TextIO:
    file = append_private(path)
    size = os.fstat(file.fileno()).st_size
    # What a killed controller left of its last line must not become a part of ours.
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        file.write("\n")
    return file


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, default=_told) + "\n"


def _told(value: object) -> str:
    """What JSON has no form for. The ledger alone holds what others see masked: a run is taken up with it."""
    return value.text if isinstance(value, Shell) else str(value)


def masked(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan that was read, with what may hold a secret as a type that does not show it."""
    gates = dict(plan["gates"])
    if isinstance(gates.get("command"), str):
        gates["command"] = Shell(gates["command"])
    return {**plan, "gates": gates}


def _unusable(path: Path, error: Exception) -> UsageError:
    return UsageError("ledger_unusable", f"the record {path} can't be written: {error}")
