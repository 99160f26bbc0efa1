"""A run from its lock to its unlock, on hosts that answer by script."""

import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.rollout import rows as host_rows
from relup_remote.rollout.endings import Ending
from relup_remote.rollout.feed import OF_CORES, Event
from relup_remote.rollout.ledger import Ledger, Record, open_run
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.rollout.roll import Rollout, Work
from relup_remote.rollout.rows import UNHEARD, Row, of_failure, of_result
from relup_remote.rollout.run import AT_ONCE, INTERRUPTED, Job, Runner
from relup_remote.rollout.stop import Stop
from tests.unit.fake_host import Answer, result
from tests.unit.rollout.plans import (
    RUN,
    TARBALL,
    Script,
    Told,
    failed,
    order,
    plan,
    refused,
    settings,
    upgrading,
)

PATIENCE = 120
"""Seconds in which something must happen; that it happens at all is what counts."""

VERIFIED = Gates(cluster=False, connections=None, postcheck=False, timeout=0)
ALL = (("stage", "unchanged"), ("extract", "unchanged"), ("apply", "ok"), ("cleanup", "ok"))
ALL_BUT_CLEANUP = (*ALL[:3], ("cleanup", "skipped"))
COURSE: dict[str, Answer] = {
    "lock": result("locked"),
    "prepare": result("prepared", (("stage", "ok"), ("extract", "ok"))),
    "upgrade": result("upgraded", ALL),
    "rollback": result("rolled back"),
    "verify": result("verified"),
    "cleanup": result("cleaned", (("cleanup", "ok"),)),
    "unlock": result("unlocked"),
}


class Run:
    """A run of ``plan``; what hosts answer is `COURSE`, but for ``answers``."""

    def __init__(self, plan: Plan, answers: Mapping[tuple[str, str], Answer | list[Answer]] | None = None) -> None:
        self.plan = plan
        self.hosts = [member.host for member in plan.hosts]
        course = {(host, command): said for host in self.hosts for command, said in COURSE.items()}
        self.fleet = Script({**course, **(answers or {})})
        self.told = Told()
        self.news = threading.Semaphore(0)
        self.stop = Stop(lambda _count: self.news.release())
        self.rows: list[Row] = []
        self.ending = Ending("")

    def roll(
        self,
        rows: Iterable[Row] = (),
        left_out: Sequence[str] = (),
        record: Record | None = None,
        work: Work | None = None,
    ) -> "Run":
        """Carry it out."""
        rollout = Rollout(
            self.plan,
            settings(*self.hosts),
            work or upgrading(),
            Runner(self.fleet.connect, self.told.feed.watch),
            self.told.feed,
            self.stop,
            rows,
            left_out,
            record=record,
        )
        self.rows, self.ending = rollout.run()
        return self

    @property
    def course(self) -> list[tuple[str, list[str]]]:
        """What was asked, in order: a command, and the hosts that it went to one after the other or at once."""
        groups = itertools.groupby(self.fleet.commands, key=lambda asked: asked[1])
        return [(command, sorted(host for host, _command in asked)) for command, asked in groups]

    @property
    def outcomes(self) -> dict[str, str]:
        return {row["host"]: row["outcome"] for row in self.rows}

    def requests(self, command: str) -> list[tuple[str, dict[str, Any], Path | None]]:
        return [asked for asked in self.fleet.asked if asked[1]["command"] == command]

    def interrupt(self, times: int = 1) -> Callable[[], None]:
        """What a host does by which the operator interrupts the run; the second time it never answers."""

        def act() -> None:
            for _ in range(times):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                assert self.news.acquire(timeout=PATIENCE)
            if times > 1:
                threading.Event().wait(PATIENCE)

        return act


def stopped(run: Run, err_type: str, outcome: str = "stopped") -> str:
    """Why the run ended before all was done; what is said of that is the same everywhere."""
    assert (run.ending.outcome, run.ending.err_type) == (outcome, err_type)
    assert run.ending.next == f"inv {run.plan.command} --resume {RUN}"
    # Hosts that were left at once may still say something.
    own = [event for event in run.told.events if event["event"] not in OF_CORES]
    assert {**own[-1], "at": 0} == {"event": "end", "at": 0, **run.ending.to_json()}
    return run.ending.reason


# The whole course


def test_a_run_goes_from_its_lock_by_waves_and_gates_to_its_unlock() -> None:
    run = Run(plan(["n2"], ["n1", "n3"], gates=VERIFIED)).roll()
    assert run.course == [
        ("lock", ["n1", "n2", "n3"]),
        ("prepare", ["n1", "n2", "n3"]),
        ("upgrade", ["n2"]),
        ("verify", ["n2"]),
        ("upgrade", ["n1", "n3"]),
        ("verify", ["n1", "n3"]),
        ("unlock", ["n1", "n2", "n3"]),
    ]
    assert run.ending == Ending("done")
    assert run.outcomes == dict.fromkeys(("n2", "n1", "n3"), "upgraded")
    assert [row["host"] for row in run.rows] == ["n2", "n1", "n3"]


