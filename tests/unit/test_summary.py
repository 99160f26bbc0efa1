"""What people and programs get to see of rows."""

import io
import json
from typing import Any

import pytest

from relup_remote.commands.history import intention as clearing
from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings
from relup_remote.rollout import rows
from relup_remote.rollout.rows import Row
from relup_remote.summary import json as documents
from relup_remote.summary import report, tables, text
from relup_remote.summary.progress import Lines
from relup_remote.summary.recovered import recovered
from relup_remote.usage import UsageError
from tests.unit.fake_host import result


def row(host: str, outcome: str = "upgraded", steps: tuple[tuple[str, str], ...] = (), **facts: Any) -> Row:
    return rows.of_result(host, result(outcome, steps, **facts), 4.0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0 ms"), (0.004, "4 ms"), (0.1, "0.1 s"), (0.94, "0.9 s"), (99.9, "99.9 s"), (215.4, "215 s")],
)
def test_seconds(value: float, shown: str) -> None:
    assert text.seconds(value) == shown


@pytest.mark.parametrize(("count", "shown"), [(12, "12 bytes"), (1500, "1.5 kB"), (71_000_000, "71 MB")])
def test_size(count: int, shown: str) -> None:
    assert text.size(count) == shown


def test_the_table_has_a_row_a_host_and_a_column_a_step() -> None:
    shown = tables.steps_table(
        [
            row("n1", steps=(("stage", "ok"), ("checksum", "unchanged"), ("apply", "ok"), ("cleanup", "skipped"))),
            {**row("n2", "failed", (("stage", "ok"), ("apply", "failed"))), "running": "1.0"},
            rows.skipped("n3", "n2 was not done"),
        ]
    )
    lines = [line.split("  ") for line in shown.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == [
        *("host", "node", "from", "target", "running", "outcome"),
        *("stage", "checksum", "apply", "cleanup", "total"),
    ]
    assert cells[2] == [
        *("n1", "emqx@127.0.0.1", "1.0", "1.1", "1.1", "upgraded"),
        *("0.5 s", "unchanged", "0.5 s", "skipped", "4.0 s"),
    ]
    assert cells[3] == ["n2", "emqx@127.0.0.1", "1.0", "1.1", "1.0", "failed", "0.5 s", "FAILED", "4.0 s"]
    assert cells[4] == ["n3", "skipped"]


def test_a_table_that_is_too_wide_leaves_out_what_tells_least() -> None:
    steps = tuple((name, "ok") for name in ("stage", "checksum", "patches", "extract", "verify", "cleanup"))
    made = [row("n1", steps=steps), row("n2", steps=(*steps[:-1], ("cleanup", "skipped")))]
    made[0]["steps"][3]["seconds"] = 4.0
    headers = ["host", "node", "from", "target", "outcome", *(name for name, _ in steps), "total"]
    assert tables.steps_table(made).splitlines()[0].split() == headers
    full = max(map(len, tables.steps_table(made).splitlines()))
    assert tables.steps_table(made, full).splitlines()[0].split() == headers
    headers.remove("node")
    assert tables.steps_table(made, full - 1).splitlines()[0].split() == headers
    telling = ["host", "from", "target", "outcome", "extract", "cleanup", "total"]
    assert tables.steps_table(made, 80).splitlines()[0].split() == telling
    # Where not even these have room, each host has a block.
    narrow = tables.steps_table(made, 30).splitlines()
    assert narrow[0] == "host n1"
    assert [line.split()[0] for line in narrow[1:6]] == telling[1:6]


def test_a_step_that_refused_did_not_fail() -> None:
    assert "FAILED" in tables.steps_table([row("n1", "failed", (("rollback", "failed"),))])
    assert "FAILED" not in tables.steps_table([row("n1", "refused", (("rollback", "failed"),))])


def test_what_is_running_is_shown_only_where_it_is_not_the_target() -> None:
    assert "running" not in tables.steps_table([row("n1"), row("n2")])
    assert "running" in tables.steps_table([row("n1"), {**row("n2"), "running": None}])


def test_versions_are_shown_as_they_are() -> None:
    made = {**row("n1"), "from": "5.10", "target": "6.0", "running": "5.1e3"}
    assert [word in tables.steps_table([made]) for word in ("5.10 ", "6.0 ", "5.1e3")] == [True] * 3


def test_an_error_names_the_command_as_it_is_typed() -> None:
    failed = rows.of_failure("n1", Failure("no_backup", stage="backup-verify"))
    assert report.troubles([failed]).startswith("n1: no_backup at backup.verify\n")


def test_hosts_with_what_was_found_out() -> None:
    hosts = [HostSettings("n1", "10.0.0.1", port=2222, role="core"), HostSettings("n2", "n2", node="emqx@n2")]
    found = [row("n1", "ok", marker="1.1"), rows.of_failure("n2", Failure("host_unreachable", stage="connect"))]
    lines = tables.hosts_table(hosts, found).splitlines()
    assert lines[0].split() == ["host", "address", "node", "running", "marker", "role", "reachable"]
    assert lines[2].split() == ["n1", "10.0.0.1:2222", "emqx@127.0.0.1", "1.1", "1.1", "core", "yes"]
    assert lines[3].split() == ["n2", "n2", "emqx@n2", "no"]


def test_a_host_whose_node_is_down_can_be_reached() -> None:
    assert tables.is_reachable(rows.of_failure("n1", Failure("node_not_running", stage="status"), "refused"))


def test_status_says_the_state_in_words() -> None:
    shown = tables.status_table(
        [
            row(
                "n1",
                "ok",
                state="hot-upgraded",
                state_text="running 1.1; the next restart boots it from its own tree",
                nodes=["a", "b"],
            )
        ]
    )
    assert "running 1.1; the next restart boots it" in shown
    assert "2 nodes" in shown


def attempt(started: int, finished: int | None = None, **more: Any) -> dict[str, Any]:
    return {"started_at": started, "finished_at": finished, "from_vsn": "1.0", "target_vsn": "1.1", **more}


@pytest.mark.parametrize(("nodes", "said"), [(["a"], "1 node"), (["a", "b"], "2 nodes")])
def test_the_size_of_a_cluster(nodes: list[str], said: str) -> None:
    shown = tables.status_table([row("n1", "ok", state="idle", nodes=nodes)])
    assert shown.splitlines()[-1].endswith(said)


def test_history_of_all_hosts_is_one_table_oldest_first() -> None:
    extra = {"command": "upgrade", "changed": True}
    found = [
        row("n1", "ok", history=[attempt(3_000, 4_500, result="success", run="r3", source="journal", extra=extra)]),
        row(
            "n2", "ok", history=[attempt(1_000, 2_000, result="sha256_mismatch"), attempt(9_000, status="in-progress")]
        ),
        rows.skipped("n3", ""),
    ]
    attempts = tables.history(found)
    assert [(entry["host"], entry["started_at"]) for entry in attempts] == [("n2", 1000), ("n1", 3000), ("n2", 9000)]
    lines = tables.history_table(attempts).splitlines()[2:]
    assert lines[0].split() == ["1970-01-01", "00:00:01", "n2", "1.0", "1.1", "sha256_mismatch", "1.0"]
    assert lines[1].split() == [
        "1970-01-01",
        "00:00:03",
        "n1",
        "upgrade",
        "1.0",
        "1.1",
        "success",
        "1.5",
        "r3",
        "journal",
    ]
    assert lines[2].split() == ["1970-01-01", "00:00:09", "n2", "1.0", "1.1", "in-progress"]
    assert tables.history(found, limit=1) == attempts[-1:]
    assert tables.history_table([]) == ""


def test_a_row_that_ended_when_it_began_took_no_time_and_one_without_a_run_has_none() -> None:
    """Rows of the plugin's have no run and no operator, nor has any other of theirs the columns for it."""
    shown = tables.history_table([{"host": "n1", **attempt(1_000, 1_000, result="success", run=None, source="plugin")}])
    assert shown.splitlines()[2].split() == ["1970-01-01", "00:00:01", "n1", "1.0", "1.1", "success", "0.0", "plugin"]


def test_what_was_finished_is_told_a_sentence_an_attempt() -> None:
    messages = [{"message": f"The upgrade by \x1b[1m{name} was left unfinished."} for name in ("alice", "bob")]
    assert recovered(
        [row("n1", "ok", recovered=messages), row("n2", "ok"), row("n3", "ok", recovered=messages[:1])]
    ) == (
        "n1: The upgrade by ?[1malice was left unfinished.\n"
        "n1: The upgrade by ?[1mbob was left unfinished.\n"
        "n3: The upgrade by ?[1malice was left unfinished."
    )
    assert recovered([row("n1", "ok")]) == ""


def test_what_is_going_to_be_cleared_is_counted_for_each_host() -> None:
    asked = [
        row("n1", "ok", clearable={"journal": 3, "plugin": 12}),
        row("n2", "ok", clearable={"journal": 0, "plugin": None}),
        row("n3", "ok"),
    ]
    assert clearing(asked).splitlines() == [
        "This will delete the history of attempts for good. Attempts under way will be kept.",
        "  n1: attempts in the host's journal: 3; in the node's emqx_relup_log: 12",
        "  n2: attempts in the host's journal: 0; in the node's emqx_relup_log: unknown",
        "  n3: not known",
    ]


def test_errors_are_told_in_full_and_those_of_several_hosts_once() -> None:
    failure = Failure(
        "sha256_mismatch", stage="checksum", detail={"expected": "aa", "found": "bb", "hosts": ["x", "y"]}
    )
    made = {**rows.of_failure("n1", failure, "refused"), "problems": [failure.to_json()]}
    other = rows.of_failure("n3", Failure("disk_full", stage="stage", detail={"free": {"/opt": 10}}))
    assert report.troubles([made, {**made, "host": "n2"}, row("n4"), other]) == (
        "n1, n2: sha256_mismatch at checksum\n"
        "  The tarball's SHA-256 is not the one of its .sha256 file.\n"
        "    expected: aa\n"
        "    found: bb\n"
        "    hosts: x, y\n"
        "  what to do: Fetch both again; do not use this tarball.\n"
        "\n"
        "n3: disk_full at stage\n"
        "  There is not enough space on the host.\n"
        "    free:\n"
        "      /opt: 10\n"
        "  what to do: Free some space. The detail says how much, and where."
    )


def test_all_problems_warnings_and_reasons_are_told() -> None:
    made = row("n1", "refused")
    made["problems"] = [made["error"], Failure("no_relup_entry", stage="extract").to_json()]
    made["warnings"] = [{"err_type": "old_code_in_use"}, {"message": "the clock is off", "seconds": 3}]
    shown = report.troubles([made, rows.skipped("n2", "n1 was not done")])
    assert shown.count("call_failed") == 1
    assert "n1: no_relup_entry at extract" in shown
    assert "n1: warning, old_code_in_use\n  Processes still run the old code" in shown
    assert "n1: warning\n  the clock is off\n    seconds: 3" in shown
    assert "n2: skipped: n1 was not done" in shown


def test_details_are_readable_and_long_ones_wrapped() -> None:
    shown = text.detail(
        {"pids": [{"pid": "<0.1.0>", "name": "a"}, {"pid": "<0.2.0>"}], "none": [], "ok": True, "x": None}
    )
    assert shown == "  pids:\n    - pid: <0.1.0>\n      name: a\n    - pid: <0.2.0>\n  none: none\n  ok: yes\n  x: -"
    lines = text.detail({"said": "word " * 60}).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= text.WIDTH for line in lines)
    assert lines[1].startswith(" " * 8 + "word")


