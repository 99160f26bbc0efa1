"""Looking at all hosts before a run begins."""

import threading
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.rollout import survey as surveys
from relup_remote.rollout.request import request
from relup_remote.rollout.run import Job, Runner
from relup_remote.rollout.stop import Stop
from relup_remote.rollout.survey import Survey, is_done, look
from tests.unit.fake_host import Answer, Fleet, result
from tests.unit.rollout.plans import RUN, Told, failed, order, refused, settings

PATIENCE = 120


def surveyed(*answers: Answer, back: bool = False) -> Survey:
    """What is found of n1, n2, … by these answers."""
    hosts = {f"n{number}": answer for number, answer in enumerate(answers, 1)}
    fleet = Fleet({(host, "plan"): answer for host, answer in hosts.items()})
    return look(Runner(fleet.connect), jobs(*hosts), Told().feed, Stop(), back=back)


def jobs(*hosts: str) -> list[Job]:
    return [Job(host, request(order("plan"), host)) for host in settings(*hosts).values()]


def test_hosts_are_ready_done_failed_or_missing() -> None:
    found = surveyed(
        result("ready"),
        refused("already_upgraded_to_target_vsn"),
        refused("duplicate_pending_target"),
        refused("disk_full"),
        Failure("host_unreachable"),
        failed("node_not_running"),
        refused("node_unreachable"),
        failed("call_failed"),
    )
    assert [row["host"] for row in found.rows] == [f"n{number}" for number in range(1, 9)]
    assert found.done == ["n2", "n3"]
    assert found.failed == ["n4", "n5", "n6", "n7", "n8"]
    assert found.missing == ["n5", "n6", "n7"]
    assert found.row("n4")["error"]["err_type"] == "disk_full"
    assert [row["host"] for row in found.rows if is_done(row)] == found.done


def going_back(answer: Answer) -> Survey:
    """What a rollback finds of n1 by that answer."""
    fleet = Fleet({("n1", "status"): answer})
    order_of_status = request(order("status"), settings("n1")["n1"])
    return look(Runner(fleet.connect), [Job(settings("n1")["n1"], order_of_status)], Told().feed, Stop(), back=True)


def test_where_there_is_nothing_to_go_back_from_nothing_is_left_to_do() -> None:
    found = going_back(refused("nothing_to_roll_back"))
    assert (found.done, found.failed) == (["n1"], [])
    assert found.row("n1")["facts"]["nothing_to_do"]["err_type"] == "nothing_to_roll_back"


@pytest.mark.parametrize(
    "answer",
    [
        result("ok", marker="1.1", state="hot-upgraded"),
        result("ok", marker="1.1", state="idle"),
        result("ok", marker=None, state="half-done"),
        result("ok", marker=None, state="in-progress"),
        failed("node_not_running"),
    ],
)
def test_all_other_nodes_are_rolled_back(answer: dict[str, Any]) -> None:
    found = going_back(answer)
    assert (found.done, found.failed) == ([], [])


def test_what_a_host_would_refuse_to_roll_back_is_known() -> None:
    refusal = {**refused("would_not_boot"), "error": Failure("would_not_boot", stage="rollback").to_json()}
    assert going_back(refusal).failed == ["n1"]


def test_what_an_earlier_core_of_the_run_has_rolled_back_counts_as_done_by_it() -> None:
    last = {"run": RUN, "result": "success", "from_vsn": "1.1", "started_at": 1_000, "finished_at": 3_500}
    row = going_back(refused("nothing_to_roll_back", history=[last])).row("n1")
    assert (row["outcome"], row["from"], row["error"], row["seconds"]) == ("rolled back", "1.1", None, 2.5)


def test_what_it_finishes_for_earlier_cores_is_of_the_rows_that_follow() -> None:
    attempt = {"run": "earlier", "result": "hop_lost"}
    found = surveyed(result("ready", recovered=[attempt], nodes=[]), result("ready"))
    first, second = (found.with_recovered({**found.row(host), "facts": {"hop": {}}}) for host in ("n1", "n2"))
    assert first["facts"] == {"hop": {}, "recovered": [attempt]}
    assert second["facts"] == {"hop": {}}


def test_the_nodes_of_the_cluster_are_what_anyone_sees() -> None:
    found = surveyed(
        result("ready", cluster={"running": ["b", "a"], "stopped": ["c", "d"]}),
        refused("disk_full", cluster={"running": ["d"], "stopped": ["c"]}),
        result("ready", cluster=None),
        Failure("host_unreachable"),
    )
    assert found.nodes == ["a", "b", "d"]
    assert found.stopped == ["c"]


def test_where_nobody_knows_the_cluster_it_has_no_nodes() -> None:
    found = surveyed(result("ready"), failed("node_not_running"))
    assert (found.nodes, found.stopped) == ([], [])


def test_who_goes_back_needs_no_node_that_runs_but_a_host() -> None:
    stopped = {"running": ["a"], "stopped": ["b"]}
    found = surveyed(
        result("ok", cluster=stopped),
        failed("node_not_running"),
        failed("call_failed"),
        Failure("host_unreachable"),
        refused("nothing_to_roll_back"),
        back=True,
    )
    assert (found.failed, found.missing, found.done) == (["n4"], ["n4"], ["n5"])
    assert found.stopped == []
    assert found.nodes == ["a"]


