"""What must hold in every story. A rule that is broken ends the story, with a sentence that says how.

1. A host is upgraded once: at most one hop is at work on it, and none begins where one was successful. A controller
   that knows that a host is done does not send it an upgrade.
2. A host is changed only under the lock of the run that changes it, and never do two runs change a cluster at once.
3. Nothing begins on a host once more hosts have failed than may, or once a stop was asked for, or once the ledger can't
   be written.
4. A wave begins only when the gates before it have looked and found all well.
5. What is said at the end, and what the ledger says, is what has happened: a host that was upgraded is said to be, or
   it is said that this is not known; and none is said to be upgraded that is not, unless it lied.
6. No lock is left but where the ending says so, or the controller has left at once or was killed.
7. Every command ends. Once nothing goes wrong any more, each run that is taken up again ends with all hosts upgraded
   and no lock left.
8. No node is changed before all hosts were prepared that are to be done, but for those that have failed in that; and
   none that was not prepared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relup_remote.core.protocol import NOTHING_LEFT
from relup_remote.rollout.endings import Ending
from relup_remote.rollout.ledger import Record
from relup_remote.rollout.rows import UNHEARD, Row, succeeded
from tests.sim.hosts import TARGET, Cluster, Core, Node
from tests.sim.kernel import Kernel, Process

UNKNOWN = (*UNHEARD, "upgrade_in_progress", "internal_error", "node_not_running")
"""Errors that say that it is not known what has happened on a host."""

DONE = ("done", "run_is_over", "nothing to do")
"""How a command ends after which nothing is left to do."""

MISSING = ("node_not_running", "node_unreachable")


@dataclass
class Seen:
    """What a controller has been told, and has told."""

    run: str = ""
    plan: dict[str, Any] = field(default_factory=dict)
    surveyed: dict[str, Row] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    failures: int = 0
    is_broken: bool = False
    waves: set[int] = field(default_factory=set)
    answers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    in_hand: set[str] = field(default_factory=set)
    prepared: dict[str, bool] = field(default_factory=dict)


class Rules:
    """Looks at all that happens. ``broken`` is the first rule that was broken, in a sentence."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.broken: str | None = None
        self.cluster: Cluster
        self._seen: dict[int, Seen] = {}
        self._waves_done: dict[str, set[int]] = {}

    def seen(self, process: Process) -> Seen:
        """What a controller has been told."""
        return self._seen.setdefault(id(process), Seen())

    def breaks(self, rule: int, sentence: str) -> None:
        """A rule is broken."""
        if self.broken is None:
            self.broken = f"rule {rule}: {sentence}"
            self._kernel.tell("RULES", self.broken)
            self._kernel.stop()

    # What hosts see

    def sends(self, process: Process, node: Node, request: dict[str, Any]) -> None:
        """A controller has a request for a host."""
        if process.is_over:
            self.breaks(6, f"{process.name} is gone, and sends {request['command']} to {node.name}")
        if request["command"] == "upgrade" and node.name in self.seen(process).done:
            self.breaks(1, f"{process.name} knows that {node.name} is done, and upgrades it")
        if request["command"] == "upgrade":
            self._is_prepared(process, node)

    def _is_prepared(self, process: Process, node: Node) -> None:
        """A node is going to be changed."""
        seen = self.seen(process)
        if not seen.prepared.get(node.name):
            self.breaks(8, f"{process.name} upgrades {node.name}, which was not prepared")
        to_do = {host for wave in seen.plan["waves"] for host in wave if seen.surveyed[host]["outcome"] == "ready"}
        if left := sorted(to_do - seen.prepared.keys()):
            self.breaks(8, f"{process.name} upgrades {node.name}, and {', '.join(left)} were not prepared first")

    def answers(self, process: Process, node: Node, request: dict[str, Any], event: dict[str, Any]) -> None:
        """A host's result has come in."""
        seen = self.seen(process)
        seen.answers[node.name, request["command"]] = event
        if request["command"] in ("verify", "status"):
            seen.answers[node.name, "look"] = event
        error = event["error"] or {}
        if event["outcome"] == "upgraded" or error.get("err_type") in NOTHING_LEFT:
            seen.done.add(node.name)
        elif event["outcome"] == "ready":
            seen.done.discard(node.name)

    def changes(self, core: Core) -> None:
        """A core begins to change a node."""
        lock = core.node.lock
        if lock is None or lock["run"] != core.run:
            self.breaks(2, f"{core.name} changes its host without the lock of {core.run}")
        for node in self.cluster.nodes.values():
            for other in node.cores:
                if other.is_changing and other.run != core.run:
                    self.breaks(2, f"{core.name} of {core.run} and {other.name} of {other.run} work at once")
            if node.hop and node.hop.attempt["run"] != core.run:
                self.breaks(2, f"{core.name} of {core.run} works while a hop of {node.hop.attempt['run']} is under way")

    def hops(self, core: Core) -> None:
        """A hop begins."""
        if core.node.hop:
            self.breaks(1, f"{core.name} begins a second hop")
        if core.node.release == TARGET:
            self.breaks(1, f"{core.name} begins a hop on a host that is upgraded")
        if core.command != "upgrade":
            self.breaks(8, f"{core.name} begins a hop, and was to {core.command}")
        self.changes(core)

    def hopped(self, core: Core) -> None:
        """A hop has been successful."""
        core.node.is_lying = False
        done = [row for row in core.node.history if _has_done(row)]
        if len(done) > 1:
            self.breaks(1, f"{core.node.name} was upgraded {len(done)} times")

    def locks(self, core: Core) -> None:
        """A core has put a lock on its host."""
        if core.session:
            self.seen(core.session.process).locked.add(core.node.name)

    def unlocks(self, core: Core) -> None:
        """A core takes a lock off its host."""
        node = core.node
        at_work = [other for other in node.cores if other.is_changing and other.run == core.run]
        if at_work or (node.hop and node.hop.attempt["run"] == core.run):
            self.breaks(2, f"{core.name} takes the lock of {core.run} off, which is at work on the host")

    # What the run tells

    def hears(self, process: Process, event: dict[str, Any]) -> None:
        """An event of a run's feed."""
        seen = self.seen(process)
        hear = getattr(self, f"_{event['event']}", None)
        if self._kernel.is_read and event["event"] not in ("step", "hello", "want", "connections"):
            told = {
                name: value for name, value in event.items() if name not in ("event", "at", "row", "plan", "detail")
            }
            if "row" in event:
                error = event["row"]["error"] or {}
                told["outcome"] = " ".join((event["row"]["outcome"], error.get("err_type") or "")).strip()
            self._kernel.tell(process.name, f"tells {event['event']}: {_listed(told)}")
        if hear:
            hear(process, seen, event)

    def _run(self, _process: Process, seen: Seen, event: dict[str, Any]) -> None:
        seen.run, seen.plan = event["run"], event["plan"]
        seen.rows = {}
        for host, row in seen.surveyed.items():
            if row["outcome"] not in ("ready", "ok"):
                missing = not succeeded(row) and _is_missing(row)
                seen.failures += not succeeded(row) and not (missing and seen.plan["allow_missing"])
                if succeeded(row):
                    seen.rows[host] = row

    def _host(self, process: Process, seen: Seen, event: dict[str, Any]) -> None:
        host, phase = event["host"], event["phase"]
        if phase == "survey":
            if "row" in event:
                seen.surveyed[host] = event["row"]
        elif event["status"] == "start":
            self._begins(process, seen, host, phase)
        else:
            seen.in_hand.discard(host)
            if phase in ("prepare", "apply") and not succeeded(event["row"]):
                seen.failures += 1
            if phase == "prepare":
                seen.prepared[host] = succeeded(event["row"])
            if phase == "apply" or event["row"]["outcome"] == "nothing to do":
                seen.rows[host] = event["row"]

    def _begins(self, process: Process, seen: Seen, host: str, phase: str) -> None:
        seen.in_hand.add(host)
        if seen.failures > seen.plan["max_failures"]:
            self.breaks(3, f"{process.name} begins {phase} on {host} after {seen.failures} failures")
        if process.signals:
            self.breaks(3, f"{process.name} begins {phase} on {host} after Ctrl-C")
        if seen.is_broken:
            self.breaks(3, f"{process.name} begins {phase} on {host} with a ledger that can't be written")

    def _wave(self, process: Process, seen: Seen, event: dict[str, Any]) -> None:
        number = event["wave"]
        done = self._waves_done.setdefault(seen.run, set())
        if event["status"] == "done":
            done.add(number)
        if event["status"] != "start":
            return
        for earlier, wave in enumerate(seen.plan["waves"][: number - 1], 1):
            good = [host for host in wave if host in seen.rows and succeeded(seen.rows[host])]
            if earlier in seen.waves:
                self._gates_were_open(process, seen, earlier, good)
            elif good and earlier not in done:
                self.breaks(4, f"{process.name} begins wave {number}, and has not passed the gates of wave {earlier}")
        seen.waves.add(number)

    def _gates_were_open(self, process: Process, seen: Seen, wave: int, hosts: Sequence[str]) -> None:
        gates = seen.plan["gates"]
        for host in hosts:
            # Either tells what the node sees; the last one counts.
            verify, look = (seen.answers.get((host, command)) for command in ("verify", "look"))
            why = ""
            if gates["verify"] and (verify is None or verify["outcome"] != "verified"):
                why = "verify"
            if gates["cluster"] and (look is None or set(seen.plan["nodes"]) - set(look["facts"].get("nodes") or ())):
                why = "cluster"
            if gates["connections"] is not None and (look is None or look["outcome"] not in ("ok", "verified")):
                why = "connections"
            if why:
                self.breaks(4, f"{process.name} leaves wave {wave}, and the gate {why} has not found {host} well")

    # What is said at the end

    def ends(self, process: Process, path: Path, shown: tuple[Sequence[Row], Ending] | None) -> None:
        """A controller has come to its end: what it has ``shown``, and what is in the ledger at ``path``."""
        if shown is None or not path.exists():
            return
        rows, ending = shown
        run = path.name
        record = Record(path, {})
        for row in rows:
            self._is_true(process, run, "says", row["host"], row)
            if row["host"] in self.seen(process).in_hand and row["outcome"] == "skipped":
                self.breaks(5, f"{process.name} says of {row['host']} that its turn did not come; but it was in hand")
        begun = {event["host"]: event for event in record.events if event.get("phase") == "apply"}
        for name in self.cluster.nodes:
            in_hand = name in begun and begun[name]["status"] == "start"
            if in_hand or self.seen(process).is_broken:
                continue
            self._is_true(process, run, "has in its ledger", name, record.rows.get(name))
        if ending.outcome == "interrupted" and process.signals > 1:
            return
        for name in sorted(self.seen(process).locked - set(ending.detail.get("still_locked", ()))):
            lock = self.cluster.nodes[name].lock
            if lock and lock["run"] == run:
                self.breaks(6, f"{process.name} ended ({ending.outcome}), and its lock is left on {name}")

    def _is_true(self, process: Process, run: str, says: str, host: str, row: Row | None) -> None:
        node = self.cluster.nodes[host]
        is_done = any(each["run"] == run and _has_done(each) for each in node.history)
        error = (row or {}).get("error") or {}
        outcome = row["outcome"] if row else "nothing"
        told = f"{process.name} {says} of {host}: {outcome} {error.get('err_type') or ''}".rstrip()
        if outcome == "upgraded" and node.release != TARGET and not (node.is_lying or node.was_rolled_back):
            self.breaks(5, f"{told}; but it is not upgraded")
        # A host whose late cleanup failed has failed, with all its steps.
        applied = any(step["step"] == "apply" and step["status"] == "ok" for step in (row or {}).get("steps", ()))
        is_said = applied or outcome in ("upgraded", "nothing to do")
        is_unknown = bool(error) and (error["err_type"] in UNKNOWN or error["stage"] == "connect")
        if is_done and not (is_said or is_unknown):
            self.breaks(5, f"{told}; but it is upgraded")

    def is_finished(self, run: str, path: Path | None, how: str) -> None:
        """Nothing goes wrong any more, and a run was taken up again, or begun: it ended like this.

        ``path`` is its ledger, None if it has none.
        """
        if how not in DONE:
            self.breaks(7, f"nothing goes wrong any more, and {run} ended: {how}")
        if path is None:
            return
        record = Record(path, {})
        for name in [member["host"] for member in record.plan["hosts"]]:
            row = record.rows.get(name)
            if row is None or not succeeded(row):
                self.breaks(7, f"{run} is done, and the ledger does not say so of {name}")
            if self.cluster.nodes[name].release != TARGET:
                self.breaks(7, f"{run} is done, and {name} is not upgraded")


def _has_done(attempt: dict[str, Any]) -> bool:
    """Whether an attempt was successful, and nobody has gone back since."""
    return attempt["extra"].get("outcome") == "success" and not attempt["extra"].get("undone")


def _is_missing(row: Row) -> bool:
    return row["error"]["stage"] == "connect" or row["error"]["err_type"] in MISSING


def _listed(told: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in told.items() if value not in ("", None, []))
