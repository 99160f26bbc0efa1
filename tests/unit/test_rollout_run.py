"""Bringing requests to hosts: order, stopping, skipping, interruption."""

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relup_remote.boundary import LONGEST_LINE
from relup_remote.core.protocol import Failure
from relup_remote.hops.catalogue import Malformed
from relup_remote.inventory import HostSettings
from relup_remote.rollout import missed, rows, run
from relup_remote.rollout.request import request
from relup_remote.rollout.run import IN_FLIGHT, INTERRUPTED, Job, Runner
from relup_remote.summary.report import troubles
from relup_remote.summary.tables import steps_table
from tests.unit.fake_host import Answer, FakeHost, Fleet, result
from tests.unit.rollout.plans import TARBALL, order, refused, settings

HOSTS = list(settings("n1", "n2", "n3").values())


def jobs(command: str) -> list[Job]:
    return [Job(host, request(order(command), host)) for host in HOSTS]


def outcomes(found: list[rows.Row]) -> list[tuple[str, str]]:
    return [(row["host"], row["outcome"]) for row in found]


def fleet(command: str, *answers: Answer) -> Fleet:
    return Fleet({(host.name, command): answer for host, answer in zip(HOSTS, answers, strict=True)})


def test_hosts_are_done_one_after_the_other_each_connection_closed_before_the_next() -> None:
    hosts = fleet("stage", *[result("staged")] * 3)
    opened: list[list[str]] = []
    runner = Runner(hosts.connect, lambda _host, _event: opened.append(list(hosts.open)))
    assert outcomes(runner.in_turn(jobs("stage"))) == [("n1", "staged"), ("n2", "staged"), ("n3", "staged")]
    assert opened == [["n1"], ["n2"], ["n3"]]
    assert hosts.open == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (result("failed", (("apply", "failed"),)), "failed"),
        (result("refused"), "refused"),
        (Failure("connection_lost"), "failed"),
    ],
)
def test_the_first_that_is_not_done_is_the_last(answer: Answer, outcome: str) -> None:
    hosts = fleet("upgrade", result("upgraded"), answer, result("upgraded"))
    found = Runner(hosts.connect).in_turn(jobs("upgrade"))
    assert outcomes(found) == [("n1", "upgraded"), ("n2", outcome), ("n3", "skipped")]
    assert found[2]["facts"] == {"reason": "n2 was not done"}
    assert hosts.commands == [("n1", "upgrade"), ("n2", "upgrade")]


class Broken(FakeHost):
    """A session in which no core is ever started."""

    def run(self, *_asked: object) -> dict[str, Any]:
        raise Failure("core_failed", "it arrived damaged")


def test_on_which_hosts_something_may_go_on() -> None:
    hosts = fleet("upgrade", Failure("connection_lost"), result("upgraded"), Failure("core_failed"))
    hosts.answers.update({("n1", "verify"): result("verified"), ("n2", "verify"): Failure("connection_lost")})
    hosts.answers["n3", "cleanup"] = result("cleaned")
    runner = Runner(hosts.connect)
    for job in jobs("upgrade"):
        runner.one(job)
    assert runner.unheard == {"n1", "n3"}
    # A look is neither here nor there.
    for job in jobs("verify")[:2]:
        runner.one(job)
    assert runner.unheard == {"n1", "n3"}
    runner.one(jobs("cleanup")[2])
    assert runner.unheard == {"n1"}


@pytest.mark.parametrize("err_type", ["ssh_timeout", "host_unreachable"])
def test_nothing_goes_on_where_there_was_no_connection(err_type: str) -> None:
    runner = Runner(Fleet({("n1", "connect"): Failure(err_type)}).connect)
    assert runner.one(jobs("upgrade")[0])["error"]["err_type"] == err_type
    assert runner.unheard == set()


def test_nothing_goes_on_where_no_core_was_started() -> None:
    runner = Runner(lambda settings: Broken(Fleet({}), settings.name))
    assert runner.one(jobs("upgrade")[0])["error"]["err_type"] == "core_failed"
    assert runner.unheard == set()


def test_a_host_that_can_not_be_reached_is_a_failed_row_of_stage_connect() -> None:
    hosts = Fleet({("n1", "connect"): Failure("host_key_changed", detail={"found": "SHA256:x"})})
    row = Runner(hosts.connect).one(jobs("upgrade")[0])
    assert row["outcome"] == "failed"
    assert row["error"]["err_type"] == "host_key_changed"
    assert row["error"]["stage"] == "connect"
    assert row["error"]["detail"] == {"found": "SHA256:x"}
    assert row["steps"] == []


