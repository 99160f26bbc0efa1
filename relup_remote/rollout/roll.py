"""A run: preparation, waves, gates, cleanup, under the lock of the cluster.

What a run leaves at each of its possible ends:

=================================  =========================  ==========================================
it ends                            nodes                      the lock of the cluster
=================================  =========================  ==========================================
before it has the lock             untouched                  given back where it was taken
in preparation                     untouched, trees there     given back
in a wave: too many failures       those in hand finished     given back
at a gate                          the wave is through        given back
by the first Ctrl-C                those in hand finished     given back
by the second                      go on by themselves        held by the run: ``--resume`` has it, others
                                                              need ``inv unlock --force``
by the death of the controller     the same                   the same
=================================  =========================  ==========================================

What was begun on a host that was not heard to the end may go on there: on that host the lock is held by the run, at
whatever end.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relup_remote.inventory import HostSettings
from relup_remote.rollout.endings import Ending, Stopped, allowed_failures
from relup_remote.rollout.feed import Feed
from relup_remote.rollout.gates import Case, pass_gates
from relup_remote.rollout.ledger import Record
from relup_remote.rollout.plan import Plan
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import UNKNOWN, Row, is_partly_prepared, is_unheard, skipped, step, succeeded
from relup_remote.rollout.run import AT_ONCE, Job, Runner
from relup_remote.rollout.stop import Stop
from relup_remote.rollout.tarball import Tarball

ENDS = ("apply", "cleanup")
"""The phases that a finished host was in last."""

AHEAD = ("connect", "stage", "checksum", "patches", "extract")
"""The stages of an upgrade in which a host is lost, or fails, before its hop."""

_OPEN = (UNKNOWN, "failed")
"""What a step is whose end was not heard, or that its core gave up."""

_IN_WORDS = {"upgrade": ("upgraded", "upgrade"), "rollback": ("rolled back", "roll back")}
"""What a run has done with its hosts, and what it does."""


@dataclass(frozen=True)
class Work:
    """What is done on each host: the ``order``, and the tarball that is prepared ahead of it, if there is one."""

    order: Order
    tarball: Tarball | None = None


class Rollout:
    """A run of a plan; ``hosts`` are the settings of the plan's hosts.

    ``rows`` are those of hosts on which nothing is left to do or that failed in the survey; of the latter those of
    ``left_out`` do not count as failures. ``record`` is the run as it was left, where it is taken up again, and of the
    hosts that it calls done those of ``again`` are not.
    """

    def __init__(
        self,
        plan: Plan,
        hosts: Mapping[str, HostSettings],
        work: Work,
        runner: Runner,
        feed: Feed,
        stop: Stop,
        rows: Iterable[Row],
        left_out: Collection[str] = (),
        again: Collection[str] = (),
        record: Record | None = None,
    ) -> None:
        self._plan = plan
        self._hosts = hosts
        self._work = work
        self._runner = runner
        self._feed = feed
        self._stop = stop
        self._earlier = _last_rows(record, ("apply",))
        found = {row["host"]: self._with_earlier(row) for row in rows}
        self._rows: dict[str, Row] = {**done_before(record, again), **found}
        self._left_out = left_out
        self._failed = [name for name, row in self._rows.items() if not succeeded(row) and name not in left_out]
        self._passed = _passed_before(record)
        self._in_hand: dict[str, Job] = {}
        self._locked: list[str] = []
        self._prepared: dict[str, Row] = {}
        self._changed = record is not None
        self._applied = any(event.get("phase") == "apply" for event in (record.events if record else ()))

    def run(self) -> tuple[list[Row], Ending]:
        """Do all of it, as far as it goes; the rows of all hosts in the plan's order, and how it ended."""
        try:
            try:
                self._lock()
                self._prepare()
                self._feed.tell("phase", phase="waves", hosts=[name for name in self._names() if self._is_to_do(name)])
                for number, wave in enumerate(self._plan.waves, 1):
                    self._wave(number, wave)
                self._clean_up()
                ending = self._finished()
            except Stopped as stopped:
                ending = self._ending(stopped)
            if self._stop.requested > 1:
                raise KeyboardInterrupt
            ending = _unless_locked(ending, self._unlock())
        except KeyboardInterrupt:
            hosts = [name for name in self._names() if name in self._in_hand]
            self._leave()
            left = f"Hosts that had started go on: {', '.join(hosts)}." if hosts else "No node was being changed."
            locked = " The run keeps its lock." if self._locked else ""
            reason = f"The operator left at once. {left}{locked}"
            ending = self._ending(Stopped("interrupted_by_operator", reason, outcome="interrupted"))
        except Exception as error:
            # Whatever nobody foresaw must not keep others from the cluster, or look as if the run went on.
            reason = f"{type(error).__name__}: {error}"
            self._feed.tell("end", **self._ending(Stopped("broke_off", reason)).to_json())
            if not self._in_hand:
                self._unlock()
            raise
        self._feed.tell("end", **ending.to_json())
        return self._all_rows(ending), ending

    # The phases

    def _lock(self) -> None:
        why = f"{self._plan.command} to {self._plan.target}" if self._plan.target else self._plan.command
        # A node that does not answer may be what is rolled back.
        order = self._order("lock", options={"why": why, "lock_blind": self._plan.command == "rollback"})
        names = [name for name in self._names() if name not in self._rows or succeeded(self._rows[name])]
        self._feed.tell("phase", phase="lock", hosts=names)
        rows = self._runner.at_once(self._jobs(names, order))
        self._locked = [row["host"] for row in rows if succeeded(row) or is_unheard(row)]
        bad = [row for row in rows if not succeeded(row)]
        if bad:
            for row in bad:
                if row["host"] not in self._rows:
                    self._rows[row["host"]] = row
                    self._tell_end("lock", row)
            # One that is skipped has none: the operator has left.
            reason = "; ".join(dict.fromkeys(str(row["error"]["message"]) for row in bad if row["error"]))
            raise Stopped("lock_not_taken", reason, outcome="refused")
        self._refuse()

    def _prepare(self) -> None:
        """Do on all hosts what changes no node. One that fails here has failed before the first node was changed."""
        names = [name for name in self._names() if self._is_to_do(name)]
        if self._work.tarball is None or not names:
            return
        self._feed.tell("phase", phase="prepare", hosts=names)
        before = list(self._failed)
        lacking = {name: self._plan.member(name).bytes for name in names}
        whole = self._work.tarball.bytes
        jobs = self._jobs(names, replace(self._work.order, command="prepare"), self._work.tarball)
        jobs = [replace(job, bytes=whole if (n := lacking[job.host.name]) is None else n) for job in jobs]
        for row in self._each("prepare", jobs, self._plan.prepare_parallel):
            # An earlier core of the run may have come to its end since the survey.
            if succeeded(row) and row["outcome"] != "nothing to do":
                self._prepared[row["host"]] = row
                self._tell_end("prepare", row)
            else:
                self._keep("prepare", row)
        which = "another" if self._applied else "any"
        self._refuse(f" in preparation, before {which} node was changed", before)

    def _wave(self, number: int, wave: Sequence[str]) -> None:
        names = [name for name in wave if self._is_to_do(name)]
        if not names and (number in self._passed or not self._good(wave)):
            return
        about = {"wave": number, "waves": len(self._plan.waves), "hosts": list(wave)}
        self._feed.tell("wave", status="start", **about)
        try:
            for row in self._each(
                "apply", self._jobs(names, self._work.order, self._work.tarball), self._plan.parallel
            ):
                self._changed = True
                self._keep("apply", _with_preparation(row, self._prepared.get(row["host"])))
            self._refuse()
            hosts = self._good(wave)
            if hosts:
                before = {name: self._connections_before(name) for name in wave}
                proofs = {name: proof for name in names if (proof := _proof_of(self._rows[name]))}
                case = Case(self._plan, number, tuple(hosts), before, self._runner, self._feed, proofs)
                pass_gates(case, self._stop, last=number == len(self._plan.waves))
        except Stopped as stopped:
            is_wanted = stopped.outcome == "interrupted"
            self._feed.tell("wave", status="interrupted" if is_wanted else "stopped", **about)
            raise
        self._passed.add(number)
        self._feed.tell("wave", status="done", **about)

    def _connections_before(self, name: str) -> int | None:
        """How many a host had when its turn came; where its core has not told us, at the survey, perhaps hours ago."""
        told: int | None = self._rows[name]["facts"].get("connections_before") if name in self._rows else None
        return self._plan.member(name).connections if told is None else told

    def _clean_up(self) -> None:
        """Clean up where that had to wait for the later hosts."""
        names = [name for name, row in self._rows.items() if _needs_cleanup(row)]
        rows = self._rows.values()
        whole = all(map(succeeded, rows)) and not all(row["outcome"] == "nothing to do" for row in rows)
        if self._work.tarball is None or not names or not whole:
            return
        self._feed.tell("phase", phase="cleanup", hosts=names)
        for row in self._each("cleanup", self._jobs(names, self._order("cleanup")), AT_ONCE):
            self._rows[row["host"]] = _with_cleanup(self._rows[row["host"]], row)
            self._tell_end("cleanup", self._rows[row["host"]])
        self._refuse()

    def _unlock(self) -> list[str]:
        """Give the lock back, but where the run may still be at work; returns the hosts on which it is left."""
        unheard = self._runner.unheard
        heard = [name for name in self._locked if name not in unheard]
        rows = self._runner.at_once(self._jobs(heard, self._order("unlock")))
        left = {row["host"] for row in rows if not succeeded(row)} | unheard
        return [name for name in self._locked if name in left]

    def _leave(self) -> None:
        for name, job in sorted(self._in_hand.items()):
            self._rows.setdefault(name, self._runner.interrupted(job))

    # What the phases share

    def _each(self, phase: str, jobs: Sequence[Job], limit: int) -> Iterable[Row]:
        """The rows of jobs as they end, as long as more may be begun."""

        def begins(job: Job) -> None:
            self._in_hand[job.host.name] = job
            self._feed.tell("host", host=job.host.name, phase=phase, status="start")

        for row in self._runner.as_done(jobs, limit, self._may_go_on, begins):
            self._in_hand.pop(row["host"], None)
            yield row

    def _may_go_on(self) -> bool:
        return not (self._stop or self._feed.broken or len(self._failed) > self._plan.max_failures)

    def _refuse(self, where: str = "", before: Sequence[str] = ()) -> None:
        """Raises `Stopped` where nothing more may be begun; ``where`` hosts failed, in words, other than ``before``."""
        if len(self._failed) > self._plan.max_failures:
            here = [name for name in self._failed if name not in before]
            earlier = f"; {', '.join(before)} failed earlier" if before else ""
            reason = f"{', '.join(here)} failed{where}{earlier}; {allowed_failures(self._plan.max_failures)}"
            raise Stopped("too_many_failures", reason)
        if self._feed.broken:
            raise Stopped(
                "ledger_unwritable", f"The record of the run could not be written: {_said(self._feed.broken)}."
            )
        if self._stop:
            raise self._stop.why()

    def _finished(self) -> Ending:
        """The ending of a run that went through all waves."""
        left = [name for name in self._names() if not succeeded(self._rows[name])]
        mine = {row["node"] for row in self._rows.values() if succeeded(row)}
        behind = sorted(
            {node for row in self._rows.values() for node in _behind(row) if node.split(" ")[0] not in mine}
        )
        detail = {"behind": behind} if behind else {}
        if not left:
            return Ending("done", detail=detail)
        reason = f"{', '.join(left)} {'is' if len(left) == 1 else 'are'} not done."
        return self._ending(Stopped("hosts_left", reason, "partly done", {**detail, "left": left}))

    def _ending(self, stopped: Stopped) -> Ending:
        outcome = "stopped" if stopped.outcome == "refused" and self._changed else stopped.outcome
        command = f"inv {self._plan.command} --resume {self._plan.run}"
        left = {"prepared": self._only_prepared(), "partly_prepared": self._partly_prepared()}
        detail = {**stopped.detail, **{key: hosts for key, hosts in left.items() if hosts}}
        is_wanted = stopped.err_type in ("interrupted_by_operator", "out_of_time")
        reason = " ".join(filter(None, (stopped.reason, self._what_is_left() if is_wanted else "")))
        return Ending(outcome, stopped.err_type, reason, command, detail)

    def _what_is_left(self) -> str:
        """What the run would still do if no host is left, in words; nothing where the hosts' rows tell it."""
        settled = {name for name, row in self._rows.items() if succeeded(row)} | {*self._failed, *self._left_out}
        if self._in_hand or not settled.issuperset(self._names()):
            return ""
        done, to_do = _IN_WORDS[self._plan.command]
        hosts = f"All hosts are {done}" if all(map(succeeded, self._rows.values())) else f"No host is left to {to_do}"
        closed = [n for n, wave in enumerate(self._plan.waves, 1) if n not in self._passed and self._good(wave)]
        closed = closed if self._plan.gates.are_any else []
        waves = f"wave{'s' if len(closed) > 1 else ''} {' and '.join(map(str, closed))}"
        return f"{hosts}. The gates after {waves} were not passed." if closed else f"{hosts}."

    def _only_prepared(self) -> list[str]:
        """The hosts on which a tree is left that no hop has used. Where an upgrade may go on, nothing is known."""
        rows = {name: self._rows.get(name) for name in self._names() if name in self._prepared}
        return [name for name, row in rows.items() if row is None or self._is_as_prepared(row)]

    def _is_as_prepared(self, row: Row) -> bool:
        if row["outcome"] == "refused":
            return True
        return not succeeded(row) and row["error"]["stage"] in AHEAD and row["host"] not in self._runner.unheard

    def _partly_prepared(self) -> list[str]:
        """The hosts that failed in preparation, and may keep what was brought there."""
        return [name for name, row in self._rows.items() if name not in self._prepared and is_partly_prepared(row)]

    def _keep(self, phase: str, row: Row) -> None:
        """The row of a host that is not gone back to: it is done, or it has failed."""
        if not succeeded(row):
            self._failed.append(row["host"])
        # A host that was lost could not say what the plan knows. What runs there now is not known.
        member = self._plan.member(row["host"])
        planned = {"node": member.node, "from": member.from_vsn, "target": self._plan.target}
        row = self._with_earlier({**row, **{key: value for key, value in planned.items() if row[key] is None}})
        self._rows[row["host"]] = row
        self._tell_end(phase, row)

    def _with_earlier(self, row: Row) -> Row:
        """The row of a host that is found done, with the steps that an earlier controller of the run saw there.

        It may not have heard how the last one ended. The node is where it leads, so that is done.
        """
        before = self._earlier.get(row["host"])
        change = "rollback" if self._plan.command == "rollback" else "apply"
        if before is None or row["outcome"] != "nothing to do" or row["steps"] or not step(before, change):
            return row
        until = [each["step"] for each in before["steps"]].index(change) + 1
        done = [{**each, "status": "ok"} if each["status"] in _OPEN else each for each in before["steps"][:until]]
        return {**row, "steps": [*done, *before["steps"][until:]]}

    def _tell_end(self, phase: str, row: Row) -> None:
        self._feed.tell("host", host=row["host"], phase=phase, status="end", row=row)

    def _names(self) -> list[str]:
        return [member.host for member in self._plan.hosts]

    def _is_to_do(self, name: str) -> bool:
        return name not in self._rows

    def _good(self, wave: Sequence[str]) -> list[HostSettings]:
        """The hosts of a wave on which all is well."""
        return [self._hosts[name] for name in wave if name in self._rows and succeeded(self._rows[name])]

    def _order(self, command: str, options: Mapping[str, object] | None = None) -> Order:
        order = replace(self._work.order, command=command, hops=(), paths=(), helpers=())
        return order if options is None else replace(order, options=dict(options))

    def _jobs(self, names: Iterable[str], order: Order, tarball: Tarball | None = None) -> list[Job]:
        file = tarball.path if tarball else None
        hosts = [self._hosts[name] for name in names]
        return [Job(host, request(order, host), file, is_of_run=True) for host in hosts]

    def _all_rows(self, ending: Ending) -> list[Row]:
        reason = ending.reason[:1].lower() + ending.reason[1:].rstrip(".")
        return [self._rows.get(name) or self._left(name, reason) for name in self._names()]

    def _left(self, name: str, reason: str) -> Row:
        """The row of a host whose turn did not come, with what was prepared there."""
        left = skipped(name, reason)
        if name not in self._prepared:
            return left
        prepared = self._prepared[name]
        about = ("node", "from", "target", "running", "steps")
        return {**left, **{key: prepared[key] for key in about}, "warnings": _warned(prepared)}


