"""Simulated hosts: a node each, the cores that work on it, and the connections to them.

The model follows `relup_remote.core.commands` in what matters to a rollout: the lock of the node, the lock of the
cluster, the history, and the hop, which goes on in the VM whatever becomes of the core. What a core says is checked by
the boundary as it comes in, so that the model can say nothing that the schema does not know.

A core is a generator: it yields the seconds that its work takes, and ends with its result.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from types import TracebackType
from typing import Any, Protocol

from relup_remote import boundary
from relup_remote.core.protocol import Failure, Result, Step, encode
from relup_remote.inventory import HostSettings
from tests.sim.engine import EPOCH, Queue
from tests.sim.kernel import Kernel, Process

BASE, TARGET = "1.0", "1.1"

SILENCE = 60.0
"""Seconds without a word after which a host is given up, as in `relup_remote.host`."""

LATE = 30.0
"""Seconds more than its core has that a request may take."""

HANGING = 10.0**9

Program = Generator[float, None, str]
"""What a core does; its value is the outcome."""

LOST = object()
"""What comes in where a connection breaks."""


class Watcher(Protocol):
    """Sees what happens on hosts; `tests.sim.rules` is one."""

    def sends(self, process: Process, node: "Node", request: dict[str, Any]) -> None:
        """A controller has a request for a host."""

    def answers(self, process: Process, node: "Node", request: dict[str, Any], event: dict[str, Any]) -> None:
        """A host's result has come in."""

    def changes(self, core: "Core") -> None:
        """A core begins to change a node, or goes on to."""

    def hops(self, core: "Core") -> None:
        """A hop begins."""

    def hopped(self, core: "Core") -> None:
        """A hop has been successful."""

    def locks(self, core: "Core") -> None:
        """A core has put the lock of the cluster on its host."""

    def unlocks(self, core: "Core") -> None:
        """A core takes the lock of the cluster off its host."""


@dataclass
class Hop:
    """A hop that goes on in a VM: until when, whether it will fail, and the attempt that it belongs to."""

    until: float
    fails: bool
    attempt: dict[str, Any]


@dataclass
class Ways:
    """How a host behaves.

    ``meets`` tells what a connection, a request, an answer, a core or a hop meets, see `tests.sim.faults`; ``seconds``
    how long something takes that takes so long at least, and so long at most.
    """

    meets: Callable[[str], str]
    seconds: Callable[[float, float], float]


class Cluster:
    """The nodes of a cluster, by the names of their hosts."""

    def __init__(self, kernel: Kernel, rules: Watcher, ways: Callable[[str], Ways], names: list[str]) -> None:
        self.kernel = kernel
        self.rules = rules
        self.nodes = {name: Node(self, name, ways(name)) for name in names}
        self.cores = 0

    @property
    def running(self) -> list["Node"]:
        """The nodes that run."""
        return [node for node in self.nodes.values() if node.is_up]

    def connect(self, host: HostSettings) -> "Session":
        """A session with a host, for `relup_remote.rollout.run.Runner`."""
        return Session(self.nodes[host.name])


