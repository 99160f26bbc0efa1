"""What `upgrade` and `rollback` share: from the operator's wishes to a run, and what is said at its end."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from relup_remote import version
from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.wishes import Wishes
from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings
from relup_remote.pins import Pin
from relup_remote.program import typed
from relup_remote.rollout import ledger, overview, waves
from relup_remote.rollout.endings import ROLLOUT_ERRORS, Ending, allowed_failures
from relup_remote.rollout.feed import Event
from relup_remote.rollout.identity import operator
from relup_remote.rollout.ledger import Ledger, Record
from relup_remote.rollout.plan import Gates, Member, Plan
from relup_remote.rollout.request import hop_values, request
from relup_remote.rollout.roll import Rollout, Work, done_before
from relup_remote.rollout.rows import Row, skipped
from relup_remote.rollout.run import Job
from relup_remote.rollout.stop import Stop
from relup_remote.rollout.survey import Survey, confirmed, is_done, look, surveyed
from relup_remote.schema import Unfit
from relup_remote.summary.ending import ended
from relup_remote.summary.layout import folded
from relup_remote.summary.plan import intention
from relup_remote.summary.prepared import after_run
from relup_remote.summary.tables import how_locked
from relup_remote.summary.text import LONGEST, many, room, worked
from relup_remote.usage import UsageError


@dataclass(frozen=True)
class Rolling:
    """A run that is asked for: its ``work``, the command that looks at a host first, and what the operator wants.

    ``record`` is the run where it was left, if it is taken up again; ``said`` adds lines to what is shown before it is
    asked; ``told`` changes rows before they are shown.
    """

    call: Invocation
    work: Work
    look: str
    gates: Gates
    wishes: Wishes
    parts: Mapping[str, Any]
    record: Record | None = None
    yes: bool = False
    quiet: bool = False
    check: bool = False
    said: Callable[[Survey], Sequence[str]] = lambda survey: ()
    told: Callable[[Sequence[Row]], Sequence[Row]] = list

    def roll(self) -> None:
        """Look, show the plan, ask, and do it. Raises `UsageError`."""
        before = Plan.from_json(self.record.plan) if self.record else None
        early: list[Event] = []
        self.call.feed.add(early.append)
        survey = self._survey()
        if self._is_over(survey):
            reason = f"run {self.call.run} is done. `inv report {self.call.run}` shows it."
            self._show(survey.rows, Ending("nothing to do", reason=reason), survey)
            return
        plan = self._plan_again(before, survey) if before else self._plan(survey, early[0]["at"])
        # Whoever names hosts means those; what was meant by a run that goes on was said when it began.
        is_whole = not (self.record or self.call.selection)
        refusal = _refusal(plan, survey, is_whole=is_whole)
        self.call.clear()
        text = intention(plan, survey, [*self.said(survey), *_contradictions(self._again(survey), survey.missing)])
        if refusal:
            self.call.note(text)
            self._show([_not_begun(row, refusal) for row in survey.rows], refusal, survey)
        elif not (plan.waves or self.record):
            # Nobody is asked, and no run begins, where no host is left to do.
            self._show(survey.rows, _nothing_to_do(plan, survey), survey)
        elif self.check:
            # No run was begun, so it has no name that anybody would know.
            more = {"rollout": {"plan": {**plan.to_json(), "run": plan.run if self.record else None}}}
            self.call.show(self.told(survey.rows), lambda _rows: text, more=more, status=0)
        else:
            is_left = any(row["host"] not in survey.done for row in survey.rows)
            question = (_ALL if is_left else _REST if plan.waves else _OVER)[plan.command]
            confirm(text, question, yes=self.yes, quiet=self.quiet)
            self._run(plan, survey, early)

    def _survey(self) -> Survey:
        """Ask all hosts, also those that the ledger calls done: they may have been changed since."""
        done = done_before(self.record)
        # A run that is taken up again goes on with the hops that were shown when it began.
        values = hop_values(surveyed(self.record)) if self.record else {}
        # A rollback looks by `status`, which then refuses what the rollback would; a plan does so anyway.
        options = {**self.work.order.options, **({"dry_run": True} if self.look == "status" else {})}
        order = dataclasses.replace(self.work.order, command=self.look, options=options, hop_values=values)
        members = Plan.from_json(self.record.plan).hosts if self.record else ()
        hosts = _pinned(self.call.hosts, members)
        jobs = [Job(host, request(order, host)) for host in hosts.values()]
        patience = float(order.options.get("hop_timeout", 900)) if self.record else 0.0
        # Hosts for which there is no time any more have rows that say so.
        stop = Stop()
        back = self.call.command == "rollback"
        found = look(self.call.runner, jobs, self.call.feed, stop, patience=patience, back=back)
        return dataclasses.replace(found, rows=tuple(confirmed(row, done.get(row["host"])) for row in found.rows))

    def _is_over(self, survey: Survey) -> bool:
        """Whether the ledger says that all is done, and so do all the hosts.

        A lock that the run has left on a host is something to do.
        """
        if self.record is None or not self.record.is_over:
            return False
        locks = [row["facts"].get("cluster_lock") or {} for row in survey.rows]
        if any(lock.get("run") == self.record.run for lock in locks):
            return False
        return all(row["host"] in survey.done for row in survey.rows)

    def _again(self, survey: Survey) -> list[str]:
        """The hosts that the ledger calls done, and that say otherwise."""
        done = done_before(self.record)
        return [row["host"] for row in survey.rows if row["host"] in done and row["host"] not in survey.done]

    def _plan(self, survey: Survey, began: int) -> Plan:
        """The plan of a run that ``began`` with this survey, in milliseconds since the epoch."""
        hosts = {host.name: host for host in self.call.hosts}
        roles = {row["host"]: hosts[row["host"]].role or row["facts"].get("role") for row in survey.rows}
        names = waves.ordered(list(hosts), roles, self.wishes.order or "replicants-first")
        to_do = [name for name in names if name not in {*survey.done, *survey.failed}]
        split = waves.split(to_do, waves.sizes(self.wishes.waves or waves.CANARY_FIRST))
        return Plan(
            run=self.call.run,
            command=self.call.command,
            operator=operator(),
            started_at=began,
            version=version.installed(),
            inventory=str(self.call.inventory_path.absolute()),
            selection=self.call.selection,
            hosts=tuple(_member(survey.row(name), hosts[name], roles[name]) for name in names),
            waves=tuple(map(tuple, split)),
            nodes=tuple(survey.nodes),
            options=self.work.order.options,
            **self.parts,
            **self.wishes.plan_parts(self.gates, len(hosts)),
        )

    def _plan_again(self, before: Plan, survey: Survey) -> Plan:
        """The plan as it was, with what is wished for now; hosts that could not be done then are a last wave.

        Hosts that are yet to be done may have other connections by now, and more of the tarball.
        """
        facts = {row["host"]: row["facts"] for row in survey.rows if row["outcome"] == "ready"}
        hosts = [_renewed(member, facts.get(member.host, {})) for member in before.hosts]
        planned = {host for wave in before.waves for host in wave}
        kept = self._waves_again(before, survey)
        late = [m.host for m in before.hosts if m.host not in {*planned, *survey.failed, *survey.done}]
        return dataclasses.replace(
            before,
            hosts=tuple(hosts),
            waves=(*kept, tuple(late)) if late else kept,
            options=self.work.order.options,
            **self.wishes.plan_parts(before.gates, len(before.hosts)),
        )

    def _waves_again(self, before: Plan, survey: Survey) -> tuple[tuple[str, ...], ...]:
        """The waves without the hosts that another run has finished.

        Up to the last wave that has changed a host they stay, since the ledger knows them by their numbers.
        """
        events = self.record.events if self.record else ()
        worked = {event["host"] for event in events if event.get("phase") == "apply"}
        last = max((number for number, wave in enumerate(before.waves, 1) if worked & {*wave}), default=0)
        done = {row["host"] for row in survey.rows if row["outcome"] == "nothing to do"} - worked
        rest = [tuple(host for host in wave if host not in done) for wave in before.waves[last:]]
        return (*before.waves[:last], *filter(None, rest))

    def _run(self, plan: Plan, survey: Survey, early: list[Event]) -> None:
        """Do it. The ledger begins with what was told ``early``, before there was one."""
        feed = self.call.feed
        hosts = _pinned(self.call.hosts, plan.hosts)
        rows = [row for row in survey.rows if row["host"] in {*survey.done, *survey.failed}]
        with (
            Ledger(self.record.path) if self.record else Ledger.create(plan.to_json()) as written,
            Stop(lambda count: feed.tell("interrupt", count=count), self.call.deadline) as stop,
        ):
            self.call.is_known = self.call.may_have_changed = True
            status = "resume" if self.record else "begin"
            about = {"command": plan.command, "operator": operator(), "target": plan.target}
            feed.tell("run", status=status, run=plan.run, plan=plan.to_json(), **about)
            feed.remove(early.append)
            # The survey belongs to the run that it was made for, so the run begins before it.
            run = next(event for event in early if event["event"] == "run")
            rest = [event for event in early if event is not run]
            feed.add(written, needed=True, earlier=[{**run, "at": early[0]["at"]}, *rest])
            left_out = survey.missing if plan.allow_missing else ()
            order = dataclasses.replace(self.work.order, hop_values=hop_values(survey.rows))
            work = dataclasses.replace(self.work, order=order)
            again = self._again(survey)
            rollout = Rollout(plan, hosts, work, self.call.runner, feed, stop, rows, left_out, again, self.record)
            found, ending = rollout.run()
        passed = ""
        with suppress(OSError, Failure, Unfit):
            # `inv runs` does without what is kept, only slower, and tells of a ledger that was damaged meanwhile.
            if told := ledger.record(written.path):
                overview.keep(told)
                passed = _passed(told)
        self._show(found, ending, survey, passed)

    def _show(self, rows: Sequence[Row], ending: Ending, survey: Survey, passed: str = "") -> None:
        self.call.clear()
        rows = [survey.with_recovered(row) for row in rows]
        self.call.show_run(self.told(rows), ending, _after(ending, self.call.run, passed))


def _passed(record: Record) -> str:
    """What a run went through, and the time of it, as its report tells it too."""
    facts = overview.overview(record)
    gates = [event for event in record.events if event["event"] == "gate" and event["status"] in ("open", "closed")]
    last = {(event["wave"], event["gate"]): event["status"] for event in gates}
    opened = sum(status == "open" for status in last.values())
    time = worked(facts["seconds"], facts["resumed"], facts["seconds_between"])
    passed = [f"in {time}", many(len(record.plan["waves"]), "wave")]
    return ", ".join([*passed, f"{many(opened, 'gate')} open"] if opened else passed)


def _pinned(hosts: Sequence[HostSettings], members: Sequence[Member]) -> dict[str, HostSettings]:
    """Hosts by name, each with the node that was found on it: another one is refused by the host itself."""
    nodes = {member.host: member.node for member in members}
    return {host.name: dataclasses.replace(host, node=host.node or nodes.get(host.name)) for host in hosts}


_ALL = {"upgrade": "Upgrade these hosts?", "rollback": "Roll back these hosts?"}

_OVER = {
    "upgrade": "All hosts are upgraded, by other runs. End this run?",
    "rollback": "All hosts are rolled back, by other runs. End this run?",
}
"""What is asked where a run has nothing left but its end."""

_REST = {
    "upgrade": "All hosts are upgraded. Check the remaining gates?",
    "rollback": "All hosts are rolled back. Check the remaining gates?",
}
"""What is asked where a run has no host left, but gates that were not passed."""


def _contradictions(again: Sequence[str], missing: Sequence[str]) -> list[str]:
    """What the ledger says of hosts, and the hosts do not: a host that can't be asked says nothing."""
    begin = "the record of the run says that this host is done"
    denied = f"{begin}, but the host says that it is not; it is done again, and the gates of its wave are checked again"
    unknown = f"{begin}, but the host or its node can't be asked now"
    return [f"{host}: {unknown if host in missing else denied}" for host in again]