def test_hosts_can_not_command_the_terminal() -> None:
    made = rows.of_failure(
        "n1", Failure("call_failed", "\x1b[2Jgone\r", stage="plan\x07", detail={"\x1b]0;t": "\x9b1m"})
    )
    shown = report.troubles([made]) + tables.steps_table([{**row("n1"), "node": "a\x1b[31m"}])
    assert shown.replace("\n", "").isprintable()


def test_what_a_message_tells_is_not_repeated_below_it() -> None:
    detail = {"n": 2, "signals": {"a": "is off", "b": None}, "left": [], "count": 20, "pid": "<0.9.0>"}
    shown = report.troubles([rows.of_failure("n1", Failure("apply_failed", "Instruction 2: a is off.", detail=detail))])
    assert shown.splitlines()[1:4] == ["  Instruction 2: a is off.", "    count: 20", "    pid: <0.9.0>"]


def test_what_a_skipped_cleanup_waits_for_is_told() -> None:
    made = row("n1", steps=(("apply", "ok"), ("cleanup", "skipped")))
    made["steps"][1]["detail"] = {"waiting_for": ["x3@h runs 1.0"]}
    shown = report.troubles([made])
    assert shown == "n1: cleanup was skipped: not all nodes of the cluster were on the target"


def test_terms_without_spaces_are_broken_after_commas() -> None:
    lines = text.wrapped("{" + ",".join(["{file,name}"] * 30) + "}", "  ").splitlines()
    assert len(lines) == 4
    assert all(line.endswith(",") and len(line) <= text.WIDTH for line in lines[:-1])


