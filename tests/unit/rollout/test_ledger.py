"""The ledger of runs: whole whatever happens, one controller at a time, found by name."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relup_remote import files
from relup_remote.report import FORMATS, render
from relup_remote.report.reading import report_of
from relup_remote.rollout import ledger, overview
from relup_remote.rollout.feed import Feed
from relup_remote.rollout.ledger import Ledger, Record, open_run, runs
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.secrets import Shell
from relup_remote.summary import json as documents
from relup_remote.usage import UsageError
from tests.unit.fake_host import result
from tests.unit.rollout.plans import RUN, ended, plan

UPGRADED = {"host": "n1", **result("upgraded")}
REQUEST = plan(["n1"], ["n2"]).to_json()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for runs that is not there yet, nor is the state directory it is in."""
    return tmp_path / "state" / "relup_remote" / "runs"


@pytest.fixture
def written(folder: Path) -> Iterator[Ledger]:
    with Ledger.create(REQUEST, folder) as made:
        yield made


def event(name: str, at: int = 0, **facts: object) -> dict[str, object]:
    return {"event": name, "at": at, **facts}


def named(folder: Path, *names: str, command: str = "upgrade") -> None:
    """Runs of these names that are over."""
    for name in names:
        Ledger.create({**REQUEST, "run": name, "command": command}, folder).close()


def modes(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): f"{path.stat().st_mode & 0o777:o}" for path in [root, *root.rglob("*")]}


def test_runs_are_kept_in_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ledger.runs_folder() == tmp_path / "relup_remote" / "runs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ledger.runs_folder() == tmp_path / ".local/state/relup_remote/runs"


def test_a_run_begins_whole_and_is_nobody_elses(folder: Path, written: Ledger) -> None:
    written(ended("n1", "apply", UPGRADED))
    assert json.loads((written.path / "request.json").read_text()) == json.loads(json.dumps(REQUEST))
    assert json.loads((written.path / "hosts" / "n1.json").read_text()) == UPGRADED
    assert modes(folder.parent) == {
        ".": "700",
        "runs": "700",
        f"runs/{RUN}": "700",
        f"runs/{RUN}/request.json": "600",
        f"runs/{RUN}/events.jsonl": "600",
        f"runs/{RUN}/lock": "600",
        f"runs/{RUN}/hosts": "700",
        f"runs/{RUN}/hosts/n1.json": "600",
    }


def test_what_is_written_is_what_is_read(folder: Path, written: Ledger) -> None:
    events = [
        event("run", status="begin"),
        ended("n1", "stage", {"host": "n1", **result("staged")}),
        ended("n2", "survey", {"host": "n2", **result("ready")}),
        ended("n1", "apply", UPGRADED),
        event("note", host="n1", message="größer\nals eine Zeile"),
        event("end", outcome="stopped"),
    ]
    for each in events:
        written(each)
    record = open_run(RUN, folder)
    assert record.events == events
    assert (record.run, record.path, record.request["target"]) == (RUN, folder / RUN, "1.1")
    assert [(host, row["outcome"]) for host, row in record.rows.items()] == [("n1", "upgraded"), ("n2", "ready")]
    assert record.end == events[-1]


def test_what_the_host_said_last_is_its_file(written: Ledger) -> None:
    for outcome in ("staged", "upgraded"):
        written(ended("n1", "apply", result(outcome)))
    assert json.loads((written.path / "hosts" / "n1.json").read_text())["outcome"] == "upgraded"
    assert [path.name for path in (written.path / "hosts").iterdir()] == ["n1.json"]


def test_a_run_that_goes_on_has_not_ended(folder: Path, written: Ledger) -> None:
    assert open_run(RUN, folder).end is None
    written(event("end", outcome="stopped"))
    written(event("run", status="resume"))
    assert open_run(RUN, folder).end is None
    written(event("end", outcome="done"))
    found = open_run(RUN, folder).end
    assert found is not None
    assert found["outcome"] == "done"