class Node:
    """A host and its node."""

    def __init__(self, cluster: Cluster, name: str, ways: Ways) -> None:
        self.cluster = cluster
        self.kernel = cluster.kernel
        self.name = name
        self.node = f"emqx@{name}"
        self.ways = ways
        self.role = "core"
        self.release = BASE
        self.marker: str | None = None
        self.is_up = True
        self.is_staged = False
        self.is_prepared = False
        self.is_clean = True
        self.connections = 100
        self.is_lying = False
        self.was_rolled_back = False
        self.hop: Hop | None = None
        self.holder: Core | None = None
        self.lock: dict[str, Any] | None = None
        self.history: list[dict[str, Any]] = []
        self.cores: list[Core] = []
        self.sessions: list[Session] = []

    def dies(self) -> None:
        """The machine stops. Nothing that runs on it goes on; its disk is as it was."""
        self.kernel.tell(self.name, "stops")
        self.is_up = False
        self.hop = None
        for core in list(self.cores):
            core.ends(said=False)
        for session in list(self.sessions):
            session.breaks("silent")

    def comes_back(self) -> None:
        """The machine starts, and its node boots what the marker says."""
        if not self.is_up:
            self.is_up = True
            self.release = self.marker or BASE
            self.kernel.tell(self.name, f"is back, on {self.release}")

    def is_rolled_back_by_hand(self) -> bool:
        """Somebody puts the node back to its base release, if nobody is at work in the cluster; whether he does."""
        nodes = self.cluster.nodes.values()
        if self.release != TARGET or not self.is_up or any(node.cores or node.hop or node.lock for node in nodes):
            return False
        self.kernel.tell(self.name, "is rolled back by hand")
        for row in self.history:
            row["extra"]["undone"] = True
        about = {"run": "by hand", "operator": "somebody", "from_vsn": TARGET, "target_vsn": BASE, "source": "plugin"}
        times = {"started_at": self.millis, "finished_at": self.millis}
        self.history.append({**about, **times, "status": "finished", "result": "success", "extra": {}})
        self.release, self.marker, self.was_rolled_back = BASE, None, True
        self.is_staged = self.is_prepared = False
        return True

    def finish_rows(self) -> None:
        """Finish the rows that dead cores have left, unless their hop goes on."""
        for row in self.history:
            if row["status"] == "in-progress" and not (self.holder and self.holder.attempt is row):
                if self.hop and self.hop.attempt is row:
                    continue
                done = row["extra"].get("outcome") == "success"
                self._finish(row, "success" if done else "interrupted")

    def finish(self, row: dict[str, Any], result: str) -> None:
        """Finish a row."""
        if row["status"] == "in-progress":
            self._finish(row, result)

    def _finish(self, row: dict[str, Any], result: str) -> None:
        row.update(status="finished", result=result, finished_at=self.millis)

    @property
    def millis(self) -> int:
        """The time, in milliseconds since the epoch."""
        return EPOCH * 1000 + round(self.kernel.now * 1000)


