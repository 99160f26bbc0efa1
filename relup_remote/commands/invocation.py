"""One invocation of a command: its hosts, its run, its output, its exit status.

stdout gets the tables, or with ``--json`` the one document; all else goes to stderr. Exit statuses: 0 all fine, 1
something failed on a host, 2 wrong use, 3 refused before any change.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from invoke.exceptions import Exit

from relup_remote import inventory
from relup_remote.commands import limits, passwords, reaching
from relup_remote.core.protocol import Failure
from relup_remote.deadline import Deadline
from relup_remote.files import expanded
from relup_remote.inventory import HostSettings
from relup_remote.pins import Pin
from relup_remote.program import typed
from relup_remote.rollout import ledger, tarball, traces
from relup_remote.rollout import rows as host_rows
from relup_remote.rollout.endings import ROLLOUT_ERRORS, Ending
from relup_remote.rollout.feed import Event, Feed
from relup_remote.rollout.identity import operator, run_id
from relup_remote.rollout.ledger import Record
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import AGAIN, AT_ONCE, LOST, Job, Runner, Session, Watch, interrupted
from relup_remote.rollout.stop import Stop
from relup_remote.rollout.tarball import Tarball
from relup_remote.summary import json as documents
from relup_remote.summary import report
from relup_remote.summary.boot import boot
from relup_remote.summary.ending import ended
from relup_remote.summary.layout import folded
from relup_remote.summary.recovered import recovered
from relup_remote.summary.screen import Display, Silent, listener
from relup_remote.summary.text import clean, columns, within
from relup_remote.usage import Interrupted, UsageError

KEPT = ("backup", "restore", "lock")
"""Commands whose run is known by its name later on, beside those with a ledger: in `backup.list`, `logs`, `status`."""

Table = Callable[[Sequence[Row]], str]


class Invocation:
    """A command being carried out, as a context manager: what it raises and what its rows say is its exit status.

    ``command`` is its name, the rest its options of the same names.
    """

    def __init__(
        self,
        command: str,
        host: Sequence[str] | None,
        inventory: str,
        json: bool,
        quiet: bool,
        events: bool = False,
    ) -> None:
        self.command = command
        self.run = run_id()
        self.is_known = command in KEPT
        """Whether another command knows the run by its name; only then the document tells it."""
        self.may_have_changed = False
        """Whether a change of hosts has begun."""
        self.is_done = False
        """Whether the run that is taken up has ended as ``done``, as its record says: no host and no lock is left."""
        self._is_told = False
        self._selectors = host or ()
        self._inventory = inventory
        self._json = json
        self._quiet = quiet
        self._events = events
        self._status = 0
        self._interrupts = 0
        self._stop: Stop | None = None
        self._pins: dict[str, Pin] = {}
        self._screen = ExitStack()
        self._display: Display = Silent()

    def __enter__(self) -> "Invocation":
        try:
            self._screen.enter_context(within(columns(sys.stdout)))
            self._display = self._screen.enter_context(listener(sys.stderr, quiet=self._quiet, live=not self._events))
            # It is counted from here.
            _ = self.deadline
        except (UsageError, KeyboardInterrupt) as error:
            self.__exit__(type(error), error, None)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._screen.close()
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted(may_be_changed=self.may_have_changed)
        if isinstance(error, UsageError):
            self._complain(error)
            raise Exit(code=error.exit_status) from None
        if isinstance(error, Exception):
            self._apologize(traces.internal_error(error, self.run, self.command))
            raise Exit(code=1) from None
        if error is None and self._status:
            raise Exit(code=self._status)

    @cached_property
    def selected(self) -> list[HostSettings]:
        """The hosts that are meant, as the inventory has them. Raises `UsageError`."""
        found = inventory.load(self.inventory_path, reaching.may_run_inventory())
        for note in found.notes:
            # Before a selection that means nothing: a host may be left out for a reason.
            self.note(note)
        return found.select(self._selectors)

    @cached_property
    def hosts(self) -> list[HostSettings]:
        """The hosts that are meant, with the passwords for them. Raises `UsageError`."""
        meant = self.selected
        self.clear()
        # A wrong option is told before anything is asked for.
        shared: dict[str, Any] = {**reaching.transport(), "ways": self._screen.enter_context(reaching.ways())}
        shared["secrets"] = passwords.ask()
        return [replace(host, **shared, pin=self._pins.get(host.name) or Pin()) for host in meant]

    def goes_to_no_host(self) -> None:
        """Takes no wrong hosts or inventory all the same, as every command. Raises `UsageError`."""
        if self._selectors or self._inventory:
            _ = self.selected

    @cached_property
    def runner(self) -> Runner:
        """What brings requests to hosts."""
        return Runner(_connect, self.watch, deadline=self.deadline)

    @cached_property
    def deadline(self) -> Deadline:
        """When the command has to be done. Raises `UsageError`."""
        return limits.deadline(self.command)

    @cached_property
    def feed(self) -> Feed:
        """What is told of all that happens: progress on stderr, unless the operator wants quiet; and the events."""
        return Feed(self._display, *([self._print_event] if self._events else []))

    def allow(self, seconds: float) -> None:
        """Take more time, where the operator wants to wait so many ``seconds`` and names no deadline."""
        if not limits.is_given():
            self.__dict__["deadline"] = Deadline(max(self.deadline.left, seconds + limits.SPARE))

    @property
    def watch(self) -> Watch:
        """What gets the hosts' events."""
        return self.feed.watch

    def take_up(self, record: Record) -> None:
        """Go on in a run that has begun, with its hosts."""
        self.run = record.run
        self.is_done = record.end is not None and record.end["outcome"] == "done"
        self.is_known = True
        self._selectors = [member["host"] for member in record.request["hosts"]]
        self._inventory = self._inventory or record.request["inventory"]
        members = record.plan["hosts"]
        self._pins = {
            each["host"]: Pin(each.get("ssh_address"), each.get("ssh_key"), each.get("machine")) for each in members
        }

    @property
    def selection(self) -> tuple[str, ...]:
        """What the operator selected."""
        return tuple(self._selectors)

    @cached_property
    def inventory_path(self) -> Path:
        """The inventory that is used. Raises `UsageError`."""
        return inventory.locate(self._inventory)

    def clear(self) -> None:
        """Leave the terminal to what is printed next."""
        self._display.pause()

    def order(self, command: str | None = None, **parts: Any) -> Order:
        """What the hosts are asked; ``command`` is the core's where it is not of our name."""
        return Order(command or self.command, self.run, operator(), **parts)

    def jobs(self, order: Order, file: Path | None = None) -> list[Job]:
        """A job for each host."""
        return [Job(host, request(order, host), file) for host in self.hosts]

    def ask_all(self, order: Order) -> list[Row]:
        """The rows of all hosts, asked at once, for an order that changes nothing.

        After Ctrl-C some were not asked: a command goes on to change hosts only if all of them answered.
        """
        return self.runner.at_once(self.jobs(order))

    def in_turn(self, order: Order, file: Path | None = None) -> list[Row]:
        """The rows of the hosts, one after the other up to the first that is not done, for an order that changes them.

        For interruptions see `change_all`.
        """
        with self.stopping() as stop:
            return self.runner.in_turn(self.jobs(order, file), lambda: not stop.requested)

    def change_all(self, jobs: Sequence[Job], limit: int = AT_ONCE) -> list[Row]:
        """The rows of jobs that change hosts, ``limit`` of them done at a time.

        After a first Ctrl-C those in hand are finished and no more are begun; a second one leaves at once.
        """
        with self.stopping() as stop:
            return self.runner.at_once(jobs, limit, lambda: not stop.requested)

    def give_back(self, jobs: Sequence[Job]) -> list[Row]:
        """The rows of jobs that undo what this command did. A first Ctrl-C keeps none from it; a second one leaves."""
        with self.stopping() as stop:
            return self.runner.at_once(jobs, may_begin=lambda: stop.requested < 2)

    @contextmanager
    def stopping(self) -> Iterator[Stop]:
        """Have a first Ctrl-C stop what changes hosts, and a second one leave at once.

        A command with several parts that belong together has one of these around them: so Ctrl-C does not cut them
        apart, whenever it comes.
        """
        if self._stop is not None:
            yield self._stop
            return
        with Stop(lambda count: self.feed.tell("interrupt", count=count)) as stop:
            # What the operator wanted stays wanted in all parts of the command.
            stop.requested = self._interrupts
            self._stop, self.may_have_changed = stop, True
            try:
                yield stop
            finally:
                self._stop, self._interrupts = None, stop.requested

    def tarball(self, path: str) -> Tarball | None:
        """Read the operator's tarball. If it is not there, every host's row says so and nothing is left to do: None."""
        hosts = self.hosts
        try:
            return tarball.read(expanded(path))
        except Failure as failure:
            if self.is_done:
                raise
            self.show([host_rows.of_failure(host.name, failure, "refused") for host in hosts])
            return None

    def show(
        self,
        rows: Sequence[Row],
        table: Table | None = None,
        *,
        hops: bool = False,
        full: bool = False,
        more: Mapping[str, Any] | None = None,
        after: str = "",
        status: int | None = None,
        hint: str = "",
    ) -> None:
        """Print what the hosts' rows say, and remember the exit status they stand for, unless it is given.

        ``hops`` are shown as well, ``full`` with a line for each module. ``more`` goes into the document as well,
        ``after`` below the tables; it has the ``hint``, if that is given.
        """
        # Tables are not needed to end with a document.
        from relup_remote.summary.hop_tables import hop_tables  # noqa: PLC0415
        from relup_remote.summary.tables import steps_table  # noqa: PLC0415

        rows = [_with_holder(row, self.run) for row in rows]
        self._status = host_rows.exit_status(rows) if status is None else status
        if self._interrupts and rows and all(map(host_rows.succeeded, rows)):
            late = "Ctrl-C came when all hosts had started. They were finished, and nothing is left to do."
            after = "\n\n".join(part for part in (after, late) if part)
        elif self._interrupts:
            stopped = interrupted(rows, at_once=self._interrupts > 1)
            self._status = stopped.exit_status
            more = {**(more or {}), "ending": stopped.to_json()}
            are_left = any(row["outcome"] == "skipped" for row in rows)
            hint = LOST[self.command] if self._interrupts > 1 else AGAIN if are_left else ""
            after = "\n\n".join(part for part in (after, ended(stopped, hint)) if part)
        if self._json or self._events:
            self.say(
                self._document(
                    {**documents.rows_document(self.command, self._told_run, rows, self._status == 0), **(more or {})}
                )
            )
            return
        width = columns(sys.stdout)
        parts = [
            table(rows) if table else steps_table(rows, width),
            hop_tables(rows, full=full) if hops else "",
            recovered(rows),
            boot(rows),
            report.troubles(rows, hint),
            after,
        ]
        # Much of it is what hosts said: reasons of gates, names of nodes.
        self._say_folded(clean("\n\n".join(part for part in parts if part)))

    def show_run(self, rows: Sequence[Row], ending: Ending, after: str) -> None:
        """Print what a run came to; ``after`` is said below the table."""
        hops = ending.outcome not in ("refused", "nothing to do")
        rollout = {**ending.to_json(), "next": typed(ending.next)}
        hint = ROLLOUT_ERRORS[ending.err_type].hint if ending.err_type else ""
        self.show(rows, hops=hops, more={"rollout": rollout}, after=after, status=ending.exit_status, hint=hint)

    def show_document(self, document: Mapping[str, Any], text: str, *, ok: bool = True, as_it_is: bool = False) -> None:
        """Print what a command that went to no host came to: the document, or the text. If not ok, it exits with 1.

        A text that is for programs is printed ``as_it_is``, however wide it may be.
        """
        self._status = 0 if ok else 1
        if self._json:
            self.say(documents.text({"command": self.command, "ok": ok, "run": self._told_run, **document}))
        elif as_it_is:
            self.say(text)
        else:
            self._say_folded(text)

    def say(self, text: str) -> None:
        """Print on stdout."""
        self.clear()
        self._is_told = True
        try:
            print(typed(text), flush=True)
        except BrokenPipeError:
            # Whoever read has seen enough; the flush at exit must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _say_folded(self, text: str) -> None:
        self.say(folded(typed(text), columns(sys.stdout)))

    def note(self, text: str) -> None:
        """Tell people something, on stderr, unless they want quiet."""
        if not self._quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Tell people something that they have to know, on stderr."""
        self.clear()
        print(folded(clean(typed(text)), columns(sys.stderr)), file=sys.stderr)

    @property
    def _told_run(self) -> str | None:
        return self.run if self.is_known else None

    def _print_event(self, event: Event) -> None:
        told = {**event, "next": typed(event["next"])} if event.get("next") else event
        print(typed(documents.line(told)), flush=True)

    def _document(self, document: Mapping[str, Any]) -> str:
        return documents.line(document) if self._events else documents.text(document)

    def _complain(self, error: UsageError) -> None:
        error.hint = error.hint.replace("COMMAND", self.command)
        self.warn(f"{self.command}: {error.message} ({error.hint})")
        # A document that is there already is the only one.
        if (self._json or self._events) and not self._is_told:
            self.say(self._document(documents.usage_document(self.command, error)))

    def _apologize(self, failure: Failure) -> None:
        print(f"{self.command}: {failure.message} {failure.detail}", file=sys.stderr)
        if self._json or self._events:
            about = {"command": self.command, "ok": False, "run": self._told_run}
            self.say(self._document({**about, "error": failure.to_json(), "hosts": []}))


def _with_holder(row: Row, own: str) -> Row:
    """The row, with another hint where what keeps the host from being changed is a run of this machine, at work now."""
    return {
        **row,
        "error": row["error"] and _hinted(row["error"], own),
        "problems": [_hinted(problem, own) for problem in row["problems"]],
    }


def _hinted(error: dict[str, Any], own: str) -> dict[str, Any]:
    run = (error.get("detail") or {}).get("run")
    is_held = error["err_type"] in ("cluster_locked", "upgrade_in_progress") and run != own
    if not is_held or not ledger.is_under_way(run):
        return error
    hint = f"Run {run} is still running on this machine. Wait until it ends, or end it with Ctrl-C there."
    return {**error, "hint": hint}


def _connect(host: HostSettings) -> Session:
    # SSH is slow to import, and much is refused before it is needed.
    from relup_remote.host import Host  # noqa: PLC0415

    return Host(host)