@pytest.mark.parametrize("rest", [b'{"event":"step","at', b"\xff\xfe{", b"[1]", b'{"at":1}'])
def test_a_line_cut_short_counts_as_not_written_and_the_next_one_is_whole(folder: Path, rest: bytes) -> None:
    with Ledger.create(REQUEST, folder) as first:
        first(event("run"))
    with (folder / RUN / "events.jsonl").open("ab") as file:
        file.write(rest)
    assert [each["event"] for each in open_run(RUN, folder).events] == ["run"]
    with Ledger(folder / RUN) as second:
        second(event("end", outcome="done"))
    assert [each["event"] for each in open_run(RUN, folder).events] == ["run", "end"]
    assert (folder / RUN / "events.jsonl").read_bytes().count(b"\n") == 3


def test_a_run_taken_up_again_goes_on_in_the_same_file(folder: Path) -> None:
    with Ledger.create(REQUEST, folder) as first:
        first(event("run", status="begin"))
    with Ledger(folder / RUN) as second:
        second(event("run", status="resume"))
    assert [each["status"] for each in open_run(RUN, folder).events] == ["begin", "resume"]
    assert len(runs(folder)) == 1


@pytest.mark.parametrize("file", [None, b"", b'{"host": "n1", "outcome": "staged"}'])
def test_a_row_that_was_told_of_but_not_kept_is_kept_by_the_next_controller(folder: Path, file: bytes | None) -> None:
    with Ledger.create(REQUEST, folder) as made:
        made(ended("n1", "apply", UPGRADED))
        kept = made.path / "hosts" / "n1.json"
    whole = kept.read_bytes()
    kept.unlink()
    if file is not None:
        kept.write_bytes(file)
    kept.with_name("n1.json.tmp").touch()
    Ledger(made.path).close()
    assert [path.name for path in kept.parent.iterdir()] == ["n1.json"]
    assert kept.read_bytes() == whole


def test_only_one_controller_works_on_a_run(folder: Path, written: Ledger) -> None:
    written(event("run"))
    with pytest.raises(UsageError) as caught:
        Ledger(written.path)
    assert caught.value.err_type == "run_in_progress"
    assert RUN in caught.value.message
    assert open_run(RUN, folder).is_under_way
    written.close()
    written.close()
    assert not open_run(RUN, folder).is_under_way
    Ledger(written.path).close()


def test_a_controller_that_is_killed_lets_go_of_its_run(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from relup_remote.rollout.ledger import Ledger\n"
        f"held = Ledger.create({{'format': 1, 'run': {RUN!r}}}, Path(sys.argv[1]))\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another command"):
            Ledger(folder / RUN)
        other.kill()
    Ledger(folder / RUN).close()


def test_a_folder_that_was_never_locked_is_not_under_way(tmp_path: Path) -> None:
    assert not Record(tmp_path, {}).is_under_way
    assert Record(tmp_path, {}).events == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("2026-11-24T08", "2026-11-24T08-15-03-k3f9"),
        ("2026-11-25", "2026-11-25"),
        ("2026-11-25T09-00-00-aaaa", "2026-11-25T09-00-00-aaaa"),
        ("last", "2026-11-25T09-00-00-aaaa"),
    ],
)
def test_a_run_is_found_by_any_beginning_that_fits_no_other(folder: Path, name: str, found: str) -> None:
    named(folder, "2026-11-25", "2026-11-24T08-15-03-k3f9", "2026-11-25T09-00-00-aaaa")
    assert open_run(name, folder).run == found
    assert [record.run for record in runs(folder)] == [
        "2026-11-24T08-15-03-k3f9",
        "2026-11-25",
        "2026-11-25T09-00-00-aaaa",
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("2027", "no run begins with '2027'; the last ones: 2026-11-24, 2026-11-25"),
        ("2026", "several runs begin with '2026'"),
        ("", "several runs begin with ''"),
    ],
)
def test_a_name_that_fits_none_or_several_is_wrong_use(folder: Path, name: str, said: str) -> None:
    named(folder, "2026-11-24", "2026-11-25")
    with pytest.raises(UsageError) as caught:
        open_run(name, folder)
    assert caught.value.err_type == "unknown_run"
    assert said in caught.value.message