class Telling(FakeHost):
    """A session whose core tells of its steps before it is lost."""

    def run(
        self, request: dict[str, Any], tarball: Path | None, on_event: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        for told in STEPS_TOLD:
            on_event({"event": "step", **told})
        return super().run(request, tarball, on_event)


STEPS_TOLD: list[dict[str, Any]] = [
    {"step": "stage", "status": "start"},
    {"step": "stage", "status": "unchanged", "seconds": 0.1, "detail": {"bytes": 7}},
    {"step": "checksum", "status": "start"},
    {"step": "checksum", "status": "ok", "seconds": 0.2},
    {"step": "apply", "status": "start"},
]


@pytest.mark.parametrize("answer", [Failure("connection_lost"), Failure("ssh_timeout"), ZeroDivisionError("oh")])
def test_the_row_of_a_lost_host_has_the_steps_that_it_told_of(answer: Answer) -> None:
    fleet = Fleet({("n1", "upgrade"): answer})
    row = Runner(lambda host: Telling(fleet, host.name)).one(jobs("upgrade")[0])
    assert row["steps"][:2] == [
        {"step": "stage", "status": "unchanged", "seconds": 0.1, "detail": {"bytes": 7}},
        {"step": "checksum", "status": "ok", "seconds": 0.2, "detail": {}},
    ]
    assert [(step["step"], step["status"]) for step in row["steps"][2:]] == [("apply", "unknown")]
    assert row["error"]["detail"]["step"] == "apply"
    table, below = steps_table([row]).splitlines(), troubles([row])
    assert "unknown" in table[-1].split()
    assert "step: apply" in below


def test_no_host_fills_our_memory_with_steps() -> None:
    """Each is a line of its own, and may be as long as a result that has them all."""
    heard = run.Heard()
    most = "x" * (LONGEST_LINE // 4)
    for number in range(9):
        heard.note({"event": "step", "step": f"s{number}", "status": "ok", "seconds": 1.0, "detail": {"aside": [most]}})
    assert [step["step"] for step in heard.steps()] == ["s0", "s1", "s2"]


def test_so_has_that_of_a_host_that_was_interrupted() -> None:
    fleet = Fleet({("n1", "upgrade"): KeyboardInterrupt()})
    [row] = Runner(lambda host: Telling(fleet, host.name)).in_turn(jobs("upgrade")[:1])
    assert [(step["step"], step["status"]) for step in row["steps"]] == [
        ("stage", "unchanged"),
        ("checksum", "ok"),
        ("apply", "unknown"),
    ]


def test_what_nobody_foresaw_is_a_row_and_its_traceback_a_file(tmp_path: Path) -> None:
    hosts = fleet("status", result("ok"), ZeroDivisionError("oh"), result("ok"))
    found = Runner(hosts.connect, traces_folder=tmp_path / "traces").at_once(jobs("status"))
    assert outcomes(found) == [("n1", "ok"), ("n2", "failed"), ("n3", "ok")]
    error = found[1]["error"]
    assert (error["err_type"], error["stage"]) == ("internal_error", "status")
    assert error["detail"]["error"] == "ZeroDivisionError: oh"
    written = Path(error["detail"]["traceback"])
    assert written.parent == tmp_path / "traces"
    assert written.stat().st_mode & 0o777 == 0o600
    assert "in run" in written.read_text()


def test_a_traceback_is_not_written_where_others_may(tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    folder.mkdir()
    folder.chmod(0o777)
    hosts = fleet("status", ZeroDivisionError("oh"), result("ok"), result("ok"))
    row = Runner(hosts.connect, traces_folder=folder).at_once(jobs("status"))[0]
    assert row["error"]["err_type"] == "internal_error"
    assert "untrusted_dir" in row["error"]["detail"]["traceback"]
    assert list(folder.iterdir()) == []


def test_a_host_can_not_speak_for_another() -> None:
    said = {**result("upgraded"), "host": "n2"}
    assert Runner(Fleet({("n1", "upgrade"): said}).connect).one(jobs("upgrade")[0])["host"] == "n1"


def test_an_interruption_is_the_row_of_the_host_in_hand_and_skips_the_rest() -> None:
    hosts = fleet("upgrade", result("upgraded"), KeyboardInterrupt(), result("upgraded"))
    found = Runner(hosts.connect).in_turn(jobs("upgrade"))
    assert outcomes(found) == [("n1", "upgraded"), ("n2", "failed"), ("n3", "skipped")]
    assert found[1]["error"]["err_type"] == "connection_lost"
    assert "Interrupted by the operator" in found[1]["error"]["message"]
    assert hosts.open == []


def test_hosts_are_asked_at_once_and_rows_come_in_order() -> None:
    together = threading.Barrier(len(HOSTS), timeout=120)
    hosts = fleet("status", result("ok"), Failure("host_unreachable"), result("ok"))

    class Waiting(FakeHost):
        def __enter__(self) -> FakeHost:
            together.wait()
            return super().__enter__()

    found = Runner(lambda settings: Waiting(hosts, settings.name)).at_once(jobs("status"))
    assert outcomes(found) == [("n1", "ok"), ("n2", "failed"), ("n3", "ok")]


def interrupting(hosts: Fleet, never: threading.Event) -> Runner:
    """Whose hosts interrupt the command when they are begun, and do not answer then."""

    class Silent(FakeHost):
        def __enter__(self) -> FakeHost:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            never.wait(60)
            return super().__enter__()

    return Runner(lambda settings: Silent(hosts, settings.name))


def test_an_interruption_does_not_wait_for_hosts_that_do_not_answer() -> None:
    hosts = fleet("status", *[result("ok")] * 3)
    never = threading.Event()
    [row] = interrupting(hosts, never).at_once([jobs("status")[0]])
    assert (row["host"], row["outcome"], row["error"]["message"]) == ("n1", "failed", INTERRUPTED)
    assert hosts.asked == []
    never.set()


def test_an_interruption_skips_hosts_that_were_never_begun() -> None:
    hosts = fleet("prepare", *[result("prepared")] * 3)
    never = threading.Event()
    found = interrupting(hosts, never).at_once(jobs("prepare"), limit=1)
    never.set()
    assert outcomes(found) == [("n1", "failed"), ("n2", "skipped"), ("n3", "skipped")]
    assert found[1]["facts"] == {"reason": "the operator interrupted the command"}
    assert "skipped: the operator interrupted the command" in troubles(found)
    # To have skipped hosts is no success, also where nothing else went wrong.
    assert rows.exit_status([{**found[0], "outcome": "prepared", "error": None}, *found[1:]]) == 1


def test_the_row_of_an_interrupted_host_has_no_steps_of_an_earlier_request() -> None:
    fleet = Fleet({("n1", "upgrade"): Failure("connection_lost")})
    runner = Runner(lambda host: Telling(fleet, host.name))
    assert runner.one(jobs("upgrade")[0])["steps"]

    def begins(_job: Job) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(runner.as_done(jobs("upgrade")[:1], 1, begins=begins))
    assert runner.interrupted(jobs("upgrade")[0])["steps"] == []


STAGED = {"event": "step", "step": "stage", "status": "ok", "seconds": 1.0}
WHOLE = {"event": "progress", "step": "stage", "done": 10, "total": 10, "unit": "bytes"}
HAS = {"event": "has", "file": "tarball"}


def sending(*bytes_of_each: int) -> list[Job]:
    """A preparation of each host, which lacks so many bytes."""
    return [replace(job, bytes=lacking) for job, lacking in zip(jobs("prepare"), bytes_of_each, strict=True)]


@pytest.mark.parametrize(
    "told", [STAGED, WHOLE, HAS], ids=["the step has ended", "the last byte is there", "it was there before"]
)
def test_the_line_is_free_once_a_host_has_the_file(told: dict[str, Any]) -> None:
    hosts = fleet("prepare", *[result("prepared")] * 3)
    others, asked = threading.Event(), list[str]()

    class Sent(FakeHost):
        """A session whose core has all of the file, and goes on until the last host is asked."""

        def run(
            self, request: dict[str, Any], tarball: Path | None, on_event: Callable[[dict[str, Any]], None]
        ) -> dict[str, Any]:
            asked.append(self._name)
            if len(asked) == len(HOSTS):
                others.set()
            on_event(told)
            assert others.wait(60), "the line is idle"
            return super().run(request, tarball, on_event)

    found = Runner(lambda settings: Sent(hosts, settings.name)).at_once(sending(*[IN_FLIGHT] * 3))
    assert outcomes(found) == [(host.name, "prepared") for host in HOSTS]


@pytest.mark.parametrize(
    "told",
    [
        {**WHOLE, "done": 9},
        {**WHOLE, "step": "extract"},
        {"event": "step", "step": "stage", "status": "start"},
        {"event": "hello"},
    ],
)
def test_until_then_the_line_is_taken(told: dict[str, Any]) -> None:
    assert run._lacking(told) is None


def test_a_host_that_wants_all_of_the_file_after_all_is_on_the_line_again() -> None:
    """What it had was of another tarball."""
    hosts = fleet("prepare", *[result("prepared")] * 3)
    begun, n2_told, n1_ends = list[str](), threading.Event(), threading.Event()

    class Again(FakeHost):
        def run(
            self, request: dict[str, Any], tarball: Path | None, on_event: Callable[[dict[str, Any]], None]
        ) -> dict[str, Any]:
            if self._name == "n1":
                on_event(HAS)
                on_event({"event": "want", "file": "tarball", "offset": 0, "bytes": IN_FLIGHT})
                n2_told.set()
                assert n1_ends.wait(60)
            if self._name == "n2":
                assert n2_told.wait(60)
            return super().run(request, tarball, on_event)

    first, second, third = sending(0, 0, 1)
    coming = Runner(lambda settings: Again(hosts, settings.name)).as_done(
        [first, second, third], 2, begins=lambda job: begun.append(job.host.name)
    )
    assert next(coming)["host"] == "n2"
    n1_ends.set()
    assert next(coming)["host"] == "n1"
    # There was a place for it before, and no room on the line.
    assert begun == ["n1", "n2"]
    assert [row["host"] for row in coming] == ["n3"]


def test_a_host_that_was_given_up_is_on_the_line_while_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GRACE", 0.0)
    hosts = fleet("prepare", *[result("prepared")] * 3)
    never, n2_ends, begun = threading.Event(), threading.Event(), list[str]()

    class Hung(FakeHost):
        def __enter__(self) -> FakeHost:
            {"n1": never, "n2": n2_ends, "n3": n2_ends}[self._name].wait(60)
            return super().__enter__()

    first, second, third = sending(IN_FLIGHT, 0, 1)
    first = replace(first, request={**first.request, "deadline": 0.1})
    coming = Runner(lambda settings: Hung(hosts, settings.name)).as_done(
        [first, second, third], 16, begins=lambda job: begun.append(job.host.name)
    )
    given_up = next(coming)
    assert (given_up["host"], given_up["error"]["err_type"]) == ("n1", "deadline_exceeded")
    n2_ends.set()
    assert next(coming)["host"] == "n2"
    assert begun == ["n1", "n2"]
    assert [row["host"] for row in coming] == ["n3"]
    never.set()


def test_hosts_that_were_given_up_keep_nobody_waiting_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GRACE", 0.0)
    hosts = fleet("prepare", *[result("prepared")] * 3)
    never = threading.Event()

    class Hung(FakeHost):
        def __enter__(self) -> FakeHost:
            if self._name == "n1":
                never.wait(60)
            return super().__enter__()

    first, *others = sending(*[IN_FLIGHT] * 3)
    first = replace(first, request={**first.request, "deadline": 0.1})
    found = Runner(lambda settings: Hung(hosts, settings.name)).at_once([first, *others])
    never.set()
    assert outcomes(found) == [("n1", "failed"), ("n2", "prepared"), ("n3", "prepared")]


def test_no_hosts_are_no_rows() -> None:
    runner = Runner(Fleet({}).connect)
    assert runner.in_turn([]) == runner.at_once([]) == []


def test_the_request_carries_the_settings_and_the_file() -> None:
    hosts = Fleet({("n1", "upgrade"): result("upgraded")})
    host = HostSettings(
        "n1", "10.0.0.1", root_dir="/opt/emqx", node="emqx@a", data_dir="/d", staging_dir="/s", backup_dir="/b"
    )
    Runner(hosts.connect).one(Job(host, request(order("upgrade"), host), TARBALL.path))
    [(_name, asked, file)] = hosts.asked
    assert file == TARBALL.path
    assert asked["node"] == {
        "root_dir": "/opt/emqx",
        "name": "emqx@a",
        "data_dir": "/d",
        "staging_dir": "/s",
        "backup_dir": "/b/n1",
    }
    assert (asked["command"], asked["operator"], asked["target"]) == ("upgrade", "alice@desk", "1.1")


def test_a_hop_that_is_missed_because_its_file_can_not_be_read_is_named() -> None:
    bad = Malformed("1.0-to-1.1.relup", 3, 7, "an operator is missing")
    hosts = fleet("plan", refused("no_relup_entry"), refused("disk_full"), result("ready"))
    found = Runner(hosts.connect).at_once(jobs("plan"))
    named = missed.told(found, [bad])
    assert [row["error"] and row["error"]["err_type"] for row in named] == ["malformed_hop", "disk_full", None]
    assert named[0]["error"]["message"] == "1.0-to-1.1.relup, line 3, column 7: an operator is missing."
    other = Malformed("1.0-to-1.2.relup", 0, 0, "no")
    assert missed.told(found, [other]) == found