class Core:
    """A core at work on a request."""

    def __init__(self, node: Node, request: dict[str, Any], session: "Session") -> None:
        self.node = node
        self.request = request
        self.session: Session | None = session
        self.command: str = request["command"]
        self.run: str = request["run"]
        self.is_alive = True
        self.is_changing = False
        self.attempt: dict[str, Any] | None = None
        self.result = Result()
        self.program = PROGRAMS[self.command](self)
        node.cluster.cores += 1
        self.name = f"{node.name} core {node.cluster.cores}"
        node.cores.append(self)
        node.kernel.tell(self.name, f"begins {self.command} of {self.run}")
        node.kernel.at(request["deadline"], self._is_late)
        node.kernel.at(0, self._goes_on)

    def _goes_on(self) -> None:
        if not self.is_alive:
            return
        try:
            seconds = next(self.program)
        except StopIteration as done:
            self.result.outcome = done.value
            self.ends()
        except Failure as failure:
            self._fails(failure)
        else:
            self.node.kernel.at(seconds, self._goes_on)

    def _fails(self, failure: Failure) -> None:
        failure.stage = failure.stage or self.command
        self.result.outcome = "failed" if failure.changed else "refused"
        self.result.error = failure
        self.result.problems = [] if failure.changed else [failure]
        if self.attempt:
            self.node.finish(self.attempt, failure.err_type)
        self.ends()

    def _is_late(self) -> None:
        # A hop is not cut; it has a limit of its own.
        if self.is_alive and not (self.node.hop and self.node.hop.attempt is self.attempt):
            self._fails(Failure("deadline_exceeded", stage=self.command, changed=True))

    def ends(self, *, said: bool = True) -> None:
        """End, with the result ``said`` if anybody hears it. The node's lock ends with its core."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.node.cores.remove(self)
        if self.node.holder is self:
            self.node.holder = None
        if said:
            if self.attempt:
                self.node.finish(self.attempt, "interrupted" if self.node.is_lying else "success")
            error = self.result.error.err_type if self.result.error else ""
            self.node.kernel.tell(self.name, f"ends {self.command}: {self.result.outcome} {error}".rstrip())
            self.result.node, self.result.running = self.node.node, self.node.release
            self.result.from_vsn, self.result.target = self.result.from_vsn or self.node.release, TARGET
            self.say(self.result.to_json())
        else:
            self.node.kernel.tell(self.name, f"is killed in {self.command}")
        self.program.close()

    def hung_up(self) -> None:
        """Its connection is gone: it goes on, or it does not."""
        self.session = None
        if self.is_alive and self.node.ways.meets("hang up") == "ends":
            self.ends(said=False)

    def say(self, event: dict[str, Any]) -> None:
        """Say an event, if the connection stands."""
        if self.session:
            self.session.brings(event)

    def step(self, name: str, status: str = "ok", **detail: Any) -> None:
        """A step is done."""
        self.result.steps.append(Step(name, status, 1.0, detail))
        self.say({"event": "step", "step": name, "status": status, "seconds": 1.0})

    # What commands share

    def begins(self, *, needs_node: bool = True) -> Program:
        """Python starts, and finds the node. Raises `Failure` (``node_not_running``)."""
        yield self.node.ways.seconds(0.2, 2.0)
        self.say({"event": "hello", "pid": self.node.cluster.cores, "python": "3.9", "user": "emqx"})
        if self.node.ways.meets("core") == "hangs":
            self.node.kernel.tell(self.name, "hangs")
            yield HANGING
        if needs_node:
            self.needs_node()
        return ""

    def needs_node(self) -> None:
        """Raises `Failure` (``node_not_running``)."""
        if not self.node.is_up:
            raise Failure("node_not_running")

    def holds_node(self) -> Program:
        """Take the lock of the node; a core of the same run is waited for. Raises `Failure`."""
        waited = 0
        while (holder := self.node.holder) is not None:
            self.refuses_beside(holder)
            waited += 1
            if waited > self.request["options"]["hop_timeout"]:
                raise busy(holder.run)
            yield 1.0
        self.node.holder = self
        lock = self.node.lock
        if lock and lock["run"] != self.run:
            raise locked(lock)
        return ""

    def refuses_beside(self, holder: "Core") -> None:
        """Raises `Failure` (``upgrade_in_progress``) for a core of another run."""
        if holder.run != self.run:
            raise busy(holder.run)

    def tells_of_node(self) -> None:
        """Tell what the node sees."""
        node, cluster = self.node, self.node.cluster
        running = [each.node for each in cluster.running]
        stopped = [each.node for each in cluster.nodes.values() if not each.is_up]
        self.result.facts.update(
            role=node.role,
            nodes=running,
            cluster={"running": running, "stopped": stopped},
            connections=node.connections,
        )

    def tells(self) -> None:
        """Tell of host and node."""
        node = self.node
        self.tells_of_node()
        self.result.facts.update(
            marker=node.marker,
            cluster_lock=node.lock,
            history=[{key: row[key] for key in row if key != "extra"} for row in node.history[-1:]],
        )


def busy(run: str | None) -> Failure:
    """A core of that run is at work; None: a hop of nobody's."""
    return Failure("upgrade_in_progress", detail={"run": run})


def locked(lock: dict[str, Any]) -> Failure:
    """The cluster is locked by another run."""
    return Failure("cluster_locked", f"The cluster is locked by {lock['operator']}.", detail=dict(lock))


# ---------------------------------------------------------------------------------------------------- what commands do


