"""The gates between waves: what each looks at, how long it waits, and what is told of it."""

import dataclasses
import threading
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from relup_remote.core.protocol import OPTIONS, Failure
from relup_remote.deadline import Deadline
from relup_remote.inventory import HostSettings
from relup_remote.rollout.endings import Stopped
from relup_remote.rollout.feed import Event
from relup_remote.rollout.gates import Case, Verdict, keeper, looks, pass_gates
from relup_remote.rollout.gates.command import TAIL, command
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.rollout.rows import of_failure, of_result
from relup_remote.rollout.run import Runner, Watch
from relup_remote.rollout.stop import Stop
from relup_remote.secrets import Shell
from tests.unit.fake_host import Answer, result
from tests.unit.rollout.plans import NO_GATES, RUN, Script, Told, failed, plan, settings

PATIENCE = 120
"""Seconds in which something must happen; that it happens at all is what counts."""

LIMIT = Deadline(3600)
"""The time of the run."""

NODES = ["emqx@n1", "emqx@n2", "emqx@n3"]
SEEN: dict[str, Any] = {"nodes": NODES, "connections": 100}
WELL: dict[str, Answer] = {"verify": result("verified", **SEEN), "status": result("ok", **SEEN)}


class Wave:
    """The first wave of a plan, which is n1 and n2, after it is through: each host answers as in ``answers``."""

    def __init__(self, answers: dict[str, list[Answer]] | None = None, gates: Gates = NO_GATES, **parts: Any) -> None:
        self.told = Told()
        script = {**WELL, **(answers or {})}
        self.fleet = Script({(host, name): list(_many(said)) for host in ("n1", "n2") for name, said in script.items()})
        self.plan: Plan = plan(["n1", "n2"], ["n3"], gates=gates, **parts)
        hosts = tuple(settings("n1", "n2").values())
        before: dict[str, int | None] = {"n1": 100, "n2": 100}
        runner = Runner(self.fleet.connect, deadline=LIMIT)
        self.case = Case(self.plan, 1, hosts, before, runner, self.told.feed, {"n1": "0" * 64})

    def passes(self, stop: Stop | None = None, *, last: bool = False) -> None:
        pass_gates(self.case, Stop() if stop is None else stop, last=last)

    @property
    def gates(self) -> list[tuple[Any, ...]]:
        """The gates and how each stood, in order."""
        return self.told.of("gate", "gate", "status")


def _many(answer: Answer | list[Answer]) -> list[Answer]:
    return answer if isinstance(answer, list) else [answer]


def judged(gate: str, case: Case) -> Verdict:
    """What a gate says of what the hosts of the wave say now."""
    judge, command = keeper.JUDGES[gate]
    return judge(case, case.ask(command))


def closed(stopped: Stopped, gate: str) -> str:
    """Why the gate is closed."""
    assert (stopped.err_type, stopped.outcome) == ("gate_closed", "stopped")
    said = f"The gate {gate} after wave 1 is closed: "
    assert stopped.reason.startswith(said)
    return stopped.reason.removeprefix(said)


@pytest.fixture
def at_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PAUSE", 0.01)
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.02)


# What each gate says


def test_verify_asks_every_host_of_the_wave_for_the_target() -> None:
    wave = Wave(options={"call_timeout": 77, "no_boot_check": True, "hop_timeout": 5, "on_failure": "restart"})
    assert judged("verify", wave.case) == Verdict(True, "verified")
    assert sorted(wave.fleet.commands) == [("n1", "verify"), ("n2", "verify")]
    for host, asked, file in wave.fleet.asked:
        assert (asked["run"], asked["operator"], asked["target"], file) == (RUN, "alice@desk", "1.1", None)
        usual = {name: value for name, (value, _) in OPTIONS.items()}
        # The gate itself looks again.
        proof = {"n1": "0" * 64, "n2": ""}[host]
        assert asked["options"] == {
            **usual,
            "call_timeout": 77,
            "no_boot_check": True,
            "look_for": 0,
            "boot_proof": proof,
        }


def test_after_a_rollback_no_version_is_asked_for() -> None:
    wave = Wave(command="rollback")
    assert judged("verify", wave.case).open
    assert {asked["target"] for _host, asked, _file in wave.fleet.asked} == {None}