def done_before(record: Record | None, again: Collection[str] = ()) -> dict[str, Row]:
    """The rows of the hosts that an earlier controller has finished, but for those that are to be done ``again``."""
    return {host: row for host, row in _last_rows(record, ENDS).items() if succeeded(row) and host not in again}


def _last_rows(record: Record | None, phases: Collection[str]) -> dict[str, Row]:
    """The last row of each host in some phases, of those that an earlier controller has told."""
    events = record.events if record else []
    return {event["host"]: event["row"] for event in events if event.get("phase") in phases and "row" in event}


def _passed_before(record: Record | None) -> set[int]:
    """The waves whose gates were passed."""
    events = record.events if record else []
    return {event["wave"] for event in events if event["event"] == "wave" and event["status"] == "done"}


def _unless_locked(ending: Ending, locked: Sequence[str]) -> Ending:
    """The ending of a run whose lock is left on the hosts ``locked``."""
    if not locked:
        return ending
    detail = {**ending.detail, "still_locked": list(locked)}
    if ending.outcome != "done":
        return replace(ending, detail=detail)
    return Ending("partly done", "lock_left", f"{', '.join(locked)}: still locked.", "inv unlock", detail)


def _behind(row: Row) -> list[str]:
    """The nodes of the cluster that keep a host from being cleaned up, each with the version that it runs."""
    cleanup = step(row, "cleanup")
    return list(cleanup["detail"].get("waiting_for") or ()) if cleanup and cleanup["status"] == "skipped" else []