def history(run: str, outcome: str) -> list[dict[str, Any]]:
    return [{"run": run, "result": outcome, "from_vsn": "0.9", "started_at": 1_000, "finished_at": 3_500}]


def test_what_an_earlier_core_of_the_run_has_done_is_the_runs() -> None:
    there = "already_upgraded_to_target_vsn"
    found = surveyed(
        refused(there, history=history(RUN, "success")),
        refused(there, history=history("another", "success")),
        refused(there, history=history(RUN, "apply_failed")),
        refused("disk_full", history=history(RUN, "success")),
        refused(there),
    )
    outcomes = [row["outcome"] for row in found.rows]
    assert outcomes == ["upgraded", "nothing to do", "nothing to do", "refused", "nothing to do"]
    assert (found.rows[0]["from"], found.rows[0]["seconds"], found.rows[0]["error"]) == ("0.9", 2.5, None)
    assert found.done == ["n1", "n2", "n3", "n5"]
    assert found.failed == ["n4"]


def test_attempts_that_the_look_has_finished_go_into_the_rows_of_the_run() -> None:
    recovered = [{"run": "another"}]
    found = surveyed(result("ready", recovered=recovered, nodes=["a"]), result("ready"))
    row = {"host": "n1", **result("upgraded", hop={"file": "a.relup"})}
    assert found.with_recovered(row)["facts"] == {"recovered": recovered, "hop": {"file": "a.relup"}}
    for host in ("n2", "n3"):
        assert found.with_recovered({**row, "host": host}) == {**row, "host": host}


def test_all_is_told_as_it_happens() -> None:
    told = Told()
    fleet = Fleet({("n1", "plan"): result("ready", connections=7), ("n2", "plan"): refused("disk_full")})
    look(Runner(fleet.connect, told.feed.watch), jobs("n1", "n2"), told.feed, Stop())
    assert told.events[0]["phase"] == "survey"
    assert told.events[0]["hosts"] == ["n1", "n2"]
    assert sorted(told.of("host", "host", "phase", "status")) == [
        ("n1", "survey", "end"),
        ("n1", "survey", "start"),
        ("n2", "survey", "end"),
        ("n2", "survey", "start"),
    ]
    assert told.of("connections", "host", "count") == [("n1", 7)]
    assert {event["row"]["outcome"] for event in told.events if "row" in event} == {"ready", "refused"}


def at_work(run: str | None) -> dict[str, Any]:
    """The answer of a host on which another core works."""
    error = Failure("upgrade_in_progress", stage="plan", detail={"run": run, "pid": 7})
    return {**result("refused"), "error": error.to_json()}


class Busy(Fleet):
    """n1 is ready; a core of ``run`` works on n2 the first ``times`` that it is looked at."""

    def __init__(self, run: str | None, times: int) -> None:
        super().__init__({("n1", "plan"): result("ready"), ("n2", "plan"): at_work(run)})
        self._times = times

    def answer(self, host: str, request: dict[str, Any]) -> Answer:
        looks = self.commands.count((host, "plan"))
        return result("ready") if host == "n2" and looks > self._times else super().answer(host, request)


@pytest.fixture
def at_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "PAUSE", 0.01)


@pytest.mark.usefixtures("at_short_pauses")
@pytest.mark.parametrize("run", [RUN, None])
def test_an_earlier_core_of_the_same_run_is_waited_for(run: str | None) -> None:
    fleet = Busy(run, times=3)
    found = look(Runner(fleet.connect), jobs("n1", "n2"), Told().feed, Stop(), PATIENCE)
    assert [row["outcome"] for row in found.rows] == ["ready", "ready"]
    assert fleet.commands.count(("n1", "plan")) == 1
    assert fleet.commands.count(("n2", "plan")) == 4


@pytest.mark.usefixtures("at_short_pauses")
@pytest.mark.parametrize(("run", "patience"), [("another", PATIENCE), (RUN, 0)])
def test_the_core_of_another_run_is_not_waited_for_nor_is_any_without_patience(run: str, patience: float) -> None:
    fleet = Busy(run, times=3)
    found = look(Runner(fleet.connect), jobs("n1", "n2"), Told().feed, Stop(), patience)
    assert found.failed == ["n2"]
    assert found.missing == []
    assert fleet.commands.count(("n2", "plan")) == 1


@pytest.mark.usefixtures("at_short_pauses")
def test_patience_ends() -> None:
    fleet = Busy(RUN, times=10**9)
    assert look(Runner(fleet.connect), jobs("n1", "n2"), Told().feed, Stop(), 0.1).failed == ["n2"]


def test_who_waits_for_a_core_may_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "PAUSE", PATIENCE)
    stop = Stop()

    class Stopping(Busy):
        def answer(self, host: str, request: dict[str, Any]) -> Answer:
            if host == "n2":
                threading.Thread(target=stop.request).start()
            return super().answer(host, request)

    found = look(Runner(Stopping(RUN, times=9).connect), jobs("n1", "n2"), Told().feed, stop, 2 * PATIENCE)
    assert found.failed == ["n2"]


def test_who_has_stopped_already_looks_at_nothing() -> None:
    stop = Stop()
    stop.request()
    fleet = Fleet({})
    assert look(Runner(fleet.connect), jobs("n1", "n2"), Told().feed, stop).rows == ()
    assert fleet.asked == []
