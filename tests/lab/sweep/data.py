"""A node's data through commands that are cut off, or come upon somebody who starts the node.

What clients have left on the node (`lab.durable.Estate`) is asked for by clients again after each point. There are two
estates: the backup that is put back has the first, and the second came after it.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lab.durable import Estate, Writer, device
from lab.errors import LabError
from relup_remote import inventory
from relup_remote.core.backup import store, swap
from relup_remote.core.protocol import Failure
from relup_remote.core.release import RESTORED
from relup_remote.rollout.identity import run_id
from relup_remote.rollout.request import Order, request
from tests.lab.cluster import FIRST
from tests.lab.sweep.machine import Deed, Machine, Ran
from tests.lab.sweep.moments import Moment
from tests.lab.sweep.scenarios import Scene
from tests.lab.sweep.trace import Event

KEEP = 3
UP, THAWED = 90.0, 60.0
"""Seconds within which a node that is started is up, and one whose backup was cut off takes transactions as ever."""

MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "fsync")
"""Events that change what is there under a name: half of the moments are at these."""

ANSWERS = "emqx:is_running() andalso ets:info(emqx_session, size) =/= undefined."
WRITES = """
{atomic, ok} = mnesia:transaction(fun() -> mnesia:write({emqx_last_seen, <<"sweep">>, 0}) end),
mnesia:system_info(checkpoints).
"""


class RowsLost(AssertionError):
    """What clients had left on the node is not there."""


class BackupsLost(AssertionError):
    """A backup that was whole, and was to be kept, is gone or damaged."""


class Frozen(AssertionError):
    """The node takes no transactions any more, or does not come up."""


class NotWhole(AssertionError):
    """The node is neither as before nor as after the command, or the command can't be finished."""


@dataclass(frozen=True, eq=False)
class Task:
    """A command to be cut off: its name and options, what the node is before it, what is to hold, and the deed."""

    name: str
    deed: Deed
    points: int
    command: str
    before: Callable[["Data"], None]
    after: Callable[["Data", Ran], None]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weight(self) -> str:
        """The tasks of which one point is tried in any case: those that are killed with data at stake."""
        return self.name if self.deed == "core" and self.command in ("backup", "restore") else "others"


@dataclass(frozen=True)
class Point:
    """A moment of a task: so far through its events (0 to 1), or through those at which something changes its name."""

    number: int
    task: Task
    far: float
    at_move: bool

    def __str__(self) -> str:
        return f"{self.number}: {self.task.name}, {self.task.deed}, {self.far:.3f} through its {self.kind}"

    @property
    def kind(self) -> str:
        """The events that are counted."""
        return "moves" if self.at_move else "events"

    def moment(self, run: Sequence[Event]) -> Moment:
        """When that is, by what the command does when nothing interrupts it."""
        events = [event for event in run if event.label in MOVES] if self.at_move else run
        event = events[int(self.far * len(events))]
        return Moment(event.phase, event.index, event.label, "core")