def _member(row: Row, host: HostSettings, role: str | None) -> Member:
    facts, pin = row["facts"], host.pin or Pin()
    return Member(
        host=row["host"],
        address=host.address,
        node=row["node"],
        role=role,
        from_vsn=row["from"],
        connections=facts.get("connections"),
        bytes=facts.get("bytes_to_send"),
        done=is_done(row),
        ssh_address=pin.address,
        ssh_key=pin.key,
        machine=pin.machine["id"] if pin.machine else None,
    )


def _renewed(member: Member, facts: Mapping[str, Any]) -> Member:
    """A host of a plan with what it says of itself now."""
    connections = facts.get("connections", member.connections)
    return dataclasses.replace(member, connections=connections, bytes=facts.get("bytes_to_send", member.bytes))


def _refusal(plan: Plan, survey: Survey, *, is_whole: bool) -> Ending | None:
    """Why the run can't begin. Where the run ``is_whole`` it is to reach all nodes of the cluster."""
    if len(survey.unreached) == len(survey.rows):
        # Nobody can go on without all of them.
        return _refused("no_host_reached", "; ".join(survey.why_missing(survey.unreached)))
    if not plan.allow_missing and (survey.missing or survey.stopped):
        lost = survey.why_missing(survey.missing)
        lost += [f"the node {node} of the cluster is down" for node in survey.stopped]
        return _refused("cluster_not_whole", "; ".join(lost))
    if is_whole and not plan.allow_partial and (others := survey.others):
        return _refused("nodes_left_out", f"The inventory does not have {', '.join(others)}.")
    lock = next((lock for row in survey.rows if (lock := row["facts"].get("cluster_lock"))), None)
    if lock and lock["run"] != plan.run:
        why = f": {lock['why']}" if lock["why"] else ""
        return _refused("lock_not_taken", f"{lock['operator']} has locked the cluster ({how_locked(lock)}){why}")
    failed = [host for host in survey.failed if not (plan.allow_missing and host in survey.missing)]
    if len(failed) > plan.max_failures:
        return _refused("hosts_not_ready", f"not ready: {', '.join(failed)}; {allowed_failures(plan.max_failures)}")
    return None


