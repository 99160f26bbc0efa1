"""A story: what two operators, their controllers and some hosts go through, all of it by one seed."""

import random
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from relup_remote.commands.invocation import Invocation, Table
from relup_remote.commands.rolling import Rolling, taken_up
from relup_remote.commands.wishes import Wishes
from relup_remote.deadline import Deadline
from relup_remote.inventory import HostSettings
from relup_remote.rollout.endings import Ending
from relup_remote.rollout.feed import Feed
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.rollout.request import Order
from relup_remote.rollout.roll import Work
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import Runner
from relup_remote.rollout.tarball import Tarball
from relup_remote.usage import UsageError
from tests.sim import engine
from tests.sim.faults import Faults
from tests.sim.hosts import TARGET, Cluster
from tests.sim.kernel import EndlessError, Kernel, Process
from tests.sim.rules import DONE, Rules

TARBALL = Tarball(
    Path("/tarballs/emqx-1.1.tar.gz"), 1000, "0" * 64, {"status": "missing", "text": ""}, {"version": TARGET}
)
PARTS: dict[str, Any] = {
    "target": TARGET,
    "tarball": {
        "path": str(TARBALL.path),
        "name": TARBALL.path.name,
        "bytes": TARBALL.bytes,
        "sha256": TARBALL.sha256,
        "version": TARGET,
    },
    "hops": (),
    "helpers": (),
    "catalogue": None,
}

LATEST = 400
"""A controller's moment before which it meets its fate, if it meets one: a run of eight hosts has about as many."""

AGES = 3 * 24 * 3600.0
"""Seconds after which whatever hung has been given up, by everybody."""

Shown = tuple[Sequence[Row], Ending]


class Call(Invocation):
    """The command as it is carried out, on the hosts of the story; what it shows is kept."""

    def __init__(self, operator: "Operator", command: str, hosts: Sequence[str], feed: Feed, seconds: float) -> None:
        super().__init__(command, hosts, "", json=False, quiet=True)
        self._operator = operator
        self.__dict__.update(feed=feed, deadline=Deadline(seconds), inventory_path=Path("/inventory.yml"))
        self.shown: Shown | None = None

    @cached_property
    def hosts(self) -> list[HostSettings]:
        """The hosts that are meant."""
        known = self._operator.story.names
        return [HostSettings(name, name) for name in known if not self.selection or name in self.selection]

    @cached_property
    def runner(self) -> Runner:
        """What brings requests to the simulated hosts."""
        return Runner(
            self._operator.story.cluster.connect, self.watch, self._operator.folder / "traces", deadline=self.deadline
        )

    def show(
        self,
        rows: Sequence[Row],
        table: Table | None = None,
        *,
        hops: bool = False,
        full: bool = False,
        more: Any = None,
        after: str = "",
        status: int | None = None,
        hint: str = "",
    ) -> None:
        """Show nothing."""

    def show_run(self, rows: Sequence[Row], ending: Ending, after: str) -> None:
        """Keep what a run came to."""
        self.shown = (rows, ending)