def test_all_that_happens_is_told() -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED)).roll()
    assert run.told.of("phase", "phase", "hosts") == [(name, ["n1", "n2"]) for name in ("lock", "prepare", "waves")]
    assert run.told.of("wave", "wave", "waves", "status", "hosts") == [
        (1, 2, "start", ["n1"]),
        (1, 2, "done", ["n1"]),
        (2, 2, "start", ["n2"]),
        (2, 2, "done", ["n2"]),
    ]
    assert run.told.of("gate", "wave", "gate", "status") == [
        (wave, "verify", status) for wave in (1, 2) for status in ("start", "open")
    ]
    for phase in ("prepare", "apply"):
        for host in ("n1", "n2"):
            assert [
                each[2] for each in run.told.of("host", "host", "phase", "status") if each[:2] == (host, phase)
            ] == [
                "start",
                "end",
            ]
    assert run.told.events[-1]["outcome"] == "done"


def test_hosts_are_asked_only_what_they_need() -> None:
    run = Run(plan(["n1"]), {("n1", "upgrade"): result("upgraded", ALL_BUT_CLEANUP)})
    run.roll(work=Work(order(options={"hop_timeout": 7}), TARBALL))
    [(_host, lock, _file)] = run.requests("lock")
    assert lock["options"]["why"] == "upgrade to 1.1"
    [(_host, stage, file)] = run.requests("prepare")
    assert file == TARBALL.path
    assert stage["tarball"]["name"] == "emqx-1.1.tar.gz"
    [(_host, upgrade, file)] = run.requests("upgrade")
    assert file == TARBALL.path
    assert upgrade["options"]["hop_timeout"] == 7
    [(_host, cleanup, file)] = run.requests("cleanup")
    assert cleanup["tarball"]["name"] == "emqx-1.1.tar.gz"
    assert cleanup["hops"] == cleanup["helpers"] == []
    assert file is None
    assert {request["run"] for _host, request, _file in run.fleet.asked} == {RUN}


def test_a_rollback_prepares_nothing_and_cleans_nothing_up() -> None:
    run = Run(plan(["n1"], ["n2"], command="rollback", target=None, gates=VERIFIED))
    run.roll(work=Work(order("rollback")))
    assert run.course == [
        ("lock", ["n1", "n2"]),
        ("rollback", ["n1"]),
        ("verify", ["n1"]),
        ("rollback", ["n2"]),
        ("verify", ["n2"]),
        ("unlock", ["n1", "n2"]),
    ]
    assert run.requests("lock")[0][1]["options"]["why"] == "rollback"


def test_within_a_wave_hosts_are_done_one_by_one() -> None:
    run = Run(plan(["n1", "n2", "n3"]))
    seen: list[list[str]] = []
    for host in run.hosts:
        run.fleet.when[host, "upgrade"] = lambda: seen.append(list(run.fleet.open))
    run.roll()
    assert seen == [["n1"], ["n2"], ["n3"]]


def test_as_many_as_wanted_are_in_hand_at_once() -> None:
    run = Run(plan(["n1", "n2", "n3", "n4"], parallel=2))
    together = threading.Barrier(2, timeout=PATIENCE)
    seen: list[int] = []

    def meet() -> None:
        together.wait()
        seen.append(len(run.fleet.open))

    run.fleet.when.update({(host, "upgrade"): meet for host in run.hosts})
    run.roll()
    assert max(seen) <= 2
    assert run.outcomes == dict.fromkeys(run.hosts, "upgraded")


def test_hosts_are_prepared_all_at_once_before_the_first_is_touched() -> None:
    run = Run(plan(["n1"], ["n2"], ["n3"]))
    together = threading.Barrier(3, timeout=PATIENCE)
    run.fleet.when.update({(host, "prepare"): together.wait for host in run.hosts})
    assert run.roll().ending.outcome == "done"


def test_at_most_so_many_are_prepared_at_the_same_time() -> None:
    run = Run(plan(["n1"], ["n2", "n3", "n4"], prepare_parallel=2))
    seen: list[int] = []
    run.fleet.when.update({(host, "prepare"): lambda: seen.append(len(run.fleet.open)) for host in run.hosts})
    run.roll()
    assert max(seen) <= 2
    assert run.ending.outcome == "done"