def _nothing_to_do(plan: Plan, survey: Survey) -> Ending:
    """The ending of a run that was not begun, since no host is left to do."""
    if survey.failed:
        return Ending("partly done", "hosts_left", f"{', '.join(survey.failed)} can't be done now.")
    return Ending("nothing to do", reason=f"every host is on {plan.target or 'its base release'} already")


def _refused(err_type: str, reason: str) -> Ending:
    return Ending("refused", err_type, reason, ROLLOUT_ERRORS[err_type].hint)


def _not_begun(row: Row, refusal: Ending) -> Row:
    return (
        skipped(row["host"], f"the run was not started: {refusal.reason}") if row["outcome"] in ("ready", "ok") else row
    )


def _after(ending: Ending, run: str, passed: str) -> str:
    """What is said below the table of a run."""
    text = "\n".join(_ended(ending, run, passed))
    # A terminal's lines are folded where they are printed.
    return text if room() else folded(text, LONGEST)


def _ended(ending: Ending, run: str, passed: str) -> list[str]:
    detail = ending.detail
    lines = [left] if (left := after_run(ending)) else []
    if nodes := detail.get("behind"):
        lines.append(f"Other nodes of the cluster are not on the target: {', '.join(nodes)}.")
    if hosts := detail.get("still_locked"):
        first = "once `inv status` shows that nothing goes on there"
        lines.append(f"The cluster is still locked on {', '.join(hosts)}. `inv unlock` removes your locks, {first}.")
    if ending.outcome == "done":
        return [*lines, f"run {run}: {' '.join(['done', passed]).rstrip()}. `inv report {run}` shows it."]
    if ending.outcome == "nothing to do":
        return [f"nothing to do: {ending.reason}"]
    assert ending.err_type is not None
    # A run that was refused has no ledger: its name would lead nowhere.
    who = f"run {run}: " if ending.next and ending.outcome != "refused" else ""
    lines.append(ended(ending, ROLLOUT_ERRORS[ending.err_type].hint, who))
    return [*lines, f"  {typed(ending.next)}"] if ending.next and ending.outcome != "refused" else lines