@dataclass
class Operator:
    """Somebody who upgrades the cluster, and takes his run up again where it was broken off."""

    story: "Story"
    name: str
    folder: Path
    hosts: Sequence[str]
    wishes: Wishes
    gates: Gates
    tries: int
    chance: random.Random
    run: str = ""
    runs: int = 0
    how: str = ""
    is_full: bool = False
    is_running: bool = False
    seconds: float = 172_800.0
    shown: Shown | None = None

    @property
    def path(self) -> Path:
        """The ledger of the run."""
        return self.folder / "runs" / self.run

    @property
    def has_begun(self) -> bool:
        """Whether there is a run that can be taken up."""
        return bool(self.run) and (self.path / "request.json").exists()

    @property
    def is_done(self) -> bool:
        """Whether the run is over, with all done."""
        return self.how in DONE

    def begin(self, after: float) -> None:
        """Type the command: a new run, or the one that there is."""
        kernel = self.story.kernel
        self.tries -= 1
        self.runs += 1
        self.is_full, self.is_running = False, True
        self.seconds = 172_800.0
        self.how, self.shown = "", None
        process = Process(f"{self.name}#{self.runs}", self._ended, {} if self.story.faults.calm else self._fates())
        self.story.owners[id(process)] = self
        kernel.start(process, self._main, after)

    def _fates(self) -> dict[int, Callable[[Process], None]]:
        """What is going to come over the controller."""
        chance, count = self.chance, self.story.faults.count
        moment = min(int(2 ** chance.uniform(0, 9)), LATEST)
        kind = chance.choices(
            ("", "controller killed", "Ctrl-C", "Ctrl-C twice", "disk full", "time is up"), (4, 4, 2, 4, 1, 1)
        )[0]
        kernel = self.story.kernel

        def kill(process: Process) -> None:
            count[kind] += 1
            kernel.tell(process.name, "is killed")
            kernel.kill(process)

        def interrupt(process: Process) -> None:
            if not process.signals:
                count[kind] += 1
            kernel.signal(process, signal.SIGINT)

        def fill(_process: Process) -> None:
            count[kind] += 1
            self.is_full = True

        if kind == "controller killed":
            return {moment: kill}
        if kind == "Ctrl-C":
            return {moment: interrupt}
        if kind == "Ctrl-C twice":
            return {moment: interrupt, moment + int(2 ** chance.uniform(0, 4)): interrupt}
        if kind == "disk full":
            return {moment: fill}
        if kind == "time is up":
            count[kind] += 1
            self.seconds = chance.uniform(10, 1000)
        return {}

    def refuses(self, process: Process) -> bool:
        """Whether the disk has no room."""
        if self.is_full:
            self.story.rules.seen(process).is_broken = True
        return self.is_full

    def _main(self) -> None:
        story = self.story
        process = story.kernel.process
        feed = Feed(lambda event: story.rules.hears(process, event))
        is_new = not self.has_begun
        call = Call(self, "upgrade", self.hosts if is_new else (), feed, self.seconds)
        if is_new:
            self.run = f"run-{self.name}-{self.runs}"
        call.run = self.run
        story.kernel.tell(process.name, f"types: upgrade {'' if is_new else '--resume '}({self.run})")
        try:
            record = None if is_new else taken_up(call, self.run, Wishes())
            options = dict(Plan.from_json(record.plan).options) if record else {}
            order = Order("upgrade", self.run, self.name, tarball=TARBALL.to_json(), target=TARGET, options=options)
            wishes = self.wishes if is_new else Wishes()
            Rolling(
                call, Work(order, TARBALL), "plan", self.gates, wishes, PARTS, record=record, yes=True, quiet=True
            ).roll()
            self.how = call.shown[1].outcome if call.shown else "nothing shown"
        except UsageError as error:
            self.how = error.err_type
            story.kernel.tell(process.name, str(error))
        except KeyboardInterrupt:
            self.how = "KeyboardInterrupt"
        self.shown = call.shown

    def _ended(self, process: Process) -> None:
        story = self.story
        self.is_running = False
        if process.error is not None:
            story.rules.breaks(7, f"{process.name} raised {process.error!r}")
            return
        story.kernel.tell(process.name, f"is over: {self.how}" if not process.is_killed else "is over: killed")
        if not process.is_killed:
            story.rules.ends(process, self.path, self.shown)
        story.goes_on(self)


