"""Bringing requests to hosts and rows back: one host after the other, or all at once.

Whatever happens on a host becomes its row; nothing a host does keeps the others' rows from being shown.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol

from relup_remote.boundary import LONGEST_LINE, MOST_STEPS
from relup_remote.core.protocol import Failure
from relup_remote.deadline import NEVER, Deadline
from relup_remote.inventory import HostSettings
from relup_remote.pins import Pin
from relup_remote.rollout import traces
from relup_remote.rollout.endings import ROLLOUT_ERRORS, Ending
from relup_remote.rollout.request import Request
from relup_remote.rollout.rows import UNKNOWN, Row, Step, of_failure, of_result, skipped, succeeded

AT_ONCE = 16
"""Hosts asked at the same time by a command that changes nothing."""

TURN = 1.0
"""Seconds after which a signal is noticed at the latest."""

GRACE = 60.0
"""Seconds after which a host is given up that should have been given up by what asks it."""

ALWAYS = ("unlock",)
"""Commands that are sent also when the time is over: what they give back would outlive it."""

IN_FLIGHT = 256 << 20
"""Bytes of files that hosts in hand may lack: more transfers at once would only share the same line, and end later."""

MAY_GO_ON = ("stage", "prepare", "upgrade", "rollback", "cleanup")
"""Commands of a run that change a host, so that it matters whether they may still be at work there."""

AGAIN = "Run the same command again for the hosts that are not done."
"""What to do after a command that the operator interrupted, and that is no run."""

INTERRUPTED = "Interrupted by the operator. What had started on the host may go on there."

NOT_BEGUN = "the operator interrupted the command"

RESUME = "Resume the run: it waits for what goes on there."
"""What to do where a run was not heard to the end on a host: nobody else is let in there."""

LOST = {
    "backup": "Run the backup again. The node ends this one within a minute, and the next one removes its files.",
    "restore": "See `inv status`. `inv restore` finishes a restore that was cut off; do not start the node before.",
    "rollback": "See `inv status`, then run the same command again: it goes on from what it finds.",
    **dict.fromkeys(
        ("stage", "prepare", "cleanup", "logs-clear"),
        "Run the same command again: it can be repeated.",
    ),
    "lock": "`inv unlock` removes your lock, if the host has it.",
    "unlock": "`inv unlock` can be repeated.",
    **dict.fromkeys(
        ("status", "plan", "verify", "logs", "backups", "backup-verify"),
        "Run the same command again: it changes no node.",
    ),
}
"""What to do where the connection was lost in the middle of a command that is no run."""


def interrupted(rows: Sequence[Row], *, at_once: bool) -> Ending:
    """The ending of a command that is no run and that the operator interrupted; ``at_once`` where he left at once."""
    if at_once:
        left = [row["host"] for row in rows if row["error"] and row["error"]["message"] == INTERRUPTED]
        goes_on = f"Hosts that had started go on: {', '.join(left)}." if left else "No host was being changed."
        reason = f"The operator left at once. {goes_on}"
    else:
        are_skipped = any(row["outcome"] == "skipped" for row in rows)
        rest = "No more hosts were started." if are_skipped else "All hosts had started and were finished."
        reason = f"The operator interrupted the command. {rest}"
    return Ending("interrupted", "interrupted_by_operator", reason)


class Session(Protocol):
    """A connection to one host, as `relup_remote.host.Host` is."""

    def __enter__(self) -> "Session": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def run(self, request: Request, tarball: Path | None, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Have the core carry out the request; returns its ``result`` event. Raises `Failure`."""


Connect = Callable[[HostSettings], Session]
Watch = Callable[[str, dict[str, Any]], None]
"""Gets a host's name and each event of its core, as it happens; called from several threads."""


def ignore(_host: str, _event: dict[str, Any]) -> None:
    """A watch that does not look."""


@dataclass(frozen=True)
class Job:
    """A request for a host, and the file that it may ask for; ``bytes`` of it are what the host lacks, if known.

    ``is_of_run`` says that the request belongs to a run that can be resumed.
    """

    host: HostSettings
    request: Request
    tarball: Path | None = None
    bytes: int = 0
    is_of_run: bool = False