def test_of_the_runs_of_one_command_the_last_is_the_last(folder: Path) -> None:
    named(folder, "2026-11-24")
    named(folder, "2026-11-25", command="rollback")
    assert open_run("last", folder, command="upgrade").run == "2026-11-24"
    assert open_run("2026", folder, command="rollback").run == "2026-11-25"
    with pytest.raises(UsageError, match="no upgrade run begins with '2026-11-25'"):
        open_run("2026-11-25", folder, command="upgrade")


def test_where_there_are_no_runs_none_is_the_last(folder: Path) -> None:
    assert runs(folder) == []
    with pytest.raises(UsageError, match="there is no run yet"):
        open_run("last", folder)


def test_of_two_runs_of_the_same_second_the_later_one_is_the_last(folder: Path) -> None:
    for name, began in (("2026-11-24-b", 1), ("2026-11-24-a", 2)):
        Ledger.create({**REQUEST, "run": name, "started_at": began}, folder).close()
    assert open_run("last", folder).run == "2026-11-24-a"


def test_the_last_run_of_the_list_is_the_one_that_last_means(folder: Path) -> None:
    """Whatever moment the first event of each run has."""
    for name, began, told in (("a-run", 5000, 1000), ("b-run", 3000, 2000)):
        with Ledger.create({**REQUEST, "run": name, "started_at": began}, folder) as written:
            written({"event": "run", "status": "begin", "at": told})
    assert (
        [each["run"] for each in overview.overviews(folder)]
        == [each.run for each in runs(folder)]
        == ["b-run", "a-run"]
    )


DAMAGED = {
    "empty": (b"", "request.json: is not JSON"),
    "cut short": (b"{", "request.json: is not JSON"),
    "a list": (b"[]", "request.json: should be a mapping, and is a list of 0"),
    "without a format": (b'{"run": "x"}', "request.json: format: is missing"),
    "of another version": (b'{"format": 2}', "request.json: format: is 2, of another version of relup_remote"),
    "without a plan": (b'{"format": 1}', "request.json: run: is missing"),
    "no text": (b"\xff", "request.json: is not UTF-8"),
}


@pytest.mark.parametrize(("content", "said"), DAMAGED.values(), ids=DAMAGED)
def test_a_run_that_can_not_be_read_is_told_and_no_older_one_is_taken_for_it(
    folder: Path, content: bytes, said: str
) -> None:
    named(folder, RUN)
    bad = folder / "2026-11-24T08-16-00-zzzz"
    bad.mkdir()
    (bad / "request.json").write_bytes(content)
    assert [(record.run, record.trouble) for record in runs(folder)] == [(RUN, None), (bad.name, said)]
    for name in ("last", bad.name):
        with pytest.raises(UsageError, match="can't be read") as caught:
            open_run(name, folder, command="upgrade")
        assert (caught.value.err_type, said in caught.value.message) == ("run_unreadable", True)
    assert open_run(RUN, folder).run == RUN
    assert [(each["run"], each["outcome"], each["reason"]) for each in overview.overviews(folder)] == [
        (RUN, "left", None),
        (bad.name, "unreadable", said),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"event":"host","at":1}', "line 2.host: is missing"),
        ('{"event":"host","at":1,"host":"n1","phase":"apply","status":"end"}', "line 2.row: is missing"),
        (
            '{"event":"host","at":1,"host":"n1","phase":"apply","status":"end","row":{"outcome":"x"}}',
            'line 2.row.outcome: should be a word that is known, and is "x"',
        ),
        ('{"event":7}', "line 2.event: should be text, and is 7"),
        ('{"event":"end","at":1}', "line 2.outcome: is missing"),
        ('{"event":"run","at":1,"plan":{}}', "line 2.plan.run: is missing"),
        ('{"event":"note","at":1,"message":NaN}', "line 2: has NaN, which is not a number"),
        ('{"event":"note","at":1,"message":' + "[" * 100_000, "line 2: is nested more than 100 deep"),
    ],
    ids=["no host", "no row", "a bad row", "no name", "no outcome", "a bad plan", "no number", "too deep"],
)
def test_an_event_that_none_of_us_wrote_makes_its_run_unreadable_and_no_other(
    folder: Path, line: str, said: str
) -> None:
    named(folder, "2026-11-25T08-00-00-aaaa")
    with Ledger.create(REQUEST, folder) as made:
        made(event("run", status="begin"))
    with (made.path / "events.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError) as caught:
        open_run(RUN, folder)
    assert caught.value.message == f"the run {RUN} can't be read: events.jsonl: {said}"
    assert {each["run"]: each["outcome"] for each in overview.overviews(folder)}[RUN] == "unreadable"


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: os.truncate(path, 150)], ids=["gone", "cut"])
def test_a_run_that_lost_events_is_unreadable(folder: Path, lose: Callable[[Path], None]) -> None:
    with Ledger.create(REQUEST, folder) as made:
        made(event("run", status="begin"))
        made(ended("n1", "apply", UPGRADED))
        made(event("end", outcome="done", reason=None))
    overview.keep(open_run(RUN, folder))
    lose(made.path / "events.jsonl")
    assert [each["outcome"] for each in overview.overviews(folder)] == ["unreadable"]
    with pytest.raises(UsageError, match=r"events\.jsonl") as caught:
        open_run(RUN, folder)
    assert (caught.value.err_type, "resumed" in caught.value.hint) == ("run_unreadable", False), "nobody resumes"
    with pytest.raises(UsageError) as caught:
        open_run(RUN, folder, command="upgrade")
    assert "resumed" in caught.value.hint