@pytest.mark.parametrize("answer", [failed("verify_failed"), Failure("host_unreachable"), result("refused")])
def test_verify_is_closed_by_any_host_that_is_not_what_it_should_be(answer: Answer) -> None:
    wave = Wave({"verify": [answer]})
    said = judged("verify", wave.case)
    assert not said.open
    assert sorted(said.detail["hosts"]) == ["n1", "n2"]
    assert said.message.startswith("n1: ")


def test_the_cluster_is_whole_where_each_host_sees_all_nodes_of_before() -> None:
    assert judged("cluster", Wave().case) == Verdict(True, "all 3 nodes are seen")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (result("ok", nodes=["emqx@n2", "another"]), "does not see emqx@n1, emqx@n3"),
        (result("ok", nodes=[]), "does not see emqx@n1, emqx@n2, emqx@n3"),
        (failed("node_not_running"), "(node_not_running)"),
        (Failure("connection_lost"), "(connection_lost)"),
    ],
)
def test_the_cluster_is_not_whole_where_a_host_does_not_see_all(answer: Answer, why: str) -> None:
    said = judged("cluster", Wave({"status": [answer]}).case)
    assert not said.open
    assert why in said.detail["hosts"]["n1"]
    assert why in said.message


def test_a_node_that_does_not_tell_what_it_sees_closes_it_where_there_was_a_cluster() -> None:
    said = judged("cluster", Wave({"status": [result("ok", nodes=None)]}).case)
    assert not said.open
    assert said.message == "n1: does not say which nodes it sees; n2: does not say which nodes it sees"
    alone = Wave({"status": [result("ok", nodes=None)]}, nodes=())
    assert judged("cluster", alone.case) == Verdict(True, "no cluster is known")


@pytest.mark.parametrize(
    ("now", "share", "is_open"),
    [(90, 90, True), (89, 90, False), (100, 100, True), (99, 100, False), (0, 1, False), (1, 1, True), (500, 90, True)],
)
def test_a_node_must_still_have_its_share_of_connections(now: int, share: int, is_open: bool) -> None:
    wave = Wave({"status": [result("ok", connections=now)]}, dataclasses.replace(NO_GATES, connections=share))
    said = judged("connections", wave.case)
    assert said.open is is_open
    assert said.detail["connections"] == {host: {"before": 100, "now": now} for host in ("n1", "n2")}
    assert wave.told.of("connections", "host", "count") == [("n1", now), ("n2", now)]
    if is_open:
        assert said.message == f"{2 * now} of 200 connections are left, {share} % are required"
    else:
        assert f"n2: {now} of 100 connections are left, {share} % are required" in said.message


@pytest.mark.parametrize("before", [None, 0])
def test_where_there_were_none_before_no_connection_is_missed(before: int | None) -> None:
    wave = Wave({"status": [result("ok", connections=0)]}, dataclasses.replace(NO_GATES, connections=90))
    assert judged("connections", dataclasses.replace(wave.case, before={"n1": before, "n2": before})).open


def test_connections_that_nobody_ever_knew_close_nothing_and_those_that_can_not_be_asked_for_do() -> None:
    gates = dataclasses.replace(NO_GATES, connections=90)
    unknown = Wave({"status": [result("ok", connections=None)]}, gates).case
    assert judged("connections", dataclasses.replace(unknown, before={"n1": None, "n2": None})).open
    assert "n1: its number of connections is no longer known; it had 100" in judged("connections", unknown).message
    assert not judged("connections", Wave({"status": [failed("node_not_running")]}, gates).case).open


def test_postcheck_runs_the_checks_on_the_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(
        hosts: tuple[HostSettings, ...], target: str | None, watch: Watch, deadline: Deadline
    ) -> list[dict[str, Any]]:
        assert deadline is LIMIT
        asked.append(([host.name for host in hosts], target))
        watch("n1", {"event": "step", "step": "marker", "status": "start"})
        return [of_result("n1", result("ok"), 1.0), of_failure("n2", Failure("verify_failed", stage="postcheck"))]

    monkeypatch.setattr("relup_remote.postchecks.run.run", run)
    wave = Wave()
    said = looks.postcheck(wave.case)
    assert not said.open
    assert list(said.detail["hosts"]) == ["n2"]
    assert wave.told.of("step", "host", "step") == [("n1", "marker")]
    looks.postcheck(Wave(command="rollback").case)
    assert asked == [(["n1", "n2"], "1.1"), (["n1", "n2"], None)]