def plan(core: Core) -> Program:
    """`plan`: what an upgrade would refuse."""
    node = core.node
    yield from core.begins()
    core.result.facts["bytes_to_send"] = 0 if node.is_staged else 1000
    core.result.facts["prepared"] = node.is_prepared
    core.tells()
    if node.holder is not None:
        raise busy(node.holder.run)
    node.finish_rows()
    core.tells()
    if node.hop:
        raise busy(None)
    yield node.ways.seconds(0.1, 3.0)
    core.needs_node()
    _refuses_target(node)
    if node.ways.meets("plan") == "lies":
        node.is_lying = True
        raise Failure("already_upgraded_to_target_vsn", stage="extract")
    return "ready"


def _refuses_target(node: Node) -> None:
    if node.release == TARGET:
        raise Failure("already_upgraded_to_target_vsn", stage="extract")


def status(core: Core) -> Program:
    """`status`: how the node stands."""
    yield from core.begins(needs_node=False)
    if core.node.holder is None:
        core.node.finish_rows()
    core.tells()
    core.needs_node()
    on_target = core.node.release == TARGET
    core.result.facts.update(state="hot-upgraded" if on_target else "idle", state_text=core.node.release)
    return "ok"


def lock(core: Core) -> Program:
    """`lock`: puts the lock of the run on the host, and gives it back where another run has one elsewhere."""
    node = core.node
    yield from core.begins(needs_node=not core.request["options"]["lock_blind"])
    if node.lock and node.lock["run"] != core.run:
        raise locked(node.lock)
    is_new = node.lock is None
    if is_new:
        about = {"operator": core.request["operator"], "why": core.request["options"]["why"], "since": node.millis}
        node.lock = {"run": core.run, **about}
        core.node.cluster.rules.locks(core)
    try:
        yield node.ways.seconds(0.0, 0.2)
        if node.holder is not None:
            core.refuses_beside(node.holder)
        for other in node.cluster.running:
            yield node.ways.seconds(0.0, 0.1)
            if other is not node and other.lock and other.lock["run"] != core.run:
                raise locked(other.lock)
    except Failure:
        if is_new and node.lock and node.lock["run"] == core.run:
            node.lock = None
        raise
    finally:
        core.result.facts["cluster_lock"] = node.lock
    return "locked" if is_new else "unchanged"


def unlock(core: Core) -> Program:
    """`unlock`: takes the lock of the run off the host."""
    node = core.node
    yield from core.begins(needs_node=False)
    if node.lock is None:
        return "unchanged"
    if node.lock["run"] != core.run:
        raise locked(node.lock)
    node.lock = None
    node.kernel.tell(core.name, "takes the lock off")
    node.cluster.rules.unlocks(core)
    return "unlocked"


def prepare(core: Core) -> Program:
    """`prepare`: all steps that change no node."""
    yield from _begins_change(core)
    _refuses_target(core.node)
    return (yield from _prepare(core))


def _begins_change(core: Core) -> Program:
    node = core.node
    yield from core.begins()
    yield from core.holds_node()
    if node.hop:
        yield max(node.hop.until - node.kernel.now, 0.0) + 0.5
    node.finish_rows()
    core.is_changing = True
    node.cluster.rules.changes(core)
    core.result.from_vsn = node.release
    return ""


def _prepare(core: Core) -> Program:
    node = core.node
    yield from _stage(core)
    core.step("checksum")
    core.step("patches")
    if not node.is_prepared:
        yield node.ways.seconds(1.0, 20.0)
        if node.ways.meets("extract") == "fails":
            core.step("extract", "failed")
            raise Failure("disk_full", stage="extract", changed=True)
        node.is_prepared = True
        core.step("extract")
    else:
        core.step("extract", "unchanged")
    return "prepared"