def test_a_run_that_never_ended_and_lost_its_events_is_unreadable(folder: Path) -> None:
    with Ledger.create(REQUEST, folder) as made:
        pass
    (made.path / "events.jsonl").unlink()
    assert runs(folder)[0].trouble is None, "nothing was told"
    with Ledger(made.path) as made:
        made(ended("n1", "apply", UPGRADED))
    (made.path / "events.jsonl").unlink()
    assert runs(folder)[0].trouble == "it has no events.jsonl"


def test_the_folder_of_a_run_without_a_record_is_told_to_who_names_it(folder: Path) -> None:
    named(folder, RUN)
    (folder / "2026-11-01T08-15-03-k3f9").mkdir()
    assert [found.run for found in runs(folder)] == [RUN]
    assert open_run("last", folder).run == RUN
    with pytest.raises(UsageError, match="the run 2026-11-01T08-15-03-k3f9 has no record") as caught:
        open_run("2026-11-01", folder)
    assert caught.value.err_type == "run_unreadable"


def test_the_target_of_a_rollback_is_what_its_hosts_say(folder: Path) -> None:
    with Ledger.create({**REQUEST, "command": "rollback", "target": None}, folder) as made:
        made(ended("n1", "apply", {**UPGRADED, "outcome": "rolled back", "target": "5.10.4"}))
    assert overview.overviews(folder)[0]["target"] == "5.10.4"


def test_folders_that_hold_no_run_are_passed_over(folder: Path) -> None:
    named(folder, RUN)
    (folder / "zzz").mkdir()
    (folder / "file").write_text("")
    assert [record.run for record in runs(folder)] == [RUN]


def test_a_run_without_a_request_but_with_events_is_told(folder: Path) -> None:
    named(folder, RUN)
    (folder / RUN / "request.json").unlink()
    [found] = runs(folder)
    assert found.trouble == "it has no request.json"


def test_of_runs_that_have_ended_only_a_few_facts_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for second in range(50):
        with Ledger.create({**REQUEST, "run": f"2026-11-24T08-15-{second:02}-aaaa"}, folder) as made:
            made(ended("n1", "apply", UPGRADED))
            made(event("end", outcome="stopped", reason="so"))
        overview.keep(open_run(made.path.name, folder))
    read: list[str] = []

    def watched(path: Path) -> bytes:
        read.append(path.name)
        return files.read_bytes(path)

    for module in (overview, ledger):
        monkeypatch.setattr(module, "read_bytes", watched)
    found = overview.overviews(folder)
    assert [(each["done"], each["hosts"], each["outcome"]) for each in found] == [(1, 2, "stopped")] * 50
    assert set(read) == {"overviews.json", "overview.json"}