class Data:
    """The data of a machine's node."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.machine: Machine = scene.machine
        self.port = self.machine.lab.mqtt_port("n1")
        self.old, self.new = Estate("old"), Estate("new")
        self.folder = self.machine.root / "relup_backups"
        self.whole: set[str] = set()
        self.anchor = ""
        self.longest = 0.0

    def begin(self) -> None:
        """The node up, with the first estate in a backup, and the second one left after that."""
        self.scene.base()
        self.old.leave(self.port)
        ran = self.ask("backup", keep=0)
        assert ran.result
        assert ran.result["outcome"] == "backed up", ran.result["error"]
        self.anchor = ran.result["facts"]["backup"]["name"]
        self.new.leave(self.port)

    def order(self, command: str, **options: Any) -> dict[str, Any]:
        """A request of a run of its own. Backups that are cut off have a folder of their own."""
        host = inventory.load(self.machine.lab.inventory_path).select(["n1"])[0]
        made = dict(request(Order(command, run_id(), "sweep@lab", options={"settle": 0.0, **options}), host))
        if command == "backup" and options.get("keep") == KEEP:
            made["node"] = dict(made["node"], backup_dir=str(self.machine.root / "sweep_backups"))
        return made

    def ask(self, command: str, **options: Any) -> Ran:
        """Have the core carry out a command to its end."""
        return self.machine.run(self.order(command, **options))

    def up(self) -> None:
        """The node is up, whoever started it. Raises `Frozen`."""
        deadline = time.monotonic() + UP
        while True:
            try:
                self.machine.lab.start_node("n1")
                if self.machine.evaluate(ANSWERS) == "true":
                    return
            except (LabError, Failure, AssertionError) as error:
                if time.monotonic() > deadline:
                    raise Frozen(f"the node does not come up: {error}") from error
            time.sleep(0.2)

    def down(self) -> None:
        """The node is stopped."""
        self.machine.lab.stop_node("n1")

    def holds(self, estate: Estate) -> None:
        """An estate is there. Raises `RowsLost`."""
        try:
            estate.check(self.port, rejoin=True)
        except AssertionError as error:
            raise RowsLost(str(error)) from error

    def has(self, estate: Estate) -> bool:
        """Whether there is anything of an estate."""
        with device(self.port, f"{estate.name}-looking", clean=True):
            pass
        return bool(
            self.machine.evaluate("mnesia:dirty_read(emqx_session, Name) =/= [].", Name=estate.name.encode()) == "true"
        )

    def thawed(self) -> None:
        """The node takes transactions, and no checkpoint is left in it. Raises `Frozen`."""
        deadline = time.monotonic() + THAWED
        left: Any = "no answer"
        while left != []:
            with suppress(Failure):
                left = self.machine.evaluate(WRITES)
            if time.monotonic() > deadline:
                raise Frozen(f"left in the VM: {left}")
            time.sleep(0.1)

    def found(self) -> set[str]:
        """The complete backups of the sweep."""
        return {each.name for each in store.backups(str(self.machine.root / "sweep_backups")) if each.whole}

    def kept(self) -> None:
        """No backup is lost: as many as are to be kept are there, the last ones made. Raises `BackupsLost`."""
        now = self.found()
        if not {self.anchor} <= {each.name for each in store.backups(str(self.folder)) if each.whole}:
            raise BackupsLost(f"{self.anchor} is gone")
        if len(now) < min(KEEP, len(self.whole)):
            raise BackupsLost(f"of {sorted(self.whole)} there are {sorted(now)}")
        self.whole = now

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A client writes for as long as the block lasts."""
        with Writer(self.port) as writer:
            yield
        self.longest = max(self.longest, writer.longest)


# What is done, and what has to hold


def _both(data: Data) -> None:
    data.up()
    if not data.has(data.new):
        # A restore has taken the last one away.
        data.new = Estate("new")
        data.new.leave(data.port)


def _both_and_down(data: Data) -> None:
    _both(data)
    data.down()


def _backup_is_whole(data: Data, ran: Ran) -> None:
    """After a backup that was cut off, or that came upon somebody starting the node."""
    data.up()
    data.thawed()
    data.kept()
    if ran.result is not None and ran.result["error"] is not None:
        allowed = ("node_running", "node_starting", "mnesia_not_running", "node_unreachable")
        if ran.result["error"]["err_type"] not in allowed:
            raise NotWhole(f"the backup came to {ran.result['error']}")
    again = data.ask("backup", keep=KEEP).result
    if again is None or again["outcome"] != "backed up":
        raise NotWhole(f"the next backup came to {again and again['error']}")
    data.kept()
    left = [path.name for path in (data.machine.root / "sweep_backups").glob(f"{store.PARTIAL}*")]
    if left:
        raise NotWhole(f"left behind: {left}")
    for estate in (data.old, data.new):
        data.holds(estate)


