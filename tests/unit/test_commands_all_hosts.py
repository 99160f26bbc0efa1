"""Commands that act on all hosts at once: `lock`, `unlock` and `cleanup`, over hosts that answer by script."""

import json
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from relup_remote.commands import invocation, locking
from relup_remote.commands.backing_up import restore
from relup_remote.commands.cleaning import cleanup
from relup_remote.commands.history import logs_clear
from relup_remote.commands.locking import lock, unlock
from relup_remote.core.protocol import Failure
from relup_remote.rollout.ledger import FORMAT, Ledger
from relup_remote.rollout.rows import Row, of_result
from relup_remote.rollout.run import Job, Runner
from relup_remote.summary.layout import folded
from relup_remote.summary.removals import removals
from relup_remote.summary.tables import locks_table, status_table
from relup_remote.summary.text import within
from tests.unit.fake_host import Answer, Fleet, result
from tests.unit.rollout.plans import plan

LOCK = {"run": "run-a", "operator": "alice@desk", "since": 1_700_000_000_000, "why": "moving disks"}
TREE = {"path": "/emqx/relup/5.10.4", "bytes": 129_000_000}
TARBALL = {"path": "/emqx/data/relup_remote/staging/emqx-5.10.5.tar.gz", "bytes": 71_000_000}

IDLE = result("ok", cluster_lock=LOCK, state="idle")
DOWN = result("failed", cluster_lock=LOCK, state="stopped")
"""What `status` says of a host whose node is down."""
UNREACHABLE = Failure("host_unreachable")
BROKEN = Failure("connection_lost")