def _said(error: OSError) -> str:
    return error.strerror or str(error)


def _needs_cleanup(row: Row) -> bool:
    """Whether its cleanup had to wait, in this run, or in the earlier one that has left nothing to do."""
    cleanup = step(row, "cleanup")
    return cleanup is None or cleanup["status"] == "skipped"


def _proof_of(row: Row) -> str | None:
    """What an upgrade has proven of the boot of its tree, if it has upgraded the host just now."""
    boot = row["facts"].get("boot") or {}
    return boot.get("proof") if row["outcome"] == "upgraded" else None


def _with_preparation(row: Row, prepared: Row | None) -> Row:
    """The row of an upgrade with the steps done ahead of it, where nothing was left of them to do, or none was told.

    Their warnings come with them.
    """
    if prepared is None:
        return row
    if row["outcome"] == "failed" and not row["steps"]:
        # It was lost before it could begin.
        return {**row, "steps": prepared["steps"], "warnings": [*_warned(prepared), *row["warnings"]]}
    done = {each["step"]: each for each in prepared["steps"] if each["status"] == "ok"}
    ahead = [done[each["step"]] for each in row["steps"] if each["status"] == "unchanged" and each["step"] in done]
    if not ahead:
        return row
    names = {each["step"] for each in ahead}
    warned = [each for each in _warned(prepared) if each["stage"] in names and each not in row["warnings"]]
    return {
        **row,
        "warnings": [*warned, *row["warnings"]],
        "steps": [done[each["step"]] if each["step"] in names else each for each in row["steps"]],
        "seconds": round(row["seconds"] + sum(each["seconds"] for each in ahead), 3),
    }


def _warned(prepared: Row) -> list[dict[str, Any]]:
    """The warnings of the steps of a preparation; what it says of the hop, the upgrade says again."""
    steps = {each["step"] for each in prepared["steps"]}
    return [each for each in prepared["warnings"] if each.get("stage") in steps]


def _with_cleanup(row: Row, cleaned: Row) -> Row:
    """The row of an upgrade with its late cleanup: one that failed is the row's failure, one that waits is not."""
    if cleaned["outcome"] == "refused":
        return {**row, "warnings": [*row["warnings"], *cleaned["warnings"]]}
    late = step(cleaned, "cleanup")
    steps = [was for was in row["steps"] if was["step"] != "cleanup"] + ([late] if late else [])
    merged = {
        **row,
        "steps": steps,
        "seconds": round(row["seconds"] + cleaned["seconds"], 3),
        "warnings": [*row["warnings"], *cleaned["warnings"]],
    }
    if cleaned["error"] is None:
        return merged
    return {**merged, "outcome": "failed", "error": {**cleaned["error"], "stage": "cleanup"}}
