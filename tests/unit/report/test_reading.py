"""What the ledger tells is what the report says: outcomes, times, gates, connections, troubles."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relup_remote.report import render, words
from relup_remote.report.model import LEFT, UNDER_WAY, UNFINISHED, Report, Sample
from relup_remote.report.on_hosts import GATE
from relup_remote.report.plain import number
from relup_remote.report.reading import report_of, total
from relup_remote.rollout.ledger import Ledger, Record
from tests.unit.report import stories
from tests.unit.report.stories import NEW, OLD, RUN, SIX, Story, failure, row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def told(story: Callable[[Path], Record], folder: Path) -> tuple[Report, Record]:
    record = story(folder)
    return report_of(record), record


def test_a_run_that_went_well(folder: Path) -> None:
    report, record = told(stories.smooth, folder)
    assert (report.run, report.command, report.operator, report.target) == (RUN, "upgrade", "alice@desk", NEW)
    assert (report.outcome, report.reason, report.next, report.sources) == ("done", "", "", (OLD,))
    assert report.went_well
    assert (report.resumptions, report.interruptions, report.troubles, report.overrides) == ((), 0, (), ())
    assert report.started_at == record.events[0]["at"]
    assert report.ended_at == record.events[-1]["at"]
    asked = 900
    assert report.seconds == (report.ended_at - report.started_at - asked) / 1000
    assert [host.host for host in report.hosts] == list(SIX)
    assert [host.wave for host in report.hosts] == [1, 2, 2, 3, 3, 3]
    assert {(host.state, host.outcome, host.running) for host in report.hosts} == {("done", "upgraded", NEW)}
    assert [(wave.status, len(wave.stretches), len(wave.gates)) for wave in report.waves] == [("done", 1, 4)] * 3


def test_a_host_has_its_turns_and_steps_with_their_times(folder: Path) -> None:
    report, record = told(stories.smooth, folder)
    host = report.hosts[0]
    assert [(turn.phase, turn.outcome) for turn in host.turns] == [
        ("survey", "ready"),
        ("prepare", "prepared"),
        ("apply", "upgraded"),
        ("cleanup", "upgraded"),
    ]
    assert [(step.phase, step.step) for step in host.steps] == [
        ("prepare", "stage"),
        *(("apply", step) for step in stories.STEPS),
        ("cleanup", "cleanup"),
    ]
    ends = [event for event in record.events if event["event"] == "step" and event.get("seconds") is not None]
    assert [step.seconds for step in host.steps] == [end["seconds"] for end in ends if end["host"] == host.host]
    starts = [event for event in record.events if event["event"] == "step" and event["status"] == "start"]
    assert [step.started_at for step in host.steps] == [each["at"] for each in starts if each["host"] == host.host]
    assert host.seconds == record.rows[host.host]["seconds"]
    hop = record.rows[host.host]["facts"]["hop"]
    assert host.hop is not None
    assert (host.hop.suspended_ms, host.hop.swap_ms) == (hop["suspended_ms"], hop["swap_ms"])
    assert [each.window_ms for each in host.hop.instructions] == [each.get("window_ms") for each in hop["instructions"]]


def test_gates_are_told_as_they_were_tried(folder: Path) -> None:
    report, record = told(stories.stopped, folder)
    ends = [event for event in record.events if event["event"] == "gate" and event["status"] in ("open", "closed")]
    gates = [gate for wave in report.waves for gate in wave.gates]
    assert [(gate.wave, gate.gate, gate.status, gate.seconds, gate.message) for gate in gates] == [
        (end["wave"], end["gate"], end["status"], end["seconds"], end["message"]) for end in ends
    ]
    assert [gate.status for gate in report.waves[0].last_gates] == ["open"] * 4
    assert [wave.status for wave in report.waves] == ["done", "stopped", "waiting"]


def test_a_run_that_was_stopped_and_taken_up(folder: Path) -> None:
    report, record = told(stories.stopped, folder)
    assert (report.outcome, report.err_type, report.reason) == (
        "stopped",
        "too_many_failures",
        "n1 failed; --max-failures allows none",
    )
    assert report.next == f"inv upgrade --resume {RUN}"
    assert "Look at the hosts that failed" in report.hint
    assert [taken.operator for taken in report.resumptions] == ["alice@desk"]
    assert report.interruptions == 1
    assert report.seconds < (report.ended_at - report.started_at) / 1000 - 4999, "the pause is no time of the run"
    assert [host.state for host in report.hosts] == ["done", "done", "failed", "waiting", "waiting", "waiting"]
    assert [host.seconds is None for host in report.hosts] == [False, False, False, True, True, True]
    # One word, in the table of the run as in each format.
    assert [words.ended(host) for host in report.hosts[3:]] == ["skipped"] * 3
    assert [words.prepared(host) for host in report.hosts] == [False] * 3 + [True] * 3
    assert record.end is not None


def test_troubles_come_once_for_all_their_hosts_errors_first(folder: Path) -> None:
    report, _ = told(stories.stopped, folder)
    error, warning = report.troubles
    assert (error.kind, error.err_type, error.hosts, error.overcome) == ("error", "code_change_failed", ("n1",), False)
    assert (error.stage, dict(error.detail)) == ("apply", {"n": 3, "stage": "changes"})
    assert error.hint.startswith("Remove the cause")
    assert (warning.kind, warning.err_type, warning.hosts) == ("warning", "not_covered", ("n5", "n1"))
    assert dict(warning.detail) == {"modules": ["emqx_logger"]}


def test_what_was_overridden_is_named_also_if_only_the_resumed_run_did_it(folder: Path) -> None:
    report, _ = told(stories.stopped, folder)
    assert [override.option for override in report.overrides] == [
        "--force",
        "--kill-lingering",
        "--on-failure restart",
        "--no-backup",
    ]
    story = Story(folder / "other", SIX, options={"backup_age": 86_400}, allow_missing=True)
    story.begins()
    story.tell("run", status="resume", plan={**story.plan.to_json(), "options": {"force": True}})
    assert {each.option for each in report_of(story.record()).overrides} == {"--allow-missing", "--force"}


def test_a_controller_that_was_killed(folder: Path) -> None:
    report, _ = told(stories.killed, folder)
    assert (report.outcome, report.next) == (LEFT, f"inv upgrade --resume {RUN}")
    assert "killed" in report.reason
    assert [(host.outcome, host.state) for host in report.hosts] == [
        ("upgraded", "done"),
        (UNFINISHED, UNFINISHED),
        ("prepared", "waiting"),
    ]
    last = report.hosts[1].steps[-1]
    assert (last.step, last.status, last.seconds) == ("apply", UNFINISHED, None)
    assert report.waves[1].status == UNFINISHED
    assert report.waves[1].stretches[0].ended_at == report.ended_at


def test_a_run_without_a_single_event(folder: Path) -> None:
    report, _ = told(stories.blank, folder)
    assert (report.outcome, report.seconds, len(report.sittings)) == (LEFT, 0, 1)
    assert [(host.outcome, host.state) for host in report.hosts] == [("waiting", "waiting")] * 2
    assert [(wave.status, wave.stretches) for wave in report.waves] == [("waiting", ())] * 2


def test_a_run_that_is_under_way(folder: Path) -> None:
    record = stories.killed(folder)
    with Ledger(record.path):
        report = report_of(record)
    assert (report.outcome, report.next) == (UNDER_WAY, "")


def test_a_host_that_went_on_by_itself_is_what_the_next_survey_found(folder: Path) -> None:
    """Its controller was killed while it was at its hop, or lost the connection to it."""
    story = Story(folder, ("n1", "n2", "n3"))
    story.begins()
    story.tell("host", host="n1", phase="apply", status="start")
    story.applied("n2", outcome="failed", error=failure("connection_lost"))
    story.tell("host", host="n3", phase="apply", status="start")
    story.begins("resume")
    there = row("n1", "nothing to do")
    story.tell("host", host="n1", phase="survey", status="end", row=there)
    story.tell("host", host="n2", phase="survey", status="end", row=there)
    report = report_of(story.record())
    assert [(host.outcome, host.state) for host in report.hosts] == [
        ("nothing to do", "nothing_left"),
        ("nothing to do", "nothing_left"),
        ("ready", "waiting"),
    ]
    assert [(trouble.err_type, trouble.overcome) for trouble in report.troubles] == [("connection_lost", True)]


def test_the_title_has_no_version_of_hosts_that_were_on_the_target(folder: Path) -> None:
    story = Story(folder, ("n1", "n2"))
    story.begins()
    story.tell("host", host="n1", phase="survey", status="end", row=row("n1", "nothing to do"))
    record = story.record()
    there, other = record.request["hosts"]
    there["from"] = NEW
    report = report_of(record)
    assert (there["host"], other["from"]) == ("n1", OLD)
    assert words.title(report) == f"Upgrade {OLD} → {NEW}"
    assert words.verdict(report) == "0 of 2 hosts done, 1 with nothing to do, 1 waiting"


def test_a_host_that_the_run_has_upgraded_stays_so_after_the_next_survey(folder: Path) -> None:
    """Which finds nothing to do there: its row of the upgrade has the time and the hop."""
    story = Story(folder, ("n1",))
    story.begins()
    story.applied("n1")
    story.begins("resume")
    story.tell("host", host="n1", phase="survey", status="end", row=row("n1", "nothing to do"))
    [host] = report_of(story.record()).hosts
    assert (host.outcome, host.state) == ("upgraded", "done")
    assert host.hop is not None
    assert host.seconds == story.rows["n1"]["seconds"]


def test_a_host_whose_cleanup_was_cut_short_is_upgraded(folder: Path) -> None:
    story = Story(folder, ("n1",))
    story.begins()
    story.applied("n1")
    story.tell("host", host="n1", phase="cleanup", status="start")
    assert report_of(story.record()).hosts[0].state == "done"


def test_how_a_step_ended_on_a_host_that_was_lost_is_not_known(folder: Path) -> None:
    story = Story(folder, ("n1", "n2"))
    story.begins()
    for host in ("n1", "n2"):
        story.tell("host", host=host, phase="apply", status="start")
        story.tell("step", host=host, step="apply", status="start")
    lost = {**row("n1", "failed"), "error": failure("connection_lost")}
    story.tell("host", host="n1", phase="apply", status="end", row=lost)
    report = report_of(story.record())
    # Of the other one the controller was killed.
    assert [host.steps[-1].status for host in report.hosts] == ["unknown", "unfinished"]
    assert "apply unknown" in render(report, "html")


def test_steps_at_a_gate_are_no_part_of_a_turn(folder: Path) -> None:
    story = Story(folder, ("n1",))
    story.begins()
    story.applied("n1")
    story.passes(5)
    story.tell("step", host="n1", step="verify", status="ok", seconds=0.001)
    assert report_of(story.record()).hosts[0].steps[-1].phase == GATE


def test_connections_are_summed_from_when_all_are_known() -> None:
    one = (Sample(0, 10), Sample(20, 7))
    other = (Sample(10, 5), Sample(20, 6), Sample(30, 9))
    assert total([one, other]) == (Sample(10, 15), Sample(20, 13), Sample(30, 16))
    assert total([]) == ()


def test_what_hosts_say_wrongly_counts_as_not_said(folder: Path) -> None:
    report, _ = told(stories.hostile, folder)
    host = report.hosts[0]
    assert host.state == "failed"
    assert host.hop is not None
    assert (host.hop.suspended_ms, host.hop.swap_ms) == (None, None)
    (instruction,) = host.hop.instructions
    assert (instruction.n, instruction.seconds, instruction.window_ms) == (None, None, None)
    assert len(host.connections) == 1, "of the survey"
    assert [trouble.kind for trouble in report.troubles] == ["error", "warning", "warning", "note"]


def test_what_the_operator_was_waited_for_is_no_time_of_the_run(folder: Path) -> None:
    story = Story(folder, ("n1",))
    story.begins(asked_ms=500)
    story.applied("n1")
    story.begins("resume", asked_ms=3_600_000)
    story.passes(1000)
    story.ends()
    report = report_of(story.record())
    assert len(report.sittings) == 3
    short = 0.5
    assert report.seconds == pytest.approx(sum(sitting.seconds for sitting in report.sittings) - short)
    assert report.seconds < 10


def test_a_wave_that_came_with_the_resumption_counts(folder: Path) -> None:
    story = Story(folder, ("n1", "n2"), "100%")
    story.begins()
    later = {**story.plan.to_json(), "waves": [["n1"], ["n2"]], "parallel": 2}
    story.tell("run", status="resume", plan=later)
    report = report_of(story.record())
    assert [(wave.hosts, wave.status) for wave in report.waves] == [(("n1",), "waiting"), (("n2",), "waiting")]
    assert [host.wave for host in report.hosts] == [1, 2]
    assert report.parallel == 2


@pytest.mark.parametrize("value", [None, True, "7", [7], -1, float("nan"), float("inf"), 1e300, 10**400])
def test_what_is_no_number_that_can_be_meant_counts_as_not_said(value: object) -> None:
    assert number(value) is None


def test_64_hosts(folder: Path) -> None:
    report, _ = told(stories.many, folder)
    assert report.count("done") == 64
    assert [len(wave.hosts) for wave in report.waves] == [1, 7, 56]