@contextmanager
def over_first(call: Invocation) -> Iterator[None]:
    """Where what the block needs is gone: say first that nothing is left to do, if that is so, and then what is gone.

    Raises `UsageError`, ``run_is_over`` among them.
    """
    try:
        yield
    except (UsageError, Failure) as error:
        if not call.is_done:
            raise
        message = f"nothing is left to do in {call.run}, as its record says; the hosts were not asked: {error.message}"
        raise UsageError("run_is_over", message) from error


def taken_up(call: Invocation, resume: str | bool, wishes: Wishes) -> Record:
    """The run that ``--resume`` means; the ``call`` goes on in it.

    Raises `UsageError` (``unknown_run``, ``run_in_progress``; ``bad_option`` for wishes that come too
    late: to leave out in silence what an operator asks for would do more, or in another order, than he means).
    """
    late = {"host": call.selection, "waves": wishes.waves, "order": wishes.order}
    if asked := [f"--{name}" for name, value in late.items() if value]:
        raise UsageError("bad_option", f"{', '.join(asked)}: a resumed run keeps its hosts and its waves")
    record = ledger.open_run(options.value_or(resume, ledger.LAST), command=call.command)
    if record.is_under_way:
        # Known before hosts are asked: they would be waited for as long as that controller has them in hand.
        raise UsageError("run_in_progress", f"another command on this machine works on {record.run}")
    call.take_up(record)
    return record