class Heard:
    """What a core tells of its steps, for the row of a host that is lost before the core's result.

    It holds no more than a result may: one line's worth of steps.
    """

    def __init__(self) -> None:
        self._ended: list[Step] = []
        self._room = LONGEST_LINE
        self._in_hand: tuple[str, float] | None = None

    def note(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the core's."""
        if event["event"] != "step":
            return
        if event["status"] == "start":
            self._in_hand = event["step"], time.monotonic()
            return
        self._in_hand = None
        told = {key: event[key] for key in ("step", "status")}
        ended = {**told, "seconds": event.get("seconds", 0.0), "detail": event.get("detail", {})}
        self._room -= len(json.dumps(ended))
        if len(self._ended) < MOST_STEPS and self._room >= 0:
            self._ended.append(ended)

    @property
    def in_hand(self) -> str | None:
        """The step that has begun and not ended."""
        return self._in_hand[0] if self._in_hand else None

    def steps(self) -> list[Step]:
        """The steps so far, as a result has them; the one in hand is `UNKNOWN`."""
        if self._in_hand is None:
            return list(self._ended)
        name, began = self._in_hand
        seconds = round(time.monotonic() - began, 4)
        return [*self._ended, {"step": name, "status": UNKNOWN, "seconds": seconds, "detail": {}}]


class Runner:
    """Carries out jobs.

    ``connect`` makes a host's session; ``watch`` sees all events; ``traces_folder`` is where unforeseen errors are
    written down, see `traces`. No request has more time than is left of the ``deadline`` of all of them.
    """

    def __init__(
        self,
        connect: Connect,
        watch: Watch = ignore,
        traces_folder: Path | None = None,
        deadline: Deadline = NEVER,
    ) -> None:
        self._connect = connect
        self.deadline = deadline
        self._watch = watch
        self._traces = traces_folder
        self._heard: dict[str, Heard] = {}
        self.unheard: set[str] = set()
        """Hosts on which what a run has begun may go on: their core was asked, and not heard to its end."""

    def one(self, job: Job, lacks: Callable[[int], None] = lambda size: None) -> Row:
        """The row of one job; ``lacks`` is told how many bytes the host still lacks. An interruption passes."""
        started = time.monotonic()
        name = job.host.name
        has_core = False
        heard = self._heard[name] = Heard()
        try:
            pin = job.host.pin or Pin()
            request = {**self._in_time(job.request), "machine": pin.machine}

            def watch(event: dict[str, Any]) -> None:
                nonlocal has_core
                has_core = True
                pin.note(event)
                heard.note(event)
                lacking = _lacking(event)
                if lacking is not None:
                    lacks(lacking)
                self._watch(name, event)

            with self._connect(job.host) as session:
                self._begins(job)
                event = session.run(request, job.tarball, watch)
            self._ends(job, event["error"])
            return of_result(name, event, time.monotonic() - started)
        except Failure as failure:
            failure.stage = failure.stage or "connect"
            if failure.err_type in ("core_failed", "no_shell") and not has_core:
                # None was started.
                self._ends(job)
            if job.is_of_run and name in self.unheard:
                failure.hint = RESUME
            elif failure.err_type == "connection_lost":
                failure.hint = LOST.get(job.request["command"], failure.hint)
            return self._lost(name, failure, time.monotonic() - started)
        except Exception as error:
            return self._lost(name, self._unforeseen(error, job), time.monotonic() - started)

    def _lost(self, name: str, failure: Failure, seconds: float = 0.0) -> Row:
        """The row of a host whose core was not heard to its result, with what it told until then."""
        heard = self._heard.get(name) or Heard()
        if heard.in_hand:
            failure.detail = {**failure.detail, "step": heard.in_hand}
        return of_failure(name, failure, seconds=seconds, steps=heard.steps())

    def _begins(self, job: Job) -> None:
        if job.request["command"] in MAY_GO_ON:
            self.unheard.add(job.host.name)

    def _ends(self, job: Job, error: dict[str, Any] | None = None) -> None:
        if job.request["command"] in MAY_GO_ON and not _goes_on(error, job.request["run"]):
            self.unheard.discard(job.host.name)

    def _in_time(self, request: Request) -> Request:
        """The request with the time that is left for it. Raises `Failure` (``deadline_exceeded``) if there is none."""
        if request["command"] in ALWAYS:
            return request
        if self.deadline.is_over:
            message = f"The command took longer than {self.deadline.seconds:g} s; this host was not started."
            raise Failure("deadline_exceeded", message, stage=request["command"])
        return {**request, "deadline": min(request["deadline"], self.deadline.left)}

    def in_turn(self, jobs: Sequence[Job], may_begin: Callable[[], bool] = lambda: True) -> list[Row]:
        """The rows of ``jobs``, done in order; the first that keeps others from going on is the last that is done.

        Before each one ``may_begin`` is asked. A `KeyboardInterrupt` ends the host in hand, which gets a row that says
        so, and skips the others.
        """
        rows: list[Row] = []
        reason = NOT_BEGUN
        try:
            for job in jobs:
                if not may_begin():
                    break
                rows.append(self.one(job))
                if not succeeded(rows[-1]):
                    reason = f"{rows[-1]['host']} was not done"
                    break
        except KeyboardInterrupt:
            rows += [self.interrupted(job) for job in jobs[len(rows) : len(rows) + 1]]
        return rows + [skipped(job.host.name, reason) for job in jobs[len(rows) :]]

    def at_once(
        self, jobs: Sequence[Job], limit: int = AT_ONCE, may_begin: Callable[[], bool] = lambda: True
    ) -> list[Row]:
        """The rows of ``jobs``, in order, ``limit`` of them done at a time, whatever becomes of any of them.

        Before each one ``may_begin`` is asked. A `KeyboardInterrupt` ends those in hand, which get rows that say so,
        and skips those that were not begun.
        """
        rows: dict[str, Row] = {}
        begun: set[str] = set()
        try:
            rows.update(
                (row["host"], row)
                for row in self.as_done(jobs, limit, may_begin, begins=lambda job: begun.add(_name(job)))
            )
        except KeyboardInterrupt:
            rows.update((_name(job), self.interrupted(job)) for job in jobs if _name(job) in begun - rows.keys())
        return [rows.get(_name(job)) or skipped(_name(job), NOT_BEGUN) for job in jobs]

    def as_done(
        self,
        jobs: Sequence[Job],
        limit: int,
        may_begin: Callable[[], bool] = lambda: True,
        begins: Callable[[Job], None] = lambda job: None,
    ) -> Iterator[Row]:
        """The rows of ``jobs`` as they end, at most ``limit`` of them in hand, nor more to send than `IN_FLIGHT`.

        Before each one ``may_begin`` is asked; once it says no, those in hand are the last. ``begins`` is told of each.
        """
        waiting = deque(jobs)
        in_hand: dict[str, tuple[Job, Deadline]] = {}
        # The bytes that hosts may still be sent. One that was given up is among them until it ends after all.
        on_line: dict[str, int] = {}
        told: SimpleQueue[tuple[str, Row | int]] = SimpleQueue()
        while True:
            while len(in_hand) < limit and (job := _next_of(waiting, sum(on_line.values()))) and may_begin():
                waiting.remove(job)
                # What it told of in an earlier request is not of this one.
                self._heard.pop(_name(job), None)
                begins(job)
                # Daemons: after an interruption nobody waits for a host that does not answer.
                threading.Thread(target=self._put, args=(job, told), daemon=True).start()
                in_hand[_name(job)] = job, Deadline(job.request["deadline"] + GRACE)
                on_line[_name(job)] = job.bytes
            if not in_hand:
                if not on_line:
                    return
                # Those that were given up keep nobody waiting for ever.
                on_line.clear()
                continue
            try:
                # In turns: a signal that comes just before a wait would be noticed only after it.
                name, row = told.get(timeout=TURN)
            except Empty:
                name, row = self._overdue(in_hand.values())
            else:
                on_line.pop(name, None)
            if isinstance(row, int):
                # The host has the file, or lacks more than it seemed to.
                if row:
                    on_line[name] = row
            # One that was given up may come to its end after all.
            elif in_hand.pop(name, None):
                yield row

    def _overdue(self, in_hand: Iterable[tuple[Job, Deadline]]) -> tuple[str, Row | int]:
        """A host that is given up, with its row, if there is one."""
        for job, deadline in in_hand:
            if deadline.is_over:
                # It may still be connecting, and begin after all.
                self._begins(job)
                return _name(job), self._given_up(job, deadline.seconds)
        return "", 0

    def _given_up(self, job: Job, seconds: float) -> Row:
        message = f"The host did not finish within {seconds:g} s. The command no longer waits for it."
        hint = RESUME if job.is_of_run else None
        failure = Failure("deadline_exceeded", message, stage=job.request["command"], hint=hint)
        return self._lost(job.host.name, failure, seconds)

    def interrupted(self, job: Job) -> Row:
        """The row of a host that was left while it was in hand."""
        command = job.request["command"]
        hint = ROLLOUT_ERRORS["interrupted_by_operator"].hint if job.is_of_run else LOST.get(command)
        failure = Failure("connection_lost", INTERRUPTED, stage=command, hint=hint)
        return self._lost(job.host.name, failure)

    def _put(self, job: Job, told: "SimpleQueue[tuple[str, Row | int]]") -> None:
        """Tell of the job's row, and before that of the bytes that the host still lacks, whenever it is known."""
        told.put((_name(job), self.one(job, lambda size: told.put((_name(job), size)))))

    def _unforeseen(self, error: Exception, job: Job) -> Failure:
        command = job.request["command"]
        return traces.internal_error(error, f"{job.request['run']}-{job.host.name}", command, self._traces)


def _name(job: Job) -> str:
    return job.host.name


def _lacking(event: Mapping[str, Any]) -> int | None:
    """The bytes of the file that a core tells it still lacks: those that it wants, none where it has all of them.

    What it has by its size may be another file. Then it wants all of it after that.
    """
    match event["event"]:
        case "want":
            return int(event["bytes"])
        case "has":
            return 0
        case "progress" if event["step"] == "stage" and event["done"] >= event["total"]:
            return 0
        case "step" if event["step"] == "stage" and event["status"] != "start":
            return 0
    return None


def _next_of(waiting: Iterable[Job], taken: int) -> Job | None:
    """The first job for which there is room on the line; one may be larger than that, and then goes alone."""
    return next((job for job in waiting if not (job.bytes and taken) or taken + job.bytes <= IN_FLIGHT), None)


def _goes_on(error: dict[str, Any] | None, run: str) -> bool:
    """Whether a core says that what was begun goes on without it: by a hop in the VM, or an earlier core of the run."""
    if error is None or error["err_type"] != "upgrade_in_progress":
        return error is not None and error["err_type"] == "hop_timeout"
    return error["detail"].get("run") in (None, run)