def test_checks_that_could_not_be_run_at_all_close_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> list[dict[str, Any]]:
        raise RuntimeError("pytest could not run the checks")

    monkeypatch.setattr("relup_remote.postchecks.run.run", run)
    assert looks.postcheck(Wave().case) == Verdict(False, "pytest could not run the checks")


# The operator's own command


def commanded(line: str, **parts: Any) -> Case:
    return Wave(gates=dataclasses.replace(NO_GATES, command=Shell(line)), **parts).case


def test_the_command_is_told_of_the_run_and_keeps_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_BEFORE", "kept")
    monkeypatch.delenv("RELUP_TESTS", raising=False)
    said = command(commanded("env | grep -E '^(RELUP|OF_BEFORE)' | sort"))
    assert said.open
    assert said.detail["output"].splitlines() == [
        "OF_BEFORE=kept",
        "RELUP_COMMAND=upgrade",
        "RELUP_HOSTS=n1 n2",
        "RELUP_NODES=emqx@n1 emqx@n2",
        f"RELUP_RUN={RUN}",
        "RELUP_TARGET=1.1",
        "RELUP_WAVE=1",
        "RELUP_WAVES=2",
    ]


def test_a_rollback_has_no_target_to_tell_of() -> None:
    assert command(commanded('echo "<$RELUP_TARGET>"', target=None)).detail["output"] == "<>"