def _stage(core: Core) -> Program:
    if core.node.is_staged:
        core.step("stage", "unchanged")
        return ""
    core.say({"event": "want", "file": "emqx-1.1.tar.gz", "offset": 0, "bytes": 1000})
    yield core.node.ways.seconds(1.0, 60.0)
    if core.session is None:
        raise Failure("deadline_exceeded", stage="stage")
    core.node.is_staged = True
    core.node.is_clean = False
    core.step("stage")
    return ""


def upgrade(core: Core) -> Program:
    """`upgrade`: all steps, of which the hop goes on by itself once it has begun."""
    node = core.node
    yield from _begins_change(core)
    core.result.facts["connections_before"] = node.connections
    core.attempt = _attempt(core)
    _refuses_target(node)
    yield from _prepare(core)
    if node.ways.meets("upgrade") == "lies":
        node.kernel.tell(core.name, "says that it is upgraded, and is not")
        node.is_lying = True
        core.step("apply")
        return "upgraded"
    yield from _hop(core)
    core.step("verify")
    yield node.ways.seconds(0.1, 2.0)
    behind = [f"{each.node} 1.0" for each in node.cluster.nodes.values() if each.release != TARGET]
    if behind:
        core.step("cleanup", "skipped", waiting_for=behind)
    else:
        node.is_clean = True
        core.step("cleanup")
    return "upgraded"


def _attempt(core: Core) -> dict[str, Any]:
    row = {
        "run": core.run,
        "operator": core.request["operator"],
        "started_at": core.node.millis,
        "finished_at": None,
        "from_vsn": core.node.release,
        "target_vsn": TARGET,
        "status": "in-progress",
        "result": None,
        "source": "relup_remote",
        "extra": {},
    }
    core.node.history.append(row)
    return row


def _hop(core: Core) -> Program:
    node, row = core.node, core.attempt
    assert row is not None
    fails = node.ways.meets("hop") == "fails"
    seconds = node.ways.seconds(1.0, 120.0)
    node.cluster.rules.hops(core)
    node.hop = hop = Hop(node.kernel.now + seconds, fails, row)
    node.kernel.tell(core.name, f"its hop begins, for {seconds:.1f} s")

    def ends() -> None:
        if node.hop is not hop:
            return
        node.hop = None
        row["extra"]["outcome"] = "code_change_failed" if fails else "success"
        if fails:
            node.kernel.tell(core.name, "its hop fails, and is undone")
            return
        node.release = node.marker = TARGET
        node.kernel.tell(core.name, "its hop is successful")
        node.cluster.rules.hopped(core)

    node.kernel.at(seconds, ends)
    yield seconds + 0.1
    if fails:
        core.step("apply", "failed")
        raise Failure("code_change_failed", stage="apply", changed=True)
    core.step("apply")
    return ""


def verify(core: Core) -> Program:
    """`verify`: whether the node is on the target."""
    yield from core.begins()
    if core.node.holder is None:
        core.node.finish_rows()
    yield core.node.ways.seconds(0.1, 2.0)
    core.needs_node()
    core.tells_of_node()
    wanted = core.request["target"] or BASE
    if core.node.release != wanted:
        core.step("verify", "failed")
        raise Failure("verify_failed", stage="verify", changed=True)
    core.step("verify")
    return "verified"


def cleanup(core: Core) -> Program:
    """`cleanup`: what was staged goes, once all nodes are on the target."""
    node = core.node
    yield from core.begins()
    yield from core.holds_node()
    core.is_changing = True
    node.cluster.rules.changes(core)
    yield node.ways.seconds(0.1, 2.0)
    behind = [f"{each.node} 1.0" for each in node.cluster.nodes.values() if each.release != TARGET]
    if behind:
        core.step("cleanup", "skipped", waiting_for=behind)
        return "skipped"
    node.is_clean, node.is_staged = True, False
    core.step("cleanup")
    return "cleaned"


