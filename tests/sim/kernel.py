"""Virtual time: tasks that wait for each other and for the clock, one of which runs at a time, in an order by the seed.

A task is a thread, for the engine is written for threads. Only the one that has the baton runs. Whoever waits carries
out the next events himself, until one of them is that a task goes on, and hands the baton to that one. So all that
happens follows from the seed.
"""

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import ClassVar

Action = Callable[[], "Task | None"]
"""An event: done when its time has come. It returns the task that goes on, if one does."""

MOST_EVENTS = 200_000
"""After so many events a story is held to have no end."""


class Killed(BaseException):
    """Raised in a task whose process was killed, wherever it waits."""


class Worker:
    """A real thread, which runs one task after another: to make threads costs more than a task does."""

    idle: ClassVar[list["Worker"]] = []

    def __init__(self) -> None:
        self.work: Callable[[], None] = lambda: None
        self.baton = threading.Lock()
        self.baton.acquire()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self.baton.acquire()
            self.work()


class Task:
    """Something that runs and waits. ``target`` is what it does."""

    def __init__(self, process: "Process", target: Callable[[], None]) -> None:
        self.process = process
        self.target = target
        self.worker: Worker | None = None
        self.ticket = 0
        self.is_waiting = True
        self.is_woken = False
        self.is_over = False