class Story:
    """A story by its ``seed``. ``told`` gets a line for each thing worth reading: virtual seconds, who, and what."""

    def __init__(self, seed: int, told: Callable[[float, str, str], None] | None = None) -> None:
        self.seed = seed
        chance = self.chance = random.Random(f"story {seed}")
        self.kernel = Kernel(seed, told)
        self.faults = Faults(random.Random(f"faults {seed}"), lambda: self.kernel.now)
        self.rules = Rules(self.kernel)
        self.names = [f"n{number}" for number in range(1, chance.choice((2, 3, 3, 4, 5, 6, 8)) + 1)]
        self.cluster = Cluster(self.kernel, self.rules, lambda _name: self.faults.ways(), self.names)
        self.rules.cluster = self.cluster
        for node in self.cluster.nodes.values():
            node.role = chance.choice(("core", "core", "replicant"))
        self.owners: dict[int, Operator] = {}
        self.operators: list[Operator] = []
        self._rest: list[Operator] = []

    def run(self) -> "Told":
        """Have it all happen."""
        folder = Path(tempfile.mkdtemp(prefix="relup-sim-"))
        try:
            self._begin(folder)
            with engine.on(
                self.kernel,
                lambda process: self.owners[id(process)].refuses(process),
                lambda: self._owner.folder / "runs",
                lambda: self._owner.name,
            ):
                try:
                    self.kernel.run()
                except EndlessError as error:
                    self.rules.breaks(7, str(error))
                if self.rules.broken is None:
                    self._is_over()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Told(self.seed, self.kernel.events, self.kernel.now, self.faults.count, self.rules.broken)

    @property
    def _owner(self) -> Operator:
        return self.owners[id(self.kernel.process)]

    def _begin(self, folder: Path) -> None:
        names = ["alice"]
        if self.chance.random() < 0.4:
            names.append("bob")
            self.faults.count["two controllers"] += 1
        same_machine = self.chance.random() < 0.5
        for number, name in enumerate(names):
            state = folder / ("state" if same_machine else name)
            some = number > 0 and self.chance.random() < 0.5
            hosts = self.chance.sample(self.names, self.chance.randint(1, len(self.names))) if some else ()
            self.operators.append(
                Operator(
                    self,
                    name,
                    state,
                    hosts,
                    self._wishes(),
                    Gates(postcheck=False),
                    self.chance.choice((1, 2, 2, 3)),
                    random.Random(f"{name} {self.seed}"),
                )
            )
            self.operators[-1].begin(
                0.0 if number == 0 else self.chance.choice((0.0, 1.0, 30.0, 300.0)) * self.chance.random()
            )
        for node in self.cluster.nodes.values():
            if self.chance.random() < self.chance.choice((0.0, 0.0, 0.2)):
                self._stops(node.name)
            if self.chance.random() < self.chance.choice((0.0, 0.0, 0.2)):
                self._goes_back(node.name)

    def _wishes(self) -> Wishes:
        chance = self.chance
        return Wishes(
            waves=chance.choice(("", "1", "1,50%,100%", "100%", "2", "1,2")),
            parallel=str(chance.choice((1, 1, 2, 4))),
            order=chance.choice(("", "inventory", "cores-first")),
            max_failures=str(chance.choice((0, 0, 1, 2))),
            allow_missing=chance.random() < 0.2,
            gates=chance.choice(
                ("verify,cluster,connections", "verify,cluster,connections", "verify", "cluster", "none")
            ),
            soak=chance.choice(("", "", "30s", "2m")),
            gate_timeout=chance.choice(("0s", "60s", "10m")),
        )

    def _stops(self, name: str) -> None:
        node = self.cluster.nodes[name]
        after = self.chance.uniform(0, 1000)

        def stops() -> None:
            if not self.faults.calm and node.is_up:
                self.faults.count["machine stops"] += 1
                node.dies()

        self.kernel.at(after, stops)
        self.kernel.at(after + self.chance.uniform(1, 2000), node.comes_back)

    def _goes_back(self, name: str) -> None:
        node = self.cluster.nodes[name]

        def goes_back() -> None:
            if not self.faults.calm and node.is_rolled_back_by_hand():
                self.faults.count["rolled back by hand"] += 1

        self.kernel.at(self.chance.uniform(50, 3000), goes_back)

    def goes_on(self, operator: Operator) -> None:
        """A controller of an operator has ended: he tries again, or in the end all is well and he takes his run up."""
        if self.faults.calm:
            self._finish(operator)
        elif operator.tries > 0 and not operator.is_done:
            operator.begin(self.chance.uniform(1, 2000) * self.chance.choice((0.01, 1.0)))
        else:
            operator.tries = 0
            if not any(each.tries > 0 or each.is_running for each in self.operators):
                self.kernel.at(AGES, self._all_is_well)

    def _all_is_well(self) -> None:
        self.kernel.tell("STORY", "nothing goes wrong any more")
        self.faults.calm = True
        for node in self.cluster.nodes.values():
            node.comes_back()
        # Of two, each may have locked the other out.
        self._rest = self.operators * 2
        self._finish(None)

    def _finish(self, before: Operator | None) -> None:
        if before is not None and (before.is_done or before not in self._rest):
            self._rest = [each for each in self._rest if each is not before]
            self.rules.is_finished(before.run, before.path if before.has_begun else None, before.how)
        if self._rest:
            self._rest.pop(0).begin(1.0)
        else:
            self.kernel.stop()

    def _is_over(self) -> None:
        if not self.faults.calm or self._rest or any(operator.is_running for operator in self.operators):
            self.rules.breaks(7, "nothing happens any more, and not all controllers have ended")
        for node in self.cluster.nodes.values():
            if node.lock:
                self.rules.breaks(7, f"all is done, and the lock of {node.lock['run']} is left on {node.name}")


@dataclass
class Told:
    """What became of a story: ``events``, virtual ``seconds``, ``faults`` by kind, and the rule that was ``broken``."""

    seed: int
    events: int
    seconds: float
    faults: Counter[str]
    broken: str | None


@dataclass
class Summary:
    """What became of many stories."""

    seeds: int = 0
    events: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, told: Told) -> None:
        """Count one more."""
        self.seeds += 1
        self.events += told.events
        self.seconds += told.seconds
        self.faults.update(told.faults)
        if told.broken:
            self.broken[told.seed] = told.broken

    @classmethod
    def of(cls, seeds: Iterable[int]) -> "Summary":
        """The summary of the stories of some seeds."""
        summary = cls()
        for seed in seeds:
            summary.add(Story(seed).run())
        return summary

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common())
        lines = [
            f"{self.seeds} seeds, {self.events} events, {self.seconds / 86400:.0f} virtual days, "
            f"{sum(self.faults.values())} faults, {len(self.broken)} violations",
            f"faults: {faults}",
        ]
        return "\n".join([*lines, *(f"seed {seed}: {sentence}" for seed, sentence in self.broken.items())])