PROGRAMS: dict[str, Callable[[Core], Program]] = {
    "plan": plan,
    "status": status,
    "lock": lock,
    "unlock": unlock,
    "prepare": prepare,
    "upgrade": upgrade,
    "verify": verify,
    "cleanup": cleanup,
}
"""What cores do, by command."""


# ---------------------------------------------------------------------------------------------------------- connections


@dataclass
class Session:
    """A connection of a controller to a host: `relup_remote.rollout.run.Session`."""

    node: Node
    kernel: Kernel = field(init=False)
    process: Process = field(init=False)
    inbox: Queue = field(init=False)
    core: Core | None = None
    is_cut: bool = False
    last: float = 0.0

    def __post_init__(self) -> None:
        self.kernel = self.node.kernel
        self.process = self.kernel.process
        self.inbox = Queue(self.kernel)

    def __enter__(self) -> "Session":
        meets = self.node.ways.meets("connect")
        self._takes(self.node.ways.seconds(0.01, 1.0))
        if meets == "refused":
            raise Failure("host_unreachable", stage="connect")
        if meets == "silent" or not self.node.is_up:
            self._takes(SILENCE)
            raise Failure("ssh_timeout", stage="connect")
        self.node.sessions.append(self)
        return self

    def _takes(self, seconds: float) -> None:
        until = self.kernel.now + seconds
        while self.kernel.now < until:
            self.kernel.wait(until - self.kernel.now)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.node.sessions.remove(self)
        self._closes()

    def _closes(self) -> None:
        if self.core:
            core, self.core = self.core, None
            core.hung_up()

    def run(
        self, request: dict[str, Any], _tarball: Path | None, on_event: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Have a core carry out the request. Raises `Failure`."""
        self.node.cluster.rules.sends(self.process, self.node, request)
        self.kernel.at(self.node.ways.seconds(0.01, 0.5), lambda: self._arrives(request))
        meets = self.node.ways.meets("request")
        if meets in ("lost", "silent", "stuck"):
            self.kernel.at(self.node.ways.seconds(0.0, 100.0), lambda: self.breaks(meets))
        until = self.kernel.now + request["deadline"] + LATE
        while True:
            try:
                left = until - self.kernel.now
                told = self.inbox.get(HANGING if meets == "stuck" else min(left, SILENCE) if self.is_cut else left)
            except Empty:
                late = self.kernel.now >= until
                raise Failure("deadline_exceeded" if late else "ssh_timeout", stage="connect") from None
            if told is LOST:
                raise Failure("connection_lost", stage="connect")
            if self.node.ways.meets("answer") == "malformed":
                told = told.replace(b'"event":"', b'"event":"x', 1)
            event = boundary.event(told)
            assert event
            if event["event"] == "result":
                self.node.cluster.rules.answers(self.process, self.node, request, event)
                return event
            if event["event"] != "alive":
                on_event(event)

    def _arrives(self, request: dict[str, Any]) -> None:
        # Nothing of a controller that is gone comes to a host.
        if not self.process.is_over and self.node.is_up and not self.is_cut:
            self.core = Core(self.node, request, self)

    def breaks(self, how: str) -> None:
        """The connection is cut: at once, or in silence."""
        if self.is_cut:
            return
        self.is_cut = True
        self.kernel.tell(self.node.name, f"a connection of {self.process.name} is {how}")
        if how == "lost":
            self.inbox.put(LOST)
        else:
            # Whoever waits has to count anew.
            self.inbox.put(b'{"event":"alive"}')
        self._closes()

    def brings(self, event: dict[str, Any]) -> None:
        """Bring an event to the controller, after those before it."""
        if self.is_cut or self.process.is_over:
            return
        arrives = max(self.kernel.now + self.node.ways.seconds(0.01, 0.5), self.last + 1e-6)
        self.last = arrives
        line = encode(event)
        self.kernel.at(arrives - self.kernel.now, lambda: self._comes(line))

    def _comes(self, line: bytes) -> None:
        if not self.is_cut:
            self.inbox.put(line)