@pytest.mark.parametrize(
    ("line", "is_open", "message"),
    [
        ("true", True, "exit status 0"),
        ("echo one; echo two >&2; exit 3", False, "exit status 3: two"),
        ("echo fine | cat", True, "exit status 0: fine"),
        ("kill -9 $$", False, "exit status -9"),
        ("/no/such/program 2>/dev/null", False, "exit status 127"),
        ("cat; echo read", True, "exit status 0: read"),
        ("printf '\\377\\n'", True, "exit status 0: \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_the_command_decides_by_its_exit_status(line: str, is_open: bool, message: str) -> None:
    said = command(commanded(line))
    assert (said.open, said.message) == (is_open, message)


def test_of_much_output_the_end_is_kept() -> None:
    said = command(commanded("yes | head -c 1000000; echo; echo last"))
    assert said.message == "exit status 0: last"
    assert len(said.detail["output"]) <= TAIL


def test_a_command_that_says_no_is_not_asked_again() -> None:
    wave = Wave(gates=dataclasses.replace(NO_GATES, command=Shell("exit 4"), timeout=PATIENCE))
    with pytest.raises(Stopped) as caught:
        wave.passes()
    assert closed(caught.value, "command") == "exit status 4"
    assert wave.gates == [("command", "start"), ("command", "closed")]


def test_the_first_interruption_does_not_reach_the_command() -> None:
    with Stop() as stop:
        said = command(commanded("kill -INT $PPID; echo whole"))
        assert stop.requested == 1
    assert said.message == "exit status 0: whole"


def appears(path: Path) -> bool:
    """Whether the file is there before patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return path.exists()


def test_the_second_interruption_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    stop = Stop()
    stop.request()

    def wait(process: Popen[bytes], timeout: float) -> int:
        monkeypatch.undo()
        assert appears(begun)
        stop.request()
        return process.wait(timeout)

    monkeypatch.setattr(Popen, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        command(commanded(f"trap 'echo > {ended}; exit' TERM; echo > {begun}; while :; do sleep 0.1; done"))
    assert appears(ended)


def test_a_command_that_is_gone_when_it_is_to_be_ended_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(process: Popen[bytes], _timeout: float) -> int:
        monkeypatch.undo()
        process.wait(PATIENCE)
        raise KeyboardInterrupt

    monkeypatch.setattr(Popen, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        command(commanded("true"))


def test_a_command_whose_child_holds_its_output_open_ends(tmp_path: Path) -> None:
    over = tmp_path / "over"
    said = command(commanded(f"(while [ ! -e {over} ]; do sleep 0.1; done) & echo begun"))
    over.touch()
    assert (said.open, said.message) == (True, "exit status 0: begun")


def test_a_command_that_takes_too_long_is_ended_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    line = f"trap 'echo > {ended}; exit' TERM; echo begun; echo > {begun}; (while :; do sleep 0.1; done) & wait"

    def wait(process: Popen[bytes], timeout: float) -> int:
        # Its time counts from when it has said something, however busy the machine is.
        monkeypatch.undo()
        assert appears(begun)
        return process.wait(timeout)

    monkeypatch.setattr(Popen, "wait", wait)
    gates = dataclasses.replace(NO_GATES, command=Shell(line), command_timeout=1)
    said = command(Wave(gates=gates).case)
    assert (said.open, said.message.partition(":")[0]) == (False, "not done within 1 s, so it was ended")
    assert said.detail["output"].startswith("begun")
    assert appears(ended)


def test_a_command_that_takes_too_long_has_failed_whatever_it_ends_with() -> None:
    gates = dataclasses.replace(NO_GATES, command=Shell("trap 'exit 0' TERM; while :; do sleep 0.1; done"))
    said = command(Wave(gates=dataclasses.replace(gates, command_timeout=1)).case)
    assert (said.open, said.message.partition(":")[0]) == (False, "not done within 1 s, so it was ended")


# One gate after the other


def test_gates_are_passed_in_order_and_those_not_wanted_are_not() -> None:
    wave = Wave(gates=Gates(postcheck=False, command=Shell("true")))
    wave.passes()
    assert wave.gates == [
        (gate, status) for gate in ("verify", "cluster", "connections", "command") for status in ("start", "open")
    ]
    assert {each["wave"] for each in wave.told.events if each["event"] == "gate"} == {1}
    quiet = Wave()
    quiet.passes()
    assert quiet.told.events == []


@pytest.mark.parametrize("connections", [None, 0])
def test_no_share_of_connections_is_no_gate(connections: int | None) -> None:
    wave = Wave(gates=dataclasses.replace(NO_GATES, connections=connections))
    wave.passes()
    assert wave.gates == []


def test_after_one_that_stays_closed_none_is_looked_at() -> None:
    wave = Wave({"verify": [failed("verify_failed")]}, Gates(timeout=0))
    with pytest.raises(Stopped) as caught:
        wave.passes()
    assert "(verify_failed)" in closed(caught.value, "verify")
    assert wave.gates == [("verify", "start"), ("verify", "closed")]
    last = wave.told.events[-1]
    assert last["message"] in caught.value.reason
    assert sorted(last["detail"]["hosts"]) == ["n1", "n2"]
    assert last["seconds"] >= 0


@pytest.mark.usefixtures("at_short_pauses")
def test_a_gate_that_is_not_open_yet_is_looked_at_again() -> None:
    bad = failed("verify_failed")
    wave = Wave(
        {"verify": [bad, bad, result("verified")]}, dataclasses.replace(NO_GATES, verify=True, timeout=PATIENCE)
    )
    wave.passes()
    assert wave.gates == [("verify", status) for status in ("start", "wait", "wait", "open")]


@pytest.mark.usefixtures("at_short_pauses")
def test_a_gate_that_does_not_open_in_its_time_is_closed_and_looked_at_last_when_that_is_over() -> None:
    wave = Wave({"verify": [failed("verify_failed")]}, dataclasses.replace(NO_GATES, verify=True, timeout=1))
    with pytest.raises(Stopped):
        wave.passes()
    assert wave.gates[0] == ("verify", "start")
    assert wave.gates[-1] == ("verify", "closed")
    assert set(wave.gates[1:-1]) == {("verify", "wait")}
    assert wave.told.events[-1]["seconds"] >= 1


def interrupted(stopped: Stopped) -> None:
    assert (stopped.err_type, stopped.outcome) == ("interrupted_by_operator", "interrupted")


def test_who_wants_no_more_passes_no_gate() -> None:
    wave = Wave(gates=Gates())
    stop = Stop()
    stop.request()
    with pytest.raises(Stopped) as caught:
        wave.passes(stop)
    interrupted(caught.value)
    assert wave.told.events == []


def test_a_gate_that_waits_hears_that_nobody_wants_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "PAUSE", PATIENCE)
    wave = Wave({"verify": [failed("verify_failed")]}, dataclasses.replace(NO_GATES, verify=True, timeout=PATIENCE))
    stop = Stop()
    wave.fleet.when["n1", "verify"] = threading.Thread(target=stop.request).start
    with pytest.raises(Stopped) as caught:
        wave.passes(stop)
    interrupted(caught.value)
    assert wave.gates[-1] == ("verify", "closed")


# One look for several gates

TOGETHER = dataclasses.replace(NO_GATES, verify=True, cluster=True, connections=90, timeout=PATIENCE)
BLIND = result("verified", nodes=["emqx@n1"], connections=100)


def test_one_request_a_host_tells_all_that_the_gates_want_to_know() -> None:
    wave = Wave(gates=TOGETHER)
    wave.passes()
    assert [gate for gate, status in wave.gates if status == "open"] == ["verify", "cluster", "connections"]
    assert sorted(wave.fleet.commands) == [("n1", "verify"), ("n2", "verify")]
    assert wave.told.of("connections", "host", "count") == [("n1", 100), ("n2", 100)]


def test_without_the_gate_verify_the_others_share_a_look_that_costs_less() -> None:
    wave = Wave(gates=dataclasses.replace(TOGETHER, verify=False))
    wave.passes()
    assert sorted(wave.fleet.commands) == [("n1", "status"), ("n2", "status")]


@pytest.mark.usefixtures("at_short_pauses")
def test_a_gate_that_is_closed_by_that_look_asks_anew_and_those_after_it_go_by_the_last_answer() -> None:
    few = result("ok", nodes=NODES, connections=1)
    wave = Wave({"verify": [BLIND], "status": [few, few, WELL["status"]]}, TOGETHER)
    wave.passes()
    assert wave.gates == [
        *(("verify", status) for status in ("start", "open")),
        *(("cluster", status) for status in ("start", "wait", "open")),
        *(("connections", status) for status in ("start", "wait", "wait", "open")),
    ]
    assert [command for host, command in wave.fleet.commands if host == "n1"] == ["verify", *["status"] * 3]


@pytest.mark.parametrize(
    ("answer", "gate", "why"),
    [
        (failed("verify_failed", **SEEN), "verify", "(verify_failed)"),
        (Failure("connection_lost"), "verify", "(connection_lost)"),
        (BLIND, "cluster", "n1: does not see emqx@n2, emqx@n3"),
        (result("verified", nodes=None, connections=100), "cluster", "n1: does not say which nodes it sees"),
        (result("verified", connections=100), "cluster", "n1: does not say which nodes it sees"),
        (result("verified", nodes=NODES, connections=89), "connections", "n1: 89 of 100 connections are left"),
        (result("verified", nodes=NODES, connections=None), "connections", "is no longer known; it had 100"),
        (result("verified", nodes=NODES), "connections", "is no longer known; it had 100"),
    ],
)
def test_of_what_one_look_tells_each_gate_names_its_own(answer: Answer, gate: str, why: str) -> None:
    # What does not answer, or does not tell, closes the gate that wants to know it.
    wave = Wave({"verify": [answer], "status": [answer]}, dataclasses.replace(TOGETHER, timeout=0))
    with pytest.raises(Stopped) as caught:
        wave.passes()
    assert why in closed(caught.value, gate)
    assert wave.gates[-1] == (gate, "closed")


@pytest.mark.usefixtures("at_short_pauses")
def test_while_it_soaks_one_request_a_host_tells_all_of_it_too() -> None:
    wave = Wave(gates=dataclasses.replace(TOGETHER, soak=1))
    wave.passes()
    assert {command for _host, command in wave.fleet.commands} == {"verify"}
    told = len(wave.told.of("connections", "host"))
    assert told == len(wave.fleet.commands) > 2


@pytest.mark.usefixtures("at_short_pauses")
def test_while_it_soaks_only_the_last_look_has_a_wrapper_read_the_configuration() -> None:
    wave = Wave(gates=dataclasses.replace(TOGETHER, soak=1))
    wave.passes()
    skipped = [asked["options"]["no_boot_check"] for host, asked, _ in wave.fleet.asked if host == "n1"]
    assert skipped == [False, *[True] * (len(skipped) - 2), False]
    assert len(skipped) > 3
    # And does not rely on what was proven before the wave soaked.
    proofs = [asked["options"]["boot_proof"] for host, asked, _ in wave.fleet.asked if host == "n1"]
    assert (proofs[0], proofs[-1]) == ("0" * 64, "")
    assert {asked["options"]["look_for"] for _, asked, _ in wave.fleet.asked} == {0}


# Soaking

SOAKED = dataclasses.replace(NO_GATES, cluster=True, soak=1, timeout=PATIENCE)
GOOD, BAD = result("ok", nodes=NODES), result("ok", nodes=["emqx@n1"])


@pytest.mark.usefixtures("at_short_pauses")
def test_the_cluster_is_looked_at_while_it_soaks() -> None:
    wave = Wave(gates=SOAKED)
    wave.passes()
    assert wave.gates == [(gate, status) for gate in ("cluster", "soak") for status in ("start", "open")]
    assert wave.told.events[-1]["seconds"] >= 1
    assert wave.fleet.commands.count(("n1", "status")) > 2


@pytest.mark.usefixtures("at_short_pauses")
def test_it_does_not_soak_after_the_last_wave() -> None:
    wave = Wave(gates=SOAKED)
    wave.passes(last=True)
    assert wave.gates == [("cluster", "start"), ("cluster", "open")]


@pytest.mark.usefixtures("at_short_pauses")
def test_what_looks_bad_may_recover() -> None:
    wave = Wave({"status": [GOOD, BAD, BAD, GOOD]}, SOAKED)
    wave.passes()
    assert wave.gates[2:] == [("soak", status) for status in ("start", "wait", "wait", "open")]


@pytest.mark.usefixtures("at_short_pauses")
def test_it_soaks_on_until_what_looks_bad_at_the_end_has_recovered() -> None:
    wave = Wave({"status": [GOOD, BAD]}, SOAKED)

    def recover(event: Event) -> None:
        if event["event"] == "gate" and event["status"] == "wait" and event["seconds"] > 1.5:
            wave.fleet.script.update({(host, "status"): [GOOD] for host in ("n1", "n2")})

    wave.told.feed.add(recover)
    wave.passes()
    assert wave.gates[-1] == ("soak", "open")
    assert wave.told.events[-1]["seconds"] > 1.5


@pytest.mark.usefixtures("at_short_pauses")
def test_what_does_not_recover_in_time_closes_the_gate() -> None:
    wave = Wave({"status": [GOOD, BAD]}, dataclasses.replace(SOAKED, soak=PATIENCE, timeout=1))
    with pytest.raises(Stopped) as caught:
        wave.passes()
    assert "does not see emqx@n2, emqx@n3" in closed(caught.value, "soak")
    assert wave.gates[-1] == ("soak", "closed")


@pytest.mark.usefixtures("at_short_pauses")
def test_the_postchecks_are_not_run_while_it_soaks(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def run(*_: Any) -> list[dict[str, Any]]:
        runs.append(1)
        return [of_result("n1", result("ok"), 1.0)]

    monkeypatch.setattr("relup_remote.postchecks.run.run", run)
    Wave(gates=dataclasses.replace(SOAKED, postcheck=True)).passes()
    assert runs == [1]


def test_soaking_ends_when_nobody_wants_more() -> None:
    wave = Wave(gates=dataclasses.replace(SOAKED, soak=PATIENCE))
    stop = Stop()

    def interrupt(event: Event) -> None:
        if (event.get("gate"), event.get("status")) == ("soak", "start"):
            stop.request()

    wave.told.feed.add(interrupt)
    with pytest.raises(Stopped) as caught:
        wave.passes(stop)
    interrupted(caught.value)
    assert wave.gates[-1] == ("soak", "closed")