@pytest.mark.parametrize("ok", [True, False])
def test_the_document_has_the_rows_and_says_whether_all_is_well(ok: bool) -> None:
    made = [row("n1", "upgraded"), row("n2", "unchanged" if ok else "refused")]
    document = json.loads(documents.text(documents.rows_document("upgrade", "run", made, ok)))
    assert (document["command"], document["ok"], document["run"]) == ("upgrade", ok, "run")
    assert list(document["hosts"][0]) == [
        *("host", "node", "outcome", "from", "target", "running", "seconds"),
        *("steps", "error", "problems", "warnings", "facts"),
    ]


def test_wrong_use_has_a_document_too() -> None:
    document = documents.usage_document("status", UsageError("unknown_host", "no n9"))
    assert (document["ok"], document["hosts"], document["error"]["err_type"]) == (False, [], "unknown_host")


def test_progress_is_a_line_a_step_and_now_and_then_one_in_a_long_step() -> None:
    out = io.StringIO()
    lines = Lines(out)
    transfer = {"event": "progress", "step": "stage", "done": 4_000_000, "total": 71_000_000, "unit": "bytes"}
    lines({"event": "hello", "at": 0, "host": "n1", "pid": 1})
    lines({"event": "step", "at": 0, "host": "n1", "step": "stage", "status": "start"})
    for at in (0, 2500, 3000):
        lines({**transfer, "at": at, "host": "n1"})
    lines({"event": "step", "at": 3000, "host": "n1", "step": "stage", "status": "ok", "seconds": 3.0, "detail": {}})
    lines({"event": "note", "at": 3000, "host": "n2", "message": "the node\x1b restarts"})
    assert out.getvalue() == "n1 stage 4.0 MB of 71 MB\nn1 stage ok 3.0 s\nn2 the node? restarts\n"


def test_a_moment_is_told_so_that_people_can_read_it_and_not_twice() -> None:
    since = {"operator": "alice@desk", "since": 1_795_536_000_000, "pid": 7}
    told = Failure("upgrade_in_progress", "upgrade of alice@desk works since 2026-11-24 16:00:00 UTC.", detail=since)
    shown = report.troubles([rows.of_failure("n1", told)])
    assert "1795536000000" not in shown
    assert shown.splitlines()[2:3] == ["    pid: 7"]
    shown = report.troubles([rows.of_failure("n1", Failure("upgrade_in_progress", "Someone works.", detail=since))])
    assert "    since: 2026-11-24 16:00:00 UTC\n" in shown


def test_a_refusal_before_any_host_is_asked_is_a_problem_too() -> None:
    failure = Failure("target_tarball_not_found", stage="stage")
    refused, failed = rows.of_failure("n1", failure, "refused"), rows.of_failure("n1", failure)
    assert (refused["problems"], failed["problems"]) == ([refused["error"]], [])
    assert report.troubles([refused]).count("target_tarball_not_found") == 1
