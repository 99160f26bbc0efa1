"""The engine on the kernel's clock: the means by which its modules wait are replaced, and nothing else of them.

A test holds the modules of the engine to these: one that waits by other means would wait in real time.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from types import ModuleType, TracebackType
from typing import Any

from relup_remote import deadline, schema
from relup_remote.commands import rolling
from relup_remote.core import files as core_files
from relup_remote.rollout import feed, ledger, roll, run, stop, survey
from relup_remote.rollout.gates import keeper
from tests.sim.kernel import Kernel, Killed, Process, Task

EPOCH = 1_800_000_000
"""Seconds since the epoch at the beginning of each story."""

TURN = 300.0
"""In virtual time there is no hurry to notice a signal between two turns: it wakes whoever waits."""


INSTANT = 0.001
"""Seconds that a wait takes at least."""

SLOW = 0.02
"""How often the controller's disk takes its time."""


class Queue:
    """`queue.SimpleQueue`, as far as it is used."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[Any] = deque()
        self._waits: deque[Task] = deque()

    def put(self, item: Any) -> None:
        """Add an item. Nothing is waited for."""
        self._items.append(item)
        if self._waits:
            self._kernel.wake(self._waits[0])

    def get(self, timeout: float | None = None) -> Any:
        """The next item. Raises `Empty` if there is none in time."""
        # Some time passes in any wait: else who waits for the last instant of something would wait for ever.
        until = None if timeout is None else self._kernel.now + max(timeout, INSTANT)
        task = self._kernel.task
        while not self._items:
            if until is not None and self._kernel.now >= until:
                raise Empty
            self._waits.append(task)
            try:
                self._kernel.wait(None if until is None else until - self._kernel.now)
            finally:
                self._waits.remove(task)
        return self._items.popleft()


class Lock:
    """`threading.Lock`, as a context manager."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._holder: Task | None = None
        self._waits: deque[Task] = deque()

    def __enter__(self) -> "Lock":
        task = self._kernel.task
        while self._holder is not None:
            self._waits.append(task)
            try:
                self._kernel.wait()
            finally:
                self._waits.remove(task)
        self._holder = task
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._holder = None
        if self._waits:
            self._kernel.wake(self._waits[0])


class Threading:
    """The module `threading`, as far as it is used."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def Lock(self) -> Lock:
        """A lock."""
        return Lock(self._kernel)

    def Thread(self, target: Callable[..., None], args: tuple[Any, ...] = (), daemon: bool = False) -> "Thread":
        """A thread that is not waited for."""
        assert daemon, "the engine waits for no thread"
        return Thread(self._kernel, lambda: target(*args))


class Thread:
    """`threading.Thread`, as far as it is used."""

    def __init__(self, kernel: Kernel, target: Callable[[], None]) -> None:
        self._kernel = kernel
        self._target = target

    def start(self) -> None:
        """Start it."""
        self._kernel.spawn(self._target)


class Time:
    """The module `time`, as far as it is used."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def monotonic(self) -> float:
        """Seconds since the story began."""
        return self._kernel.now

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return EPOCH * 10**9 + round(self._kernel.now * 1e9)


class Signal:
    """The module `signal`, as far as it is used."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def signal(self, number: int, handler: Any) -> Any:
        """Have the process that runs now take a signal so; returns how it took it before."""
        handlers = self._kernel.process.handlers
        before = handlers.get(number)
        handlers[number] = handler
        return before


class Disk:
    """The module `os`, but that syncing costs virtual time: it is where a process may meet its fate.

    ``refuses`` says whether the disk has no room now.
    """

    def __init__(self, kernel: Kernel, refuses: Callable[[Process], bool]) -> None:
        self._kernel = kernel
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        """What is written is safe now. Raises OSError."""
        if self._refuses(self._kernel.process):
            raise OSError(28, os.strerror(28))
        try:
            if self._kernel.chance.random() < SLOW:
                self._kernel.wait(self._kernel.chance.uniform(0.0, 2.0))
            self._kernel.moment()
        except Killed:
            self._tear(descriptor)
            raise

    def _tear(self, descriptor: int) -> None:
        """The machine stopped with its controller: of the last line any part may be there."""
        size = os.fstat(descriptor).st_size
        start = max(size - (1 << 16), 0)
        line = os.pread(descriptor, 1 << 16, start)[:-1]
        begins = start + line.rfind(b"\n") + 1
        os.truncate(descriptor, self._kernel.chance.choice((size, begins, self._kernel.chance.randint(begins, size))))


class Unsynced:
    """The module `os`, but that nothing is synced: rows are made again from the events."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, _descriptor: int) -> None:
        """Nothing is done."""


WAITING = ("time", "threading", "SimpleQueue", "signal")
"""The names by which a module of the engine waits, or asks what time it is."""

ENGINE: tuple[ModuleType, ...] = (deadline, feed, keeper, ledger, roll, rolling, run, stop, survey)
"""The modules whose waits are the kernel's."""


@contextmanager
def on(
    kernel: Kernel, refuses: Callable[[Process], bool], runs_folder: Callable[[], Path], operator: Callable[[], str]
) -> Iterator[None]:
    """Have the engine wait by the kernel in the block.

    ``refuses`` says whether the disk of a process has no room, ``runs_folder`` where the process that runs keeps its
    runs, ``operator`` who has started it.
    """
    means = {
        "time": Time(kernel),
        "threading": Threading(kernel),
        "SimpleQueue": lambda: Queue(kernel),
        "signal": Signal(kernel),
    }
    changes: list[tuple[Any, str, Any]] = [
        (module, name, means[name]) for module in ENGINE for name in WAITING if hasattr(module, name)
    ]
    changes += [
        (deadline.Deadline.__init__, "__defaults__", (means["time"].monotonic,)),  # type: ignore[attr-defined]
        (run, "TURN", TURN),
        # What it guards against is in no story, and looking for it would be a third of all that a story costs.
        (schema, "_bounded", lambda _value: None),
        (ledger, "os", Disk(kernel, refuses)),
        (core_files, "os", Unsynced()),
        (ledger, "runs_folder", runs_folder),
        (rolling, "operator", operator),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _new in changes]
    for module, name, new in changes:
        setattr(module, name, new)
    try:
        yield
    finally:
        for module, name, old in before:
            setattr(module, name, old)