def _restore_is_whole(data: Data, ran: Ran) -> None:
    """After a restore that was cut off, or that came upon somebody starting the node."""
    halfway = swap.unfinished(str(data.machine.ours))
    if halfway is not None and halfway.is_halfway():
        if data.ask("verify").result["error"]["err_type"] != "half_restored":  # type: ignore[index]
            raise NotWhole("nothing says that the node is half restored")
        with suppress(LabError):
            data.machine.boot()
            raise NotWhole("a node that is half restored was started")
        data.machine.lose_power()
    done = ran.result is not None and ran.result["outcome"] == "restored"
    if not done:
        if ran.result is not None and ran.result["error"]["err_type"] not in (
            "node_started",
            "node_starting",
            "node_running",
        ):
            raise NotWhole(f"the restore came to {ran.result['error']}")
        if ran.result is not None:
            # All was taken back: the node has what it had.
            data.up()
            for estate in (data.old, data.new):
                data.holds(estate)
        data.down()
        data.machine.lose_power()
        again = data.ask("restore", backup=data.anchor, restore_force=True).result
        if again is None or again["outcome"] != "restored":
            raise NotWhole(f"the next restore came to {again and again['error']}")
    data.up()
    data.holds(data.old)
    if data.has(data.new):
        raise NotWhole("what came after the backup is there after it was put back")
    data.kept()
    _tidy(data)


def _tidy(data: Data) -> None:
    for folder in (data.machine.root / "data", data.machine.root / "etc"):
        left = [path.name for path in folder.glob(f"{RESTORED}*")]
        if left:
            raise NotWhole(f"left behind: {left}")


def _upgraded(data: Data) -> None:
    _both(data)
    if data.machine.code().version != FIRST:
        ran = data.scene.command("upgrade", FIRST)
        assert ran.result
        assert ran.result["outcome"] == "upgraded", ran.result["error"]


def _rollback_is_whole(data: Data, _ran: Ran) -> None:
    again = data.ask("rollback", purge=True).result
    refused = again is not None and again["error"] and again["error"]["err_type"] == "nothing_to_roll_back"
    if again is None or not (refused or again["outcome"] == "rolled back"):
        raise NotWhole(f"the next rollback came to {again and again['error']}")
    _all_is_there(data)


def _littered(data: Data) -> None:
    _upgraded(data)
    data.scene.command("stage", FIRST)


def _cleanup_is_whole(data: Data, _ran: Ran) -> None:
    again = data.ask("cleanup").result
    if again is None or again["outcome"] not in ("cleaned", "unchanged"):
        raise NotWhole(f"the next cleanup came to {again and again['error']}")
    _all_is_there(data)


def _all_is_there(data: Data) -> None:
    data.up()
    data.thawed()
    for estate in (data.old, data.new):
        data.holds(estate)
    data.kept()


# The node may be on the release that a point before has brought.
_FORCE = {"restore_force": True}

TASKS = (
    Task("backup of a node that runs", "core", 20, "backup", _both, _backup_is_whole, {"keep": KEEP}),
    Task("backup of a node that is stopped", "start", 8, "backup", _both_and_down, _backup_is_whole, {"keep": KEEP}),
    Task("restore", "core", 22, "restore", _both_and_down, _restore_is_whole, _FORCE),
    Task("restore", "start", 14, "restore", _both_and_down, _restore_is_whole, _FORCE),
    Task("rollback", "core", 10, "rollback", _upgraded, _rollback_is_whole, {"purge": True}),
    Task("cleanup", "core", 6, "cleanup", _littered, _cleanup_is_whole),
)
"""All that is swept: 80 points."""


def points_of(seed: int) -> list[Point]:
    """All points there are, spread over each task; half of them are where something gets or loses its name."""
    found: list[Point] = []
    for task in TASKS:
        chance = random.Random(f"{seed} {task.name} {task.deed}")
        for at_move in (True, False):
            count = task.points // 2
            found += [Point(len(found) + n + 1, task, (n + chance.random()) / count, at_move) for n in range(count)]
    return found


def run(data: Data, task: Task, moment: Moment | None) -> Ran:
    """The task's command, to its end or to that moment."""
    task.before(data)
    options = {**task.options, **({"backup": data.anchor} if task.command == "restore" else {})}
    wanted = data.order(task.command, **options)
    if task.command == "backup" and task.deed == "core":
        with data.writing():
            return data.machine.run_traced(wanted, None, moment, task.deed)
    return data.machine.run_traced(wanted, None, moment, task.deed)