@dataclass
class Process:
    """Tasks that live and die together, as those of a controller do. The first one is the main task: it gets signals.

    ``fates`` says what comes over it at its first, second … moment: whenever one of its tasks has waited, or has
    written something down. ``ended`` hears how it ended.
    """

    name: str
    ended: Callable[["Process"], None] = lambda process: None
    fates: dict[int, Callable[["Process"], None]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    handlers: dict[int, Callable[[int, None], None]] = field(default_factory=dict)
    pending: deque[int] = field(default_factory=deque)
    moments: int = 0
    signals: int = 0
    is_over: bool = False
    is_killed: bool = False
    error: BaseException | None = None


class Kernel:
    """The clock and all that waits for it. ``now`` is in seconds; ``told`` gets a line for each thing worth reading."""

    def __init__(self, seed: object, told: Callable[[float, str, str], None] | None = None) -> None:
        self.now = 0.0
        self.chance = random.Random(f"kernel {seed}")
        self.events = 0
        self.error: BaseException | None = None
        self.is_over = False
        self._told = told
        self._queue: list[tuple[float, float, int, Action]] = []
        self._added = 0
        self._home = threading.Lock()
        self._home.acquire()
        self._current: Task | None = None
        self.processes: list[Process] = []

    # What happens when

    def at(self, seconds: float, action: Action) -> None:
        """Have something happen in so many seconds. What happens at the same time comes in any order."""
        self._added += 1
        heappush(self._queue, (self.now + seconds, self.chance.random(), self._added, action))

    def tell(self, who: str, what: str) -> None:
        """Tell a reader of the story what happens."""
        if self._told:
            self._told(self.now, who, what)

    @property
    def is_read(self) -> bool:
        """Whether anybody reads what is told."""
        return self._told is not None

    def run(self) -> None:
        """Have all happen until nothing is left to happen. Raises what an event has raised."""
        following = self._next()
        if following is not None:
            self._hand_to(following)
            self._home.acquire()
        self.is_over = True
        for process in self.processes:
            self.kill(process)
        self._queue.clear()
        # Whoever still waits ends here, one by one.
        for process in self.processes:
            for task in process.tasks:
                if task.worker and not task.is_over:
                    self._current = task
                    task.worker.baton.release()
                    self._home.acquire()
        if self.error:
            raise self.error

    def stop(self) -> None:
        """Have nothing more happen."""
        self.is_over = True

    # Processes and tasks

    def start(self, process: Process, main: Callable[[], None], after: float = 0.0) -> None:
        """Start a process, whose main task does ``main``."""
        self.processes.append(process)
        self._spawn(process, main, after)

    def spawn(self, target: Callable[[], None]) -> None:
        """Start another task of the process that runs now."""
        self._spawn(self.process, target, 0.0)

    def _spawn(self, process: Process, target: Callable[[], None], after: float) -> None:
        task = Task(process, target)
        process.tasks.append(task)
        self.at(after, lambda: self._resumed(task, 0, woken=True))

    @property
    def process(self) -> Process:
        """The process that runs now."""
        assert self._current
        return self._current.process

    @property
    def task(self) -> Task:
        """The task that runs now."""
        assert self._current
        return self._current

    def kill(self, process: Process) -> None:
        """Have none of its tasks go on."""
        if process.is_over:
            return
        process.is_over = process.is_killed = True
        for task in process.tasks:
            self.wake(task)

    def signal(self, process: Process, number: int) -> None:
        """Send it a signal, which its main task gets as soon as it waits or has waited."""
        if not process.is_over:
            process.pending.append(number)
            self.wake(process.tasks[0])

    # Waiting

    def wait(self, seconds: float | None = None) -> bool:
        """Have the task wait so long, or until it is woken; says whether it was. It may be woken for nothing."""
        task = self.task
        if task.process.is_over:
            raise Killed
        task.ticket += 1
        task.is_waiting = True
        if seconds is not None:
            ticket = task.ticket
            self.at(max(seconds, 0.0), lambda: self._resumed(task, ticket, woken=False))
        following = self._next()
        if following is not task:
            self._hand_to(following)
            assert task.worker
            task.worker.baton.acquire()
        self.moment()
        return task.is_woken

    def wake(self, task: Task) -> None:
        """Have a task that waits go on."""
        if task.is_waiting:
            ticket = task.ticket
            self.at(0.0, lambda: self._resumed(task, ticket, woken=True))

    def moment(self) -> None:
        """Let come over the task what is to: a signal, the end of its process. Raises `Killed`, KeyboardInterrupt."""
        task, process = self.task, self.task.process
        if process.is_over:
            raise Killed
        process.moments += 1
        if fate := process.fates.pop(process.moments, None):
            fate(process)
        if process.is_over:
            raise Killed
        while process.pending and task is process.tasks[0]:
            number = process.pending.popleft()
            process.signals += 1
            self.tell(process.name, "gets Ctrl-C")
            handler = process.handlers.get(number)
            if handler is None:
                raise KeyboardInterrupt
            handler(number, None)

    # The baton

    def _resumed(self, task: Task, ticket: int, *, woken: bool) -> Task | None:
        if task.ticket != ticket or not task.is_waiting or task.is_over:
            return None
        task.is_waiting = False
        task.is_woken = woken
        return task

    def _next(self) -> Task | None:
        """Carry out events until a task goes on; None where nothing more happens."""
        try:
            while self._queue and not self.is_over:
                self.now, _, _, action = heappop(self._queue)
                self.events += 1
                if self.events > MOST_EVENTS:
                    raise EndlessError(f"after {MOST_EVENTS} events things still happen")
                task = action()
                if task is not None:
                    self._current = task
                    return task
        except BaseException as error:
            self.error = self.error or error
        return None

    def _hand_to(self, task: Task | None) -> None:
        if task is None:
            self._home.release()
            return
        if task.worker is None:
            task.worker = Worker.idle.pop() if Worker.idle else Worker()
            task.worker.work = lambda: self._work(task)
        task.worker.baton.release()

    def _work(self, task: Task) -> None:
        process = task.process
        try:
            if not process.is_over:
                task.target()
        except Killed:
            pass
        except BaseException as error:
            process.error = process.error or error
        task.is_over = True
        if task is process.tasks[0]:
            if not process.is_killed:
                # The others are daemons: they end with the main task.
                process.is_over = True
                for other in process.tasks[1:]:
                    self.wake(other)
            if not self.is_over:
                try:
                    process.ended(process)
                except BaseException as error:
                    self.error = self.error or error
                    self.is_over = True
        assert task.worker
        Worker.idle.append(task.worker)
        self._hand_to(self._next())


class EndlessError(Exception):
    """A story has no end."""