def test_what_is_kept_of_all_runs_is_read_from_one_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "NEW", 3)
    for second in range(3):
        with Ledger.create({**REQUEST, "run": f"2026-11-24T08-15-{second:02}-aaaa"}, folder) as made:
            made(event("end", outcome="stopped", reason="so"))
        overview.keep(open_run(made.path.name, folder))
    right = overview.overviews(folder)
    kept = folder.parent / "overviews.json"
    written = kept.read_bytes()
    read: list[str] = []

    def watched(path: Path) -> bytes:
        read.append(path.name)
        return files.read_bytes(path)

    monkeypatch.setattr(overview, "read_bytes", watched)
    assert overview.overviews(folder) == right
    assert read == ["overviews.json"]
    # What somebody else has written, or a part of it, counts as nothing.
    for content in (b"", written[:-9] + b"9" + written[-8:], written.replace(b"stopped", b"upgrade"), b"\xff\n{}"):
        kept.write_bytes(content)
        assert overview.overviews(folder) == right
    # Nor does what was kept of a run that goes on.
    kept.write_bytes(written)
    with Ledger(folder / str(right[0]["run"])) as again:
        again(event("run", status="resume"))
    assert [each["outcome"] for each in overview.overviews(folder)] == ["left", "stopped", "stopped"]
    # One that is no longer there is not told.
    shutil.rmtree(folder / str(right[0]["run"]))
    assert overview.overviews(folder) == right[1:]


def test_facts_that_were_kept_hold_as_long_as_nothing_was_added(folder: Path) -> None:
    with Ledger.create(REQUEST, folder) as made:
        made(event("end", outcome="stopped", reason=None))
    overview.keep(open_run(made.path.name, folder))
    with Ledger(made.path) as again:
        again(event("run", status="resume"))
    assert [each["outcome"] for each in overview.overviews(folder)] == ["left"]
    size = (made.path / "events.jsonl").stat().st_size
    right = dict(overview.overviews(folder)[0])
    for wrong in (
        {"ended_at": "now"},
        {"operator": ["alice"]},
        {"started_at": -1},
        {"hosts": None, "done": "2"},
        {"seconds": None},
    ):
        kept = json.dumps({"events_size": size, "overview": {**right, **wrong}})
        (made.path / "overview.json").write_text(kept)
        assert overview.overviews(folder) == [right]
    for content in ("", "{}", "[]", "[" * 100_000, '{"events_size": 1, "overview": {}}'):
        (made.path / "overview.json").write_text(content)
        assert overview.overviews(folder) == [right]


# What may hold a secret

LINE = "curl -H 'Authorization: Bearer to-ken-of-the-monitor' http://monitor/healthy"


def test_the_gate_command_is_in_the_ledger_and_masked_wherever_it_is_read(folder: Path) -> None:
    made = plan(["n1"], gates=Gates(command=Shell(LINE)))
    with Ledger.create(made.to_json(), folder) as written:
        written(event("run", plan=made.to_json(), operator="alice"))
        written(event("end", outcome="done", reason=None))
    assert "to-ken" in (written.path / "request.json").read_text()
    record = open_run(RUN, folder)
    assert Plan.from_json(record.plan).gates.command == Shell(LINE)
    told = [
        documents.text({"plan": record.plan}),
        documents.line({"events": record.events}),
        str(record.request),
        repr(record.plan),
        *(render(report_of(record), format) for format in FORMATS),
    ]
    assert not [text for text in told if "to-ken" in text]
    assert all("curl …" in text.replace("\\u2026", "…") for text in told[:4])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (LINE, "curl …"),
        ("TOKEN=abc ./healthy.sh", "./healthy.sh …"),
        ("./healthy.sh", "./healthy.sh"),
        ("echo 'open", "echo …"),
        ("TOKEN=abc", "…"),
        ("", ""),
    ],
)
def test_of_a_command_line_only_the_program_is_shown(line: str, shown: str) -> None:
    assert (str(Shell(line)), repr(Shell(line))) == (shown, f"Shell({shown!r})")