def test_a_host_that_did_not_say_what_it_lacks_is_sent_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that those that were missing at the survey share the line as well."""
    whole = plan(["n1"], ["n2"])
    n1, n2 = whole.hosts
    run = Run(replace(whole, hosts=(replace(n1, bytes=None), replace(n2, bytes=3))))
    seen: dict[str, int] = {}
    before = Runner.one

    def one(self: Runner, job: Job, *rest: Any) -> Row:
        if job.request["command"] == "prepare":
            seen[job.host.name] = job.bytes
        return before(self, job, *rest)

    monkeypatch.setattr(Runner, "one", one)
    run.roll()
    assert seen == {"n1": TARBALL.bytes, "n2": 3}


def test_what_preparation_came_to_is_part_of_the_hosts_row() -> None:
    prepared = result("prepared", (("stage", "ok"), ("extract", "ok")))
    prepared["steps"][0].update(seconds=7.5, detail={"bytes": 10})
    run = Run(
        plan(["n1"], ["n2"]), {("n1", "prepare"): prepared, ("n2", "upgrade"): result("upgraded", (("stage", "ok"),))}
    )
    first, second = run.roll().rows
    assert first["steps"][:2] == prepared["steps"]
    assert [step["step"] for step in first["steps"]] == ["stage", "extract", "apply", "cleanup"]
    assert first["seconds"] >= 7.5
    # What was staged once more counts.
    assert host_rows.step(second, "stage") == result("upgraded", (("stage", "ok"),))["steps"][0]


def test_so_are_the_warnings_of_its_steps() -> None:
    warned = {"err_type": "tree_replaced", "message": "it was changed", "stage": "extract"}
    of_hop = {"err_type": "no_process", "message": "n", "stage": "plan"}
    prepared = {**result("prepared", (("stage", "ok"), ("extract", "ok"))), "warnings": [warned, of_hop]}
    run = Run(plan(["n1"], ["n2"], ["n3"]), {(host, "prepare"): prepared for host in ("n1", "n2", "n3")})
    run.fleet.script["n2", "upgrade"] = [failed("apply_failed")]
    first, second, third = run.roll().rows
    assert first["warnings"] == [warned]
    # It was lost, or failed, before it said anything of its own.
    assert second["warnings"] == [warned]
    # Its turn did not come.
    assert third["warnings"] == [warned]


def test_a_host_that_is_lost_before_its_turn_has_been_prepared_all_the_same() -> None:
    prepared = result("prepared", (("stage", "ok"), ("checksum", "ok")))
    answers: dict[tuple[str, str], Answer] = {
        ("n1", "prepare"): prepared,
        ("n1", "upgrade"): Failure("host_unreachable"),
    }
    [row] = Run(plan(["n1"]), answers).roll().rows
    assert (row["outcome"], row["steps"]) == ("failed", prepared["steps"])


# Hosts that fail


BAD: list[Answer] = [failed("apply_failed"), refused("disk_full"), Failure("connection_lost")]


@pytest.mark.parametrize("answer", BAD)
def test_no_host_may_fail_unless_it_is_said(answer: Answer) -> None:
    run = Run(plan(["n1"], ["n2", "n3"], gates=VERIFIED), {("n2", "upgrade"): answer}).roll()
    assert stopped(run, "too_many_failures") == "n2 failed; --max-failures allows none"
    # Where the connection was lost, the upgrade may go on.
    unlocked = ["n1", "n3"] if isinstance(answer, Failure) else ["n1", "n2", "n3"]
    assert run.course[-3:] == [("verify", ["n1"]), ("upgrade", ["n2"]), ("unlock", unlocked)]
    assert run.outcomes["n1"] == "upgraded"
    assert run.outcomes["n3"] == "skipped"
    assert run.rows[2]["facts"] == {"reason": "n2 failed; --max-failures allows none"}
    assert run.told.of("wave", "wave", "status")[-1] == (2, "stopped")


@pytest.mark.parametrize("err_type", ["already_upgraded_to_target_vsn", "duplicate_pending_target"])
def test_a_host_that_is_there_already_has_not_failed(err_type: str) -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED), {("n1", "upgrade"): refused(err_type)}).roll()
    assert run.ending.outcome == "done"
    assert ("verify", ["n1"]) in run.course


def test_as_many_may_fail_as_is_said_and_not_one_more() -> None:
    bad = {("n1", "upgrade"): failed("apply_failed"), ("n3", "upgrade"): failed("apply_failed")}
    waves = (["n1"], ["n2"], ["n3"], ["n4"])
    run = Run(plan(*waves, max_failures=1), bad).roll()
    assert stopped(run, "too_many_failures") == "n1, n3 failed; --max-failures allows 1"
    assert run.outcomes == {"n1": "failed", "n2": "upgraded", "n3": "failed", "n4": "skipped"}
    enough = Run(plan(*waves, max_failures=2), bad).roll()
    assert (enough.ending.outcome, enough.ending.detail) == ("partly done", {"left": ["n1", "n3"]})
    assert enough.outcomes == {"n1": "failed", "n2": "upgraded", "n3": "failed", "n4": "upgraded"}


def test_hosts_in_hand_are_finished_when_one_fails() -> None:
    run = Run(plan(["n1", "n2", "n3"], parallel=2), {("n1", "upgrade"): failed("apply_failed")})
    n1_told = threading.Event()

    def hear(event: Event) -> None:
        if (event.get("host"), event.get("phase"), event.get("status")) == ("n1", "apply", "end"):
            n1_told.set()

    run.told.feed.add(hear)
    run.fleet.when["n2", "upgrade"] = lambda: n1_told.wait(PATIENCE)
    run.roll()
    assert run.outcomes == {"n1": "failed", "n2": "upgraded", "n3": "skipped"}
    stopped(run, "too_many_failures")


def test_a_host_that_can_not_be_prepared_has_failed_before_any_wave() -> None:
    run = Run(plan(["n1"], ["n2"]), {("n2", "prepare"): failed("disk_full")}).roll()
    why = "n2 failed in preparation, before any node was changed; --max-failures allows none"
    assert stopped(run, "too_many_failures") == why
    assert [command for command, _hosts in run.course] == ["lock", "prepare", "unlock"]
    assert run.outcomes == {"n1": "skipped", "n2": "failed"}
    assert run.ending.detail["prepared"] == ["n1"]
    assert [step["step"] for step in run.rows[0]["steps"]] == ["stage", "extract"]
    may = Run(plan(["n1"], ["n2"], max_failures=1), {("n2", "prepare"): failed("disk_full")}).roll()
    assert may.outcomes == {"n1": "upgraded", "n2": "failed"}
    assert ("upgrade", ["n1"]) in may.course


def test_what_is_prepared_and_not_upgraded_is_named_at_the_end() -> None:
    bad = {("n2", "upgrade"): refused("patches_dir_not_empty")}
    run = Run(plan(["n1"], ["n2"], ["n3"]), bad).roll()
    stopped(run, "too_many_failures")
    # One that was refused is left as it was prepared; one whose hop has begun is not.
    assert run.ending.detail["prepared"] == ["n2", "n3"]
    broken = Run(plan(["n1"], ["n2"], ["n3"]), {("n2", "upgrade"): failed("apply_failed")}).roll()
    assert broken.ending.detail["prepared"] == ["n3"]
    assert "prepared" not in Run(plan(["n1"], ["n2"])).roll().ending.detail


def test_so_are_prepared_hosts_that_are_lost_before_their_turn() -> None:
    run = Run(plan(["n1"], ["n2"]))
    lost = Failure("host_unreachable")
    run.fleet.when["n1", "upgrade"] = lambda: run.fleet.answers.update({("n2", "connect"): lost})
    assert run.roll().ending.detail["prepared"] == ["n2"]
    # Where the upgrade may have begun, nothing is known.
    unheard = Run(plan(["n1"], ["n2"]), {("n2", "upgrade"): Failure("connection_lost")}).roll()
    assert "prepared" not in unheard.ending.detail


def test_so_are_hosts_that_failed_in_preparation_with_the_tarball_there() -> None:
    some = {**result("failed", (("stage", "ok"), ("extract", "failed"))), "error": Failure("disk_full").to_json()}
    bad = {("n2", "prepare"): some, ("n3", "prepare"): refused("disk_full")}
    detail = Run(plan(["n1"], ["n2", "n3"]), bad).roll().ending.detail
    assert (detail["prepared"], detail["partly_prepared"]) == (["n1"], ["n2"])


def test_hosts_that_failed_in_preparation_are_told_from_those_that_failed_earlier(folder: Path) -> None:
    bad = {("n2", "prepare"): failed("disk_full")}
    waves = (["n1"], ["n2"])
    missing = Run(plan(*waves, ["n3"], ["n4"], max_failures=1), bad).roll(
        rows=[gone("n3"), gone("n4")], left_out=["n4"]
    )
    why = "n2 failed in preparation, before any node was changed; n3 failed earlier; --max-failures allows 1"
    assert stopped(missing, "too_many_failures") == why
    resumed = Run(plan(*waves), bad).roll(record=left(folder))
    assert stopped(resumed, "too_many_failures").startswith("n2 failed in preparation, before any node was changed;")
    assert "n4" not in stopped(
        Run(plan(*waves, ["n4"]), {("n2", "upgrade"): failed("apply_failed")}).roll(rows=[gone("n4")], left_out=["n4"]),
        "too_many_failures",
    )


def test_a_resumed_run_that_has_changed_a_node_does_not_say_that_none_was(folder: Path) -> None:
    record = left(folder, host_ended(DONE, "apply"), PASSED)
    run = Run(plan(*WAVES), {("n2", "prepare"): failed("disk_full")}).roll(record=record)
    assert stopped(run, "too_many_failures").startswith("n2 failed in preparation, before another node was changed;")


def test_a_host_that_is_done_by_the_time_it_is_prepared_has_no_turn_but_its_gates() -> None:
    there = refused("already_upgraded_to_target_vsn")
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED), {("n1", "prepare"): there}).roll()
    assert ("upgrade", "n1") not in run.fleet.commands
    assert run.course[2:5] == [("verify", ["n1"]), ("upgrade", ["n2"]), ("verify", ["n2"])]
    assert run.outcomes == {"n1": "nothing to do", "n2": "upgraded"}
    assert run.ending.outcome == "done"


@pytest.mark.parametrize("when", ["survey", "prepare", "upgrade"])
def test_a_host_that_was_lost_in_its_hop_keeps_its_steps_in_a_resumed_run(folder: Path, when: str) -> None:
    steps: list[dict[str, Any]] = [
        {"step": name, "status": "ok", "seconds": 2.0, "detail": {}} for name in ("stage", "extract")
    ]
    steps.append({"step": "apply", "status": "unknown", "seconds": 3.0, "detail": {}})
    lost = {**of_failure("n1", Failure("connection_lost", stage="connect")), "steps": steps}
    there = refused("already_upgraded_to_target_vsn")
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED), {("n1", when): there} if when != "survey" else {})
    run.roll(record=left(folder, host_ended(lost, "apply")), rows=[of_result("n1", there, 1.0)] * (when == "survey"))
    assert run.outcomes == {"n1": "nothing to do", "n2": "upgraded"}
    assert [(step["step"], step["status"], step["seconds"]) for step in run.rows[0]["steps"][:3]] == [
        ("stage", "ok", 2.0),
        ("extract", "ok", 2.0),
        ("apply", "ok", 3.0),
    ]
    # The cleanup was still to be done.
    assert [step["step"] for step in run.rows[0]["steps"][3:]] == ["cleanup"]


def gone(host: str) -> Row:
    return of_failure(host, Failure("host_unreachable", stage="connect"))


def test_a_host_that_failed_in_the_survey_counts_and_is_left_alone() -> None:
    waves = (["n1"], ["n2"], ["n3"])
    run = Run(plan(*waves, max_failures=1), {("n2", "upgrade"): failed("apply_failed")}).roll(rows=[gone("n1")])
    assert stopped(run, "too_many_failures") == "n1, n2 failed; --max-failures allows 1"
    assert "n1" not in {host for host, _command in run.fleet.commands}
    assert run.outcomes == {"n1": "failed", "n2": "failed", "n3": "skipped"}


def test_a_host_that_is_left_out_does_not_count() -> None:
    run = Run(plan(["n1"], ["n2"])).roll(rows=[gone("n1")], left_out=["n1"])
    assert (run.ending.outcome, run.ending.next) == ("partly done", f"inv upgrade --resume {RUN}")
    assert run.outcomes == {"n1": "failed", "n2": "upgraded"}


# Gates


def test_after_a_closed_gate_nothing_more_is_begun_and_the_lock_is_given_back() -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED), {("n1", "verify"): failed("verify_failed")}).roll()
    assert stopped(run, "gate_closed").startswith("The gate verify after wave 1 is closed: n1: ")
    assert run.course[2:] == [("upgrade", ["n1"]), ("verify", ["n1"]), ("unlock", ["n1", "n2"])]
    assert run.outcomes == {"n1": "upgraded", "n2": "skipped"}
    assert run.told.of("wave", "wave", "status") == [(1, "start"), (1, "stopped")]
    assert run.rows[1]["facts"]["reason"].startswith("the gate verify after wave 1 is closed")


def test_gates_look_at_hosts_on_which_all_went_well() -> None:
    bad = {("n1", "upgrade"): failed("apply_failed")}
    run = Run(plan(["n1", "n2"], ["n3"], max_failures=1, gates=VERIFIED), bad).roll()
    assert [hosts for command, hosts in run.course if command == "verify"] == [["n2"], ["n3"]]


def test_a_wave_of_which_nothing_is_left_has_no_gates() -> None:
    bad = {("n1", "upgrade"): failed("apply_failed")}
    run = Run(plan(["n1"], ["n2"], max_failures=1, gates=VERIFIED), bad).roll()
    assert [hosts for command, hosts in run.course if command == "verify"] == [["n2"]]
    assert run.ending.outcome == "partly done"


@pytest.mark.parametrize(("command", "blind"), [("upgrade", False), ("rollback", True)])
def test_only_a_rollback_locks_nodes_that_do_not_answer(command: str, blind: bool) -> None:
    run = Run(plan(["n1"], command=command)).roll(work=Work(order(command)))
    assert [request["options"]["lock_blind"] for _host, request, _file in run.requests("lock")] == [blind]


def test_gates_hold_connections_against_those_of_before() -> None:
    run = Run(
        plan(["n1"], ["n2"], gates=Gates(verify=False, cluster=False, connections=90, postcheck=False, timeout=0)),
        {("n1", "status"): result("ok", connections=89)},
    ).roll()
    assert "89 of 100 connections are left" in stopped(run, "gate_closed")


@pytest.mark.parametrize(("before", "now", "outcome"), [(1000, 100, "stopped"), (10, 10, "done")])
def test_those_of_before_are_those_that_the_host_had_when_its_turn_came(before: int, now: int, outcome: str) -> None:
    run = Run(
        plan(["n1"], gates=Gates(verify=False, cluster=False, connections=90, postcheck=False, timeout=0)),
        {
            ("n1", "upgrade"): result("upgraded", ALL, connections_before=before),
            ("n1", "status"): result("ok", connections=now),
        },
    ).roll()
    assert run.ending.outcome == outcome


# Interruptions


def test_the_first_interruption_finishes_what_is_in_hand() -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED))
    run.fleet.when["n1", "upgrade"] = run.interrupt()
    with run.stop:
        run.roll()
    assert stopped(run, "interrupted_by_operator", "interrupted") == "The operator interrupted the run."
    assert run.told.of("wave", "wave", "status")[-1] == (1, "interrupted")
    assert run.course[2:] == [("upgrade", ["n1"]), ("unlock", ["n1", "n2"])]
    assert run.outcomes == {"n1": "upgraded", "n2": "skipped"}


@pytest.mark.parametrize(
    ("waves", "left"),
    [
        ([["n1"], ["n2"]], "All hosts are upgraded. The gates after wave 2 were not passed."),
        ([["n1", "n2"]], "All hosts are upgraded. The gates after wave 1 were not passed."),
        ([["n1"], ["n2"], ["n3"]], ""),
    ],
)
@pytest.mark.parametrize(("command", "times"), [("upgrade", 1), ("verify", 2)])
def test_where_only_gates_are_left_the_ending_says_which(
    waves: list[list[str]], left: str, command: str, times: int
) -> None:
    run = Run(plan(*waves, gates=VERIFIED))
    run.fleet.when["n2", command] = run.interrupt(times=times)
    with run.stop:
        run.roll()
    reason = stopped(run, "interrupted_by_operator", "interrupted")
    at_once = "The operator left at once. No node was being changed. The run keeps its lock."
    assert reason == " ".join(filter(None, [at_once if times > 1 else "The operator interrupted the run.", left]))


def test_hosts_that_failed_are_not_among_those_that_are_done() -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED, max_failures=1), {("n1", "upgrade"): failed("apply_failed")})
    run.fleet.when["n2", "upgrade"] = run.interrupt()
    with run.stop:
        run.roll()
    reason = stopped(run, "interrupted_by_operator", "interrupted")
    assert reason.endswith(" No host is left to upgrade. The gates after wave 2 were not passed.")


def test_where_no_gate_is_wanted_none_is_left() -> None:
    run = Run(plan(["n1"]))
    run.fleet.when["n1", "upgrade"] = run.interrupt()
    with run.stop:
        run.roll()
    assert stopped(run, "interrupted_by_operator", "interrupted").endswith(" All hosts are upgraded.")


@pytest.mark.parametrize("command", ["lock", "prepare", "verify"])
def test_wherever_it_comes_nothing_more_is_begun(command: str) -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED))
    run.fleet.when["n1", command] = run.interrupt()
    with run.stop:
        run.roll()
    stopped(run, "interrupted_by_operator", "interrupted")
    assert ("n2", "upgrade") not in run.fleet.commands
    assert run.course[-1] == ("unlock", ["n1", "n2"])


def test_the_second_interruption_leaves_at_once_and_the_lock_to_the_run() -> None:
    run = Run(plan(["n1"], ["n2"]))
    run.fleet.when["n1", "upgrade"] = run.interrupt(times=2)
    with run.stop:
        run.roll()
    assert "at once" in stopped(run, "interrupted_by_operator", "interrupted")
    assert "unlock" not in {command for _host, command in run.fleet.commands}
    assert run.outcomes == {"n1": "failed", "n2": "skipped"}
    assert run.rows[0]["error"]["message"] == INTERRUPTED


@pytest.mark.parametrize("command", ["lock", "verify"])
def test_also_where_all_hosts_are_asked(command: str) -> None:
    run = Run(plan(["n1"], ["n2"], gates=VERIFIED))
    run.fleet.when["n1", command] = run.interrupt(times=2)
    with run.stop:
        run.roll()
    assert "at once" in stopped(run, "interrupted_by_operator", "interrupted")
    assert "unlock" not in {command for _host, command in run.fleet.commands}


def test_a_host_that_was_not_yet_asked_for_its_lock_has_none() -> None:
    hosts = [f"n{number}" for number in range(1, AT_ONCE + 2)]
    run = Run(plan(hosts))
    never = threading.Event()
    run.fleet.when.update({(host, "lock"): lambda: never.wait(PATIENCE) for host in hosts})
    run.fleet.when["n1", "lock"] = run.interrupt(times=2)
    with run.stop:
        run.roll()
    never.set()
    assert run.ending.reason == "The operator left at once. No node was being changed. The run keeps its lock."
    assert run.outcomes[hosts[-1]] == "skipped"
    assert (hosts[-1], "lock") not in run.fleet.commands


def test_a_host_that_is_left_in_its_late_cleanup_has_been_upgraded() -> None:
    run = Run(plan(["n1"]), {("n1", "upgrade"): result("upgraded", ALL_BUT_CLEANUP)})
    run.fleet.when["n1", "cleanup"] = run.interrupt(times=2)
    with run.stop:
        run.roll()
    assert run.outcomes == {"n1": "upgraded"}
    stopped(run, "interrupted_by_operator", "interrupted")


# The lock of the cluster


def test_a_lock_that_is_refused_is_given_back_where_it_was_taken() -> None:
    run = Run(plan(["n1"], ["n2"], ["n3"]), {("n2", "lock"): failed("cluster_locked")}).roll()
    assert stopped(run, "lock_not_taken", "refused")
    assert run.course == [("lock", ["n1", "n2", "n3"]), ("unlock", ["n1", "n3"])]
    assert run.outcomes == {"n1": "skipped", "n2": "failed", "n3": "skipped"}


@pytest.mark.parametrize("err_type", ["connection_lost", "ssh_timeout", "core_failed"])
def test_it_is_given_back_also_where_nobody_knows_whether_it_was_taken(err_type: str) -> None:
    run = Run(plan(["n1"], ["n2"]), {("n2", "lock"): Failure(err_type)}).roll()
    assert run.course == [("lock", ["n1", "n2"]), ("unlock", ["n1", "n2"])]


def test_a_host_that_could_not_be_locked_has_been_there_before() -> None:
    there = of_result("n1", refused("already_upgraded_to_target_vsn"), 1.0)
    run = Run(plan(["n1"], ["n2"]), {("n1", "lock"): failed("cluster_locked")}).roll(rows=[there])
    stopped(run, "lock_not_taken", "refused")
    assert run.outcomes == {"n1": "nothing to do", "n2": "skipped"}


def test_where_a_lock_could_not_be_given_back_is_said() -> None:
    run = Run(plan(["n1"], ["n2"]), {("n2", "unlock"): Failure("host_unreachable")}).roll()
    assert run.ending == Ending("partly done", "lock_left", "n2: still locked.", "inv unlock", {"still_locked": ["n2"]})


GOES_ON: dict[str, Answer] = {
    **{err_type: Failure(err_type) for err_type in UNHEARD},
    "unforeseen here": ZeroDivisionError("oh"),
    "the hop takes too long": failed("hop_timeout"),
    "a core of the same run": {
        **failed("apply_failed"),
        "error": Failure("upgrade_in_progress", detail={"run": RUN}).to_json(),
    },
    "a hop of nobody's": {
        **failed("apply_failed"),
        "error": Failure("upgrade_in_progress", detail={"run": None}).to_json(),
    },
}
ENDED: dict[str, Answer] = {
    "the core's time is over": failed("deadline_exceeded"),
    "the core lost its connection": failed("connection_lost"),
    "a core of another run": {
        **failed("apply_failed"),
        "error": Failure("upgrade_in_progress", detail={"run": "r9"}).to_json(),
    },
}


@pytest.mark.parametrize("why", GOES_ON)
@pytest.mark.parametrize("command", ["prepare", "upgrade", "cleanup"])
def test_it_stays_where_what_was_begun_may_go_on(command: str, why: str) -> None:
    said = {(host, "upgrade"): result("upgraded", ALL_BUT_CLEANUP) for host in ("n1", "n2")}
    run = Run(plan(["n1"], ["n2"]), {**said, ("n1", command): GOES_ON[why]}).roll()
    assert run.course[-1] == ("unlock", ["n2"])
    assert run.ending.detail["still_locked"] == ["n1"]


@pytest.mark.parametrize("why", ENDED)
@pytest.mark.parametrize("command", ["prepare", "upgrade", "cleanup"])
def test_it_is_given_back_where_the_core_has_ended(command: str, why: str) -> None:
    said = {(host, "upgrade"): result("upgraded", ALL_BUT_CLEANUP) for host in ("n1", "n2")}
    run = Run(plan(["n1"], ["n2"]), {**said, ("n1", command): ENDED[why]}).roll()
    assert run.course[-1] == ("unlock", ["n1", "n2"])
    assert "still_locked" not in run.ending.detail


# What goes wrong here


def test_a_ledger_that_can_not_be_written_stops_the_run() -> None:
    run = Run(plan(["n1"], ["n2"]))

    def full(event: Event) -> None:
        if event["event"] == "wave":
            raise OSError(28, "No space left on device")

    run.told.feed.add(full, needed=True)
    run.roll()
    assert stopped(run, "ledger_unwritable") == "The record of the run could not be written: No space left on device."
    assert run.course[2:] == [("unlock", ["n1", "n2"])]


def test_what_nobody_foresaw_gives_the_lock_back() -> None:
    run = Run(plan(["n1"], ["n2"]))

    def defect(event: Event) -> None:
        if event["event"] == "wave":
            raise ZeroDivisionError("oh")

    run.told.feed.add(defect)
    with pytest.raises(ZeroDivisionError):
        run.roll()
    ends = run.told.of("end", "outcome", "err_type", "reason")
    assert ends == [("stopped", "broke_off", "ZeroDivisionError: oh")]
    assert run.course[-1] == ("unlock", ["n1", "n2"])


# Taking a run up again


WAVES = (["n1"], ["n2", "n3"])
DONE = {"host": "n1", **result("upgraded", ALL_BUT_CLEANUP)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "relup_remote" / "runs"


def left(folder: Path, *events: Event) -> Record:
    """The record of a run that was left after these events."""
    with Ledger.create(plan(*WAVES).to_json(), folder) as ledger:
        for event in events:
            ledger({"at": 0, **event})
    return open_run(RUN, folder)


def host_ended(row: Row, phase: str) -> Event:
    return {"event": "host", "host": row["host"], "phase": phase, "status": "end", "row": row}


PASSED = {"event": "wave", "wave": 1, "waves": 2, "status": "done", "hosts": ["n1"]}


def test_only_hosts_that_are_not_done_are_gone_on_with(folder: Path) -> None:
    record = left(folder, host_ended(DONE, "apply"), PASSED)
    run = Run(plan(*WAVES, gates=VERIFIED)).roll(record=record)
    assert run.course == [
        ("lock", ["n1", "n2", "n3"]),
        ("prepare", ["n2", "n3"]),
        ("upgrade", ["n2", "n3"]),
        ("verify", ["n2", "n3"]),
        ("cleanup", ["n1"]),
        ("unlock", ["n1", "n2", "n3"]),
    ]
    assert run.ending.outcome == "done"
    assert run.outcomes == dict.fromkeys(("n1", "n2", "n3"), "upgraded")
    assert run.told.of("phase", "phase", "hosts")[2] == ("waves", ["n2", "n3"])


def test_gates_that_were_not_passed_are_passed_anew(folder: Path) -> None:
    closed = {**PASSED, "status": "stopped"}
    record = left(folder, host_ended(DONE, "apply"), closed)
    run = Run(plan(*WAVES, gates=VERIFIED)).roll(record=record)
    assert run.course[1:4] == [("prepare", ["n2", "n3"]), ("verify", ["n1"]), ("upgrade", ["n2", "n3"])]
    assert run.told.of("wave", "wave", "status") == [(1, "start"), (1, "done"), (2, "start"), (2, "done")]


def test_a_gate_that_is_still_closed_stops_it_again(folder: Path) -> None:
    record = left(folder, host_ended(DONE, "apply"))
    run = Run(plan(*WAVES, gates=VERIFIED), {("n1", "verify"): failed("verify_failed")}).roll(record=record)
    stopped(run, "gate_closed")
    assert run.outcomes == {"n1": "upgraded", "n2": "skipped", "n3": "skipped"}


def test_a_host_that_failed_is_tried_again_and_its_wave_has_its_gates_again(folder: Path) -> None:
    broken = {"host": "n1", **failed("apply_failed")}
    record = left(folder, host_ended(broken, "apply"), PASSED)
    run = Run(plan(*WAVES, gates=VERIFIED)).roll(record=record)
    assert run.course[1:4] == [("prepare", ["n1", "n2", "n3"]), ("upgrade", ["n1"]), ("verify", ["n1"])]
    assert run.ending.outcome == "done"


def test_a_host_that_was_only_surveyed_or_prepared_is_not_done(folder: Path) -> None:
    staged = {"host": "n1", **result("prepared")}
    record = left(folder, host_ended(staged, "survey"), host_ended(staged, "prepare"))
    assert ("upgrade", ["n1"]) in Run(plan(*WAVES, gates=VERIFIED)).roll(record=record).course


def test_a_host_whose_core_outlived_the_controller_is_done(folder: Path) -> None:
    there = of_result("n1", refused("already_upgraded_to_target_vsn"), 1.0)
    run = Run(plan(*WAVES, gates=VERIFIED)).roll(rows=[there], record=left(folder))
    assert run.course[1:4] == [("prepare", ["n2", "n3"]), ("verify", ["n1"]), ("upgrade", ["n2", "n3"])]
    assert run.ending.outcome == "done"


def test_a_run_that_was_under_way_is_stopped_and_not_refused_by_the_lock(folder: Path) -> None:
    record = left(folder, host_ended(DONE, "apply"))
    run = Run(plan(*WAVES), {("n2", "lock"): failed("cluster_locked")}).roll(record=record)
    stopped(run, "lock_not_taken")


# The end of an upgrade


def cleaning(answers: Mapping[str, Answer], last: tuple[tuple[str, str], ...] = ALL) -> Run:
    """An upgrade of all hosts, on the first two of which cleanup had to wait; ``answers`` are to the late cleanup."""
    upgraded: dict[tuple[str, str], Answer] = {
        ("n1", "upgrade"): result("upgraded", ALL_BUT_CLEANUP),
        ("n2", "upgrade"): result("upgraded", ALL_BUT_CLEANUP),
        ("n3", "upgrade"): result("upgraded", last),
    }
    return Run(
        plan(["n1"], ["n2", "n3"]), {**upgraded, **{(host, "cleanup"): said for host, said in answers.items()}}
    ).roll()


def cleanups(run: Run) -> list[Any]:
    return [(host_rows.step(row, "cleanup") or {}).get("status") for row in run.rows]


def test_cleanup_that_had_to_wait_is_done_at_the_end_and_becomes_its_rows_step() -> None:
    run = cleaning({})
    assert run.course[-2:] == [("cleanup", ["n1", "n2"]), ("unlock", ["n1", "n2", "n3"])]
    assert cleanups(run) == ["ok", "ok", "ok"]
    assert run.outcomes == dict.fromkeys(("n1", "n2", "n3"), "upgraded")
    assert [step["step"] for step in run.rows[0]["steps"]] == ["stage", "extract", "apply", "cleanup"]
    assert run.told.of("phase", "phase", "hosts")[-1] == ("cleanup", ["n1", "n2"])
    rows = [each["row"] for each in run.told.events if each.get("phase") == "cleanup" and "row" in each]
    assert sorted(row["host"] for row in rows) == ["n1", "n2"]
    assert {row["outcome"] for row in rows} == {"upgraded"}


def test_hosts_of_an_earlier_run_are_cleaned_up_once_the_last_host_is_upgraded() -> None:
    there = [of_result(host, refused("duplicate_pending_target"), 1.0) for host in ("n1", "n3")]
    run = Run(plan(["n1"], ["n2"], ["n3"])).roll(rows=there)
    assert run.outcomes == {"n1": "nothing to do", "n2": "upgraded", "n3": "nothing to do"}
    assert cleanups(run) == ["ok", "ok", "ok"]


def test_nothing_is_cleaned_up_where_nothing_was_upgraded() -> None:
    there = refused("already_upgraded_to_target_vsn")
    run = Run(plan(["n1"], ["n2"]), {(host, "upgrade"): there for host in ("n1", "n2")}).roll()
    assert "cleanup" not in [command for command, _hosts in run.course]
    assert run.ending.outcome == "done"


def test_no_late_cleanup_after_a_failure_even_where_it_may_be() -> None:
    answers: dict[tuple[str, str], Answer] = {
        ("n1", "upgrade"): result("upgraded", ALL_BUT_CLEANUP),
        ("n2", "upgrade"): failed("apply_failed"),
    }
    for may_fail in (0, 1):
        run = Run(plan(["n1"], ["n2"], ["n3"], max_failures=may_fail), answers).roll()
        assert "cleanup" not in [command for command, _hosts in run.course]
        assert cleanups(run)[0] == "skipped"


def test_a_late_cleanup_that_fails_is_the_rows_failure_and_one_that_is_refused_is_not() -> None:
    run = cleaning({"n1": result("failed", (("cleanup", "failed"),)), "n2": result("refused")})
    assert run.outcomes == {"n1": "failed", "n2": "upgraded", "n3": "upgraded"}
    assert run.rows[0]["error"]["stage"] == "cleanup"
    assert cleanups(run) == ["failed", "skipped", "ok"]
    assert run.fleet.open == []


def test_a_late_cleanup_that_waits_for_other_nodes_is_no_failure() -> None:
    run = cleaning({host: result("skipped", (("cleanup", "skipped"),)) for host in ("n1", "n2", "n3")}, ALL_BUT_CLEANUP)
    assert cleanups(run) == ["skipped", "skipped", "skipped"]
    assert run.outcomes == dict.fromkeys(("n1", "n2", "n3"), "upgraded")
    assert run.ending.outcome == "done"