class Site:
    """Three hosts, and commands to them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.fleet = Fleet({})
        path = folder / "hosts.yml"
        path.write_text("hosts: {n1: {}, n2: {}, n3: {}}")
        self.inventory = str(path)
        self._capsys = capsys

    def answer(self, command: str, *answers: Answer) -> None:
        """What the three hosts answer to a command."""
        self.fleet.answers.update({(f"n{n}", command): answer for n, answer in enumerate(answers, 1)})

    def run(self, task: Any, **options: Any) -> tuple[int, dict[str, Any]]:
        """The exit status of a command and its document."""
        self.fleet.asked.clear()
        status = 0
        try:
            task.body(Context(), inventory=self.inventory, json=True, quiet=True, **options)
        except Exit as ended:
            status = ended.code
        return status, json.loads(self._capsys.readouterr().out)

    def asked(self, command: str, **options: Any) -> list[str]:
        """The hosts that were asked for something with these options."""
        return sorted(
            host
            for host, request, _ in self.fleet.asked
            if request["command"] == command and options.items() <= request["options"].items()
        )


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path, capsys)
    monkeypatch.setattr(invocation, "_connect", made.fleet.connect)
    return made


def outcomes(document: dict[str, Any]) -> list[str]:
    return [row["outcome"] for row in document["hosts"]]


# ------------------------------------------------------------------------------------------------- lock and unlock


def test_all_hosts_are_locked(site: Site) -> None:
    site.answer("lock", *[result("locked", cluster_lock=LOCK)] * 3)
    status, document = site.run(lock, why="moving disks")
    assert (status, outcomes(document)) == (0, ["locked"] * 3)
    assert site.asked("lock", why="moving disks", by_hand=True, lock_force=False) == ["n1", "n2", "n3"]
    assert site.asked("unlock") == []


@pytest.mark.parametrize(
    ("answer", "status", "outcome", "asked"),
    [
        (result("refused", cluster_lock=LOCK), 3, "refused", ["n1"]),
        (UNREACHABLE, 1, "failed", ["n1", "n2"]),
        (BROKEN, 1, "failed", ["n1", "n2"]),
    ],
)
def test_where_not_all_can_be_locked_none_is(
    site: Site, answer: Answer, status: int, outcome: str, asked: list[str]
) -> None:
    """One whose connection broke may have been locked: it is asked to unlock as well."""
    site.answer("lock", result("locked", cluster_lock=LOCK), answer, result("unchanged", cluster_lock=LOCK))
    site.answer("unlock", result("unlocked", cluster_lock=None), answer)
    ended, document = site.run(lock)
    assert (ended, outcomes(document)) == (status, ["unchanged", outcome, "unchanged"])
    assert site.asked("unlock", unlock_by="run", lock_force=False) == asked
    first, _, third = document["hosts"]
    assert first["facts"] == {"cluster_lock": None}
    assert first["warnings"] == [{"message": "Not locked, because other hosts could not be locked: n2."}]
    # Its lock was there before.
    assert (third["facts"], third["warnings"]) == ({"cluster_lock": LOCK}, [])


def test_a_lock_that_can_not_be_given_back_is_a_failure(site: Site) -> None:
    site.answer("lock", result("locked", cluster_lock=LOCK), result("refused"), result("locked", cluster_lock=LOCK))
    site.answer("unlock", BROKEN, BROKEN, result("unlocked", cluster_lock=None))
    status, document = site.run(lock)
    assert (status, outcomes(document)) == (1, ["failed", "refused", "unchanged"])
    assert document["hosts"][0]["error"]["err_type"] == "connection_lost"


@pytest.mark.parametrize(
    ("presses", "outcome", "asked"),
    [
        ({"unlock": 1}, "unchanged", ["n1", "n2", "n3"]),
        ({"lock": 1}, "unchanged", ["n1", "n2", "n3"]),
        ({"lock": 1, "unlock": 1}, "locked", []),
        ({"lock": 2}, "locked", []),
    ],
    ids=["while it is given back", "while it is taken", "in both", "twice"],
)
def test_the_first_interruption_keeps_no_lock_from_being_given_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, presses: dict[str, int], outcome: str, asked: list[str]
) -> None:
    """The second one leaves at once, in whichever part of the command it comes."""
    site.answer("lock", result("locked", cluster_lock=LOCK), BROKEN, result("locked", cluster_lock=LOCK))
    site.answer("unlock", *[result("unlocked", cluster_lock=None)] * 3)
    at_once = Runner.at_once

    def pressing(self: Runner, jobs: Sequence[Job], *rest: Any, **more: Any) -> list[Row]:
        command = jobs[0].request["command"]
        # The first host to be locked is asked; what the others say comes before the signal.
        rows = at_once(self, jobs, *rest, **more) if command == "lock" else []
        with suppress(KeyboardInterrupt):
            for _ in range(presses.get(command, 0)):
                signal.raise_signal(signal.SIGINT)
        return rows or at_once(self, jobs, *rest, **more)

    monkeypatch.setattr(Runner, "at_once", pressing)
    status, document = site.run(lock)
    assert (status, outcomes(document)) == (1, [outcome, "failed", outcome])
    assert site.asked("unlock", unlock_by="run") == asked
    assert document["ending"]["err_type"] == "interrupted_by_operator"


def test_an_interruption_between_locking_and_giving_back_leaves_no_lock(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answer("lock", result("locked", cluster_lock=LOCK), BROKEN, result("locked", cluster_lock=LOCK))
    site.answer("unlock", *[result("unlocked", cluster_lock=None)] * 3)
    give_back = locking._given_back

    def pressing(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return give_back(*given)

    monkeypatch.setattr(locking, "_given_back", pressing)
    status, document = site.run(lock)
    assert site.asked("unlock", unlock_by="run") == ["n1", "n2", "n3"]
    assert (status, outcomes(document)) == (1, ["unchanged", "failed", "unchanged"])
    assert document["ending"]["err_type"] == "interrupted_by_operator"


def test_a_host_whose_lock_could_not_be_given_back_is_named(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.answer("lock", result("locked", cluster_lock=LOCK), BROKEN, UNREACHABLE)
    site.answer("unlock", BROKEN, UNREACHABLE, UNREACHABLE)
    with pytest.raises(Exit):
        lock.body(Context(), inventory=site.inventory, quiet=True)
    out = " ".join(capsys.readouterr().out.split())
    # Nothing was sent to n3.
    assert "May still be locked: n1, n2. `inv unlock --host n1,n2` removes your lock there." in out
    assert "Run the same command again" not in out, "another `inv lock` is refused by this one"


@pytest.mark.parametrize("force", [False, True])
def test_locks_are_taken_off_by_operator_or_by_force(site: Site, force: bool) -> None:
    site.answer("status", IDLE, DOWN, IDLE)
    site.answer("unlock", result("unlocked"), result("unchanged"), result("refused"))
    status, document = site.run(unlock, force=force)
    assert (status, outcomes(document)) == (3, ["unlocked", "unchanged", "refused"])
    assert site.asked("unlock", unlock_by="operator", lock_force=force) == ["n1", "n2", "n3"]


@pytest.mark.parametrize(("run", "force", "unlocked"), [("run-a", False, 0), ("run-a", True, 3), ("run-b", False, 3)])
def test_the_lock_of_a_run_that_is_under_way_is_only_forced_off(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, force: bool, unlocked: int
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    site.answer("status", *[result("ok", cluster_lock={**LOCK, "run": run}, state="idle")] * 3)
    site.answer("unlock", *[result("unlocked")] * 3)
    with Ledger.create({"format": FORMAT, "run": "run-a", "command": "upgrade", "hosts": []}):
        status, document = site.run(unlock, force=force)
    assert len(site.asked("unlock")) == unlocked
    assert status == (0 if unlocked else 2)
    assert unlocked or document["error"]["err_type"] == "run_in_progress"


@pytest.mark.parametrize(("force", "unlocked"), [(False, 0), (True, 3)])
def test_the_lock_of_a_run_that_is_under_way_elsewhere_is_only_forced_off(
    site: Site, force: bool, unlocked: int
) -> None:
    """Its controller may be anywhere; that a host is at work can be seen from everywhere."""
    idle, working = (result("ok", cluster_lock=LOCK, state=state) for state in ("idle", "in-progress"))
    site.answer("status", idle, working, idle)
    site.answer("unlock", *[result("unlocked")] * 3)
    status, document = site.run(unlock, force=force)
    assert len(site.asked("unlock")) == unlocked
    assert status == (0 if unlocked else 2)
    if not unlocked:
        error = document["error"]
        assert error["message"].endswith("by alice@desk, run run-a; a hop or another change is at work on n2")
        assert "unlock again if it was locked by `inv lock`; if by a run, resume it on the machine" in error["hint"]
        assert "where it was begun. `inv unlock --force` removes the" in error["hint"]
        assert "another run could change a node on which something is still at work" in error["hint"]


def test_who_unlocks_by_hand_while_a_host_is_at_work_unlocks_again(site: Site) -> None:
    site.answer("status", *[result("ok", cluster_lock={**LOCK, "by_hand": True}, state="in-progress")] * 3)
    _status, document = site.run(unlock)
    assert "by alice@desk, with `inv lock`; a hop" in document["error"]["message"]
    assert "Then unlock again." in document["error"]["hint"]


def test_who_unlocks_while_a_hop_outlives_its_controller_is_told_how_to_go_on(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Ledger.create({**plan(["n1"]).to_json(), "run": "run-a", "command": "rollback"}).close()
    site.answer("status", *[result("ok", cluster_lock=LOCK, state="in-progress")] * 3)
    status, document = site.run(unlock)
    assert (status, site.asked("unlock")) == (2, [])
    error = document["error"]
    assert (
        "; the command that worked on it, on this machine, has ended; a hop or another change is at work on n1, n2"
        in error["message"]
    )
    assert "Then `inv rollback --resume run-a` goes on. `inv unlock --force` removes the lock" in error["hint"]


@pytest.mark.parametrize(
    ("looks", "known"),
    [
        ((IDLE, UNREACHABLE, IDLE), "n1,n3"),
        ((DOWN, BROKEN, result("failed", cluster_lock=LOCK)), "n1"),
        ((BROKEN,) * 3, ""),
    ],
)
def test_without_force_no_host_is_unlocked_unless_all_say_that_nothing_is_at_work(
    site: Site, capsys: pytest.CaptureFixture[str], looks: tuple[Answer, ...], known: str
) -> None:
    site.answer("status", *looks)
    site.answer("unlock", *[result("unlocked", cluster_lock=None)] * 3)
    with pytest.raises(Exit) as ended:
        unlock.body(Context(), inventory=site.inventory, quiet=True)
    out = " ".join(capsys.readouterr().out.split())
    assert (ended.value.code, site.asked("unlock")) == (1, [])
    assert "No host was unlocked: it is not known whether something is at work on n" in out
    assert (f"`inv unlock --host {known}` unlocks the other hosts." in out) == bool(known)
    assert "`inv unlock --force` removes the lock at once." in out
    # The operator can unlock, whatever is dead.
    for chosen, asked in (({"force": True}, "n1,n2,n3"), ({"host": [known]}, known)):
        if asked:
            site.run(unlock, **chosen)
            assert site.asked("unlock") == asked.split(",")


@pytest.mark.parametrize("err_type", ["cluster_locked", "upgrade_in_progress"])
def test_who_is_kept_away_by_a_run_that_is_at_work_on_this_machine_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, err_type: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    error = Failure(err_type, stage="logs-clear", detail={"run": "run-a"}).to_json()
    site.answer("logs", *[{**result("refused"), "error": error, "problems": [error]}] * 3)
    with Ledger.create({"format": FORMAT, "run": "run-a", "command": "rollback", "hosts": []}):
        _status, document = site.run(logs_clear, yes=True)
    for told in (document["hosts"][0]["error"], *document["hosts"][2]["problems"]):
        assert told["hint"].startswith("Run run-a is still running on this machine. Wait until it ends")
    _status, document = site.run(logs_clear, yes=True)
    assert document["hosts"][0]["error"] == error, "it has ended"


def test_nobody_is_asked_whether_to_delete_a_history_of_nothing(site: Site) -> None:
    nothing = {"journal": 0, "plugin": 0}
    site.answer("logs", *[result("ok", clearable=nothing, history=[])] * 3)
    status, document = site.run(logs_clear)
    assert (status, outcomes(document), site.asked("logs-clear")) == (0, ["unchanged"] * 3, [])
    site.answer("logs", *[result("ok", clearable={**nothing, "plugin": None}, history=[])] * 3)
    site.answer("logs-clear", *[result("cleaned")] * 3)
    assert site.run(logs_clear, yes=True)[0] == 0
    assert site.asked("logs-clear") == ["n1", "n2", "n3"]


@pytest.mark.parametrize("command", [unlock, cleanup, logs_clear, restore], ids=lambda task: task.name)
def test_nothing_is_changed_after_a_look_that_was_interrupted(
    site: Site, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    as_done, looks = Runner.as_done, [0]

    def interrupted(self: Runner, *given: Any, **more: Any) -> Iterator[Row]:
        looks[0] += 1
        rows = as_done(self, *given, **more)
        if looks[0] == 1:
            yield next(rows)
            raise KeyboardInterrupt
        yield from rows

    monkeypatch.setattr(Runner, "as_done", interrupted)
    answer = result("ready", cluster_lock=LOCK, state="idle", **found(TARBALL)["facts"])
    for name in ("status", "cleanup", "logs", "restore"):
        site.answer(name, *[answer] * 3)
    status, document = site.run(command, **({} if command is unlock else {"yes": True}))
    assert (status, looks, sorted(outcomes(document))[-1]) == (1, [1], "ready")
    assert not site.asked("unlock")


# ------------------------------------------------------------------------------------------------- cleanup


def found(*things: dict[str, Any], trees: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """What a host tells that would be removed."""
    size = sum(thing["bytes"] for thing in things)
    facts = {"would_remove": list(things), "bytes": size, "trees": list(trees)}
    return result("ready" if things else "unchanged", **facts)


def scripted(site: Site, told: list[Answer], cleaned: list[Answer]) -> None:
    """Hosts that answer to a cleanup first what they would remove, then how it went."""
    answers = {host: [told[n], cleaned[n]] for n, host in enumerate(("n1", "n2", "n3"))}

    class Turns(dict[tuple[str, str], Answer]):
        def __getitem__(self, key: tuple[str, str]) -> Answer:
            return answers[key[0]].pop(0)

    site.fleet.answers = Turns()


def test_only_hosts_that_have_something_are_cleaned(site: Site) -> None:
    scripted(site, [found(TARBALL), found(), found(TARBALL)], [result("cleaned", (("cleanup", "ok"),))] * 3)
    status, document = site.run(cleanup, yes=True, anyway=True)
    assert (status, outcomes(document)) == (0, ["cleaned", "unchanged", "cleaned"])
    assert site.asked("cleanup", dry_run=True, clean_anyway=True, trees=False) == ["n1", "n2", "n3"]
    assert site.asked("cleanup", dry_run=False, clean_anyway=True, trees=False) == ["n1", "n3"]


@pytest.mark.parametrize(
    ("told", "options", "status"),
    [
        ([found(), found(trees=(TREE,)), found()], {}, 0),
        ([found(TARBALL), found(), found()], {"check": True}, 0),
        ([found(TARBALL), result("refused", would_remove=[], bytes=0, trees=[]), found()], {"yes": True}, 3),
        ([found(TARBALL), UNREACHABLE, found()], {"yes": True}, 1),
        ([found(TARBALL), found(), found()], {}, 2),
    ],
    ids=["nothing there", "only looking", "a node behind", "a host that can't be asked", "nobody to ask"],
)
def test_nothing_is_removed_where(site: Site, told: list[Answer], options: dict[str, Any], status: int) -> None:
    scripted(site, told, [AssertionError()] * 3)
    assert site.run(cleanup, **options)[0] == status
    assert site.asked("cleanup", dry_run=False) == []


DEEP = {"path": f"/opt/emqx/{'releases-of-the-cluster/' * 4}emqx-5.10.5.tar.gz", "bytes": 71_000_000}


@pytest.mark.parametrize(("columns", "things"), [(80, (TARBALL,)), (None, (TARBALL, DEEP)), (200, (TARBALL, DEEP))])
def test_where_paths_have_room_each_is_beside_its_size(columns: int | None, things: tuple[dict[str, Any], ...]) -> None:
    with within(columns):
        lines = folded(removals([of_result("n1", found(*things), 0.1)]), columns).splitlines()
    assert lines[1:-1] == [f"  71 MB     {thing['path']}" for thing in things]


@pytest.mark.parametrize("columns", [40, 80])
def test_a_path_that_is_wider_than_the_terminal_stands_alone(columns: int) -> None:
    row = of_result("n1", found(TARBALL, DEEP, trees=(TREE,)), 0.1)
    with within(columns):
        lines = folded(removals([row]), columns).splitlines()
    assert [line for line in lines if "/" in line] == [f"    {thing['path']}" for thing in (TARBALL, DEEP, TREE)]
    sizes = " ".join(line.strip() for line in lines if "/" not in line)
    assert sizes == "n1: 142 MB 71 MB 71 MB 129 MB, not needed; --trees removes it too in all 142 MB on 1 host"


def test_who_holds_the_lock_is_in_the_tables() -> None:
    rows: list[dict[str, Any]] = [
        {"host": "n1", "node": "emqx1@h", "outcome": "locked", "facts": {"cluster_lock": LOCK}},
        {"host": "n2", "node": None, "outcome": "unchanged", "facts": {"cluster_lock": {**LOCK, "operator": ""}}},
        {"host": "n3", "node": None, "outcome": "refused", "facts": {"cluster_lock": None}},
    ]
    header, _, *lines = [re.split(r"\s{2,}", line.rstrip()) for line in locks_table(rows).splitlines()]
    assert header == ["host", "node", "outcome", "locked by", "since (UTC)", "run", "why"]
    assert lines == [
        ["n1", "emqx1@h", "locked", "alice@desk", "2023-11-14 22:13:20", "run-a", "moving disks"],
        ["n2", "unchanged", "2023-11-14 22:13:20", "run-a", "moving disks"],
        ["n3", "refused"],
    ]
    told = [{**of_result(row["host"], result("ok"), 1.0), **row} for row in rows]
    assert "alice@desk" in status_table(told)
    assert "alice@desk" not in status_table(told[2:])


def test_removals_are_listed_with_sizes_and_summed() -> None:
    rows = [
        {"host": "n1", "outcome": "ready", "facts": found(TARBALL, TREE, trees=(TREE,))["facts"]},
        {"host": "n2", "outcome": "ready", "facts": found(TARBALL, trees=(TREE,))["facts"]},
        {"host": "n3", "outcome": "failed", "facts": {}},
        {"host": "n4", "outcome": "unchanged", "facts": found(trees=(TREE,))["facts"]},
    ]
    assert removals(rows).splitlines() == [
        "n1: 200 MB",
        f"  71 MB     {TARBALL['path']}",
        f"  129 MB    {TREE['path']}",
        "n2: 71 MB",
        f"  71 MB     {TARBALL['path']}",
        f"  129 MB    {TREE['path']}, not needed; --trees removes it too",
        "n4: nothing to remove",
        f"  129 MB    {TREE['path']}, not needed; --trees removes it too",
        "in all 271 MB on 2 hosts",
    ]
    # Who did not say what there is, has nothing said of him.
    assert removals(rows[2:3]) == ""


def test_there_is_nothing_to_remove_only_where_a_host_says_so() -> None:
    empty = {"host": "n1", "outcome": "unchanged", "facts": found()["facts"]}
    refused = {"host": "n2", "outcome": "refused", "facts": found(trees=(TREE,))["facts"]}
    lost = {"host": "n3", "outcome": "failed", "facts": {}}
    assert removals([empty]) == "nothing to remove"
    assert removals([empty, refused, lost]) == removals([empty, lost]) == "nothing to remove on n1"
    assert removals([refused]) == removals([refused, lost]) == ""