def test_what_a_program_repeats_of_its_arguments_is_hidden() -> None:
    said = Shell(LINE).hidden_in(
        "curl: no route for http://monitor/healthy (Authorization: Bearer to-ken-of-the-monitor)"
    )
    assert said == "curl: no route for … (…)"


def test_progress_is_thinned_to_one_a_second_for_each_host(folder: Path, written: Ledger) -> None:
    for at in range(10_000, 12_500, 100):
        written(event("progress", at, host="n1", done=at))
        written(event("progress", at, host="n2", done=at))
        written(event("step", at, host="n1", status="ok"))
    found = open_run(RUN, folder).events
    for host in ("n1", "n2"):
        assert [each["at"] for each in found if each["event"] == "progress" and each["host"] == host] == [
            10_000,
            11_000,
            12_000,
        ]
    assert sum(each["event"] == "step" for each in found) == 25


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_to_the_feed_and_keeps_nobody_from_going_on(folder: Path) -> None:
    feed = Feed()
    with Ledger.create(REQUEST, folder) as full:
        feed.add(full, needed=True)
        feed.tell("run", status="begin")
        with room_for((folder / RUN / "events.jsonl").stat().st_size + 10):
            feed.tell("phase", phase="stage")
            feed.tell("end", outcome="done")
            full.close()
    assert feed.broken is not None
    assert feed.broken.strerror == os.strerror(errno.EFBIG)
    record = open_run(RUN, folder)
    assert not record.is_under_way
    assert [each["event"] for each in record.events] == ["run"]
    with Ledger(folder / RUN) as again:
        again(event("end", outcome="done"))
    assert [each["event"] for each in open_run(RUN, folder).events] == ["run", "end"]


def test_a_host_whose_row_can_not_be_kept_breaks_the_feed(folder: Path, written: Ledger) -> None:
    (written.path / "hosts").rename(written.path / "gone")
    feed = Feed()
    feed.add(written, needed=True)
    feed.tell("host", host="n1", phase="apply", status="end", row=UPGRADED)
    assert f"{written.path / 'hosts'} does not exist" in str(feed.broken)
    assert [each["event"] for each in open_run(RUN, folder).events] == ["host"]


def test_what_is_told_after_the_end_is_not_written(folder: Path, written: Ledger) -> None:
    written.close()
    written(event("interrupt"))
    assert open_run(RUN, folder).events == []


@pytest.mark.parametrize("spoil", ["file", "open", "link"])
def test_a_state_directory_that_can_not_be_relied_on_is_refused_before_anything_is_written(
    folder: Path, spoil: str
) -> None:
    folder.parent.parent.mkdir()
    if spoil == "file":
        folder.parent.write_text("")
    elif spoil == "open":
        folder.mkdir(parents=True)
        folder.chmod(0o777)
    else:
        (folder.parent.parent / "elsewhere").mkdir(mode=0o700)
        folder.parent.symlink_to("elsewhere")
    with pytest.raises(UsageError) as caught:
        Ledger.create(REQUEST, folder)
    assert caught.value.err_type == "ledger_unusable"
    assert str(folder / RUN) in caught.value.message
    assert not folder.is_dir() or list(folder.iterdir()) == []


def test_runs_that_can_not_be_read_are_an_error_and_not_none(folder: Path) -> None:
    assert runs(folder) == []
    folder.parent.mkdir(parents=True)
    folder.write_text("")
    for look in (runs, overview.overviews):
        with pytest.raises(UsageError, match="can't be read") as caught:
            look(folder)
        assert caught.value.err_type == "ledger_unusable"


def test_a_run_that_is_not_there_can_not_be_gone_on_with(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Ledger(folder / RUN)
    assert caught.value.err_type == "ledger_unusable"
    assert os.strerror(2) in caught.value.message
