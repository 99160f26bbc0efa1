"""`upgrade`, `rollback` and `runs` as an operator meets them, on hosts that answer by script."""

import io
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from relup_remote import streams
from relup_remote.commands import by_name, invocation
from relup_remote.commands.wishes import Wishes
from relup_remote.core.protocol import Failure
from relup_remote.deadline import Deadline
from relup_remote.inventory import HostSettings
from relup_remote.report import render
from relup_remote.report.reading import report_of
from relup_remote.rollout import ledger, run
from relup_remote.rollout.ledger import Ledger
from relup_remote.rollout.plan import Gates, Plan
from relup_remote.rollout.run import Session
from relup_remote.rollout.stop import Stop
from relup_remote.secrets import Shell
from relup_remote.summary import progress
from relup_remote.summary.text import duration
from relup_remote.usage import UsageError
from tests.unit.fake_host import Answer, result
from tests.unit.rollout.plans import Script, failed, refused

ROLES = {"n1": "core", "n2": "core", "n3": "replicant"}
NODES = [f"emqx@{host}" for host in ROLES]
CLUSTER = {"running": NODES, "stopped": []}
HOP = '#{from_version => "1.0", target_version => "1.1"}.'


class Terminal(io.StringIO):
    """A terminal at which someone has typed something."""

    def isatty(self) -> bool:
        return True


class Ended:
    """A command that is over."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def outcomes(self) -> dict[str, str]:
        return {row["host"]: row["outcome"] for row in self.document["hosts"]}

    @property
    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.document["rollout"]
        return found


def answers(host: str) -> dict[tuple[str, str], Answer]:
    """What a host of the cluster says when all is well."""
    facts: dict[str, Any] = {"cluster": CLUSTER, "nodes": NODES, "connections": 100, "role": ROLES[host]}
    backup = {"name": "b-7", "at": 1_000, "bytes": 5, "age": 60}
    says = {
        "plan": result("ready", bytes_to_send=71_000_000, backup=backup, **facts),
        "status": result("ok", backup=backup, backup_of_base=None if host == "n3" else backup, **facts),
        "lock": result("locked"),
        "prepare": result("prepared", (("stage", "ok"), ("extract", "ok"))),
        "upgrade": result("upgraded", (("stage", "unchanged"), ("apply", "ok"), ("cleanup", "ok"))),
        "rollback": result("rolled back"),
        "verify": result("verified", **facts),
        "cleanup": result("cleaned", (("cleanup", "ok"),)),
        "unlock": result("unlocked"),
    }
    return {(host, command): {**said, "node": f"emqx@{host}"} for command, said in says.items()}


class Desk:
    """Where an operator sits: an inventory, a tarball, a catalogue, a ledger, and hosts that answer by script."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(f"hosts: {{{', '.join(f'{host}: {{address: {host}.test}}' for host in ROLES)}}}")
        self.tarball = folder / "emqx-1.1.tar.gz"
        self.tarball.write_bytes(b"a release")
        self.catalogue = folder / "catalogue"
        self.catalogue.mkdir()
        (self.catalogue / "a.relup").write_text(HOP)
        self.fleet = Script({key: said for host in ROLES for key, said in answers(host).items()})

    def says(self, **said: Answer | list[Answer]) -> None:
        """Have hosts answer otherwise: ``n1_upgrade=...``."""
        for name, answer in said.items():
            host, _, command = name.partition("_")
            given = answer if isinstance(answer, list) else [answer]
            self.fleet.script[host, command] = [
                {**said, "node": f"emqx@{host}"} if isinstance(said, dict) else said for said in given
            ]

    def connects(self, connect: Callable[[HostSettings], Session]) -> None:
        """Have hosts connected to in another way."""
        self._monkeypatch.setattr(invocation, "_connect", connect)

    def relup(self, command: str, **given: Any) -> Ended:
        """Run a command; an upgrade gets tarball and catalogue, and gates that need no checks from outside."""
        self._capsys.readouterr()
        self.fleet.asked.clear()
        options = {"inventory": str(self.inventory), "json": True, **given}
        if command == "upgrade":
            options = {"tarball": str(self.tarball), "catalogue": str(self.catalogue), **options}
        if command in ("upgrade", "rollback"):
            options = {"gates": "verify,cluster,connections", "gate_timeout": "0", **options}
        try:
            by_name()[command](Context(), **options)
            status = 0
        except Exit as ended:
            status = ended.code
        return Ended(status, *self._capsys.readouterr())

    def is_upgraded(self, *hosts: str) -> None:
        """Have hosts say that they are on the target."""
        for host in hosts:
            there = refused("already_upgraded_to_target_vsn", cluster=CLUSTER, nodes=NODES, connections=100)
            self.fleet.script[host, "plan"] = [{**there, "node": f"emqx@{host}"}]

    @property
    def commands(self) -> list[str]:
        """What hosts were asked, in order, once each."""
        return list(dict.fromkeys(command for _host, command in self.fleet.commands))

    def hosts(self, command: str) -> list[str]:
        """The hosts that were asked that, in order."""
        return [host for host, asked in self.fleet.commands if asked == command]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    made = Desk(tmp_path, capsys, monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made.connects(made.fleet.connect)
    monkeypatch.setattr("relup_remote.rollout.tarball._release", lambda _path, _sha256: {"version": "1.1"})
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return made


# The whole way


def test_all_that_follows_is_meant_for_the_machine_that_was_looked_at(desk: Desk) -> None:
    assert desk.relup("upgrade", yes=True).status == 0
    first: dict[str, Any] = dict.fromkeys(ROLES)
    for host, request, _ in desk.fleet.asked:
        assert request["machine"] == first[host]
        first[host] = {"id": f"machine of {host}", "boot": "first"}
    [record] = ledger.runs()
    assert {each["host"]: each["machine"] for each in record.request["hosts"]} == {
        host: f"machine of {host}" for host in ROLES
    }


def test_a_run_that_can_not_be_printed_is_done_and_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it was not printed is told by the command line at the end, see its tests."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        stdout = streams.lenient(io.TextIOWrapper(io.BytesIO()), full)
        monkeypatch.setattr("sys.stdout", stdout)
        assert desk.relup("upgrade", yes=True).status == 0
        assert streams.unprinted() == "No space left on device"
    [record] = ledger.runs()
    assert [event["outcome"] for event in record.events if event["event"] == "end"] == ["done"]


def test_an_upgrade_goes_over_all_hosts_and_is_in_the_ledger(desk: Desk) -> None:
    ended = desk.relup("upgrade", yes=True)
    assert ended.status == 0, ended.err
    assert ended.document["ok"]
    assert ended.outcomes == {"n3": "upgraded", "n1": "upgraded", "n2": "upgraded"}
    assert ended.rollout["outcome"] == "done"
    assert desk.hosts("upgrade") == ["n3", "n1", "n2"]
    assert desk.commands == ["plan", "lock", "prepare", "upgrade", "verify", "unlock"]
    [record] = ledger.runs()
    assert record.run == ended.document["run"]
    kept = Plan.from_json(record.request)
    assert (kept.target, kept.waves, kept.nodes) == ("1.1", (("n3",), ("n1", "n2")), tuple(NODES))
    assert [(each.host, each.address, each.role, each.connections, each.bytes) for each in kept.hosts] == [
        (host, f"{host}.test", ROLES[host], 100, 71_000_000) for host in ("n3", "n1", "n2")
    ]
    assert kept.tarball is not None
    assert (kept.tarball["path"], kept.hops[0]["file"]) == (str(desk.tarball), "a.relup")
    assert [event["phase"] for event in record.events if event["event"] == "phase"] == [
        "survey",
        "lock",
        "prepare",
        "waves",
    ]
    assert record.events[0]["event"] == "run"
    assert record.end is not None
    assert record.end["outcome"] == "done"


def test_a_rollback_does_the_same_by_status_and_needs_no_backup(desk: Desk) -> None:
    ended = desk.relup("rollback", yes=True)
    assert ended.status == 0, ended.err
    assert desk.commands == ["status", "lock", "rollback", "verify", "unlock"]
    assert desk.hosts("rollback") == ["n3", "n1", "n2"]
    [record] = ledger.runs()
    assert (record.request["command"], record.request["target"], record.request["tarball"]) == ("rollback", None, None)


def test_a_document_names_no_run_that_no_command_knows(desk: Desk) -> None:
    paths = {"tarball": str(desk.tarball), "catalogue": str(desk.catalogue)}
    desk.says(
        **{f"{host}_stage": result("staged") for host in ROLES}, **{f"{host}_logs": result("ok") for host in ROLES}
    )
    for command, given in {"prepare": paths, "plan": paths, "stage": {"tarball": paths["tarball"]}, "logs": {}}.items():
        assert desk.relup(command, **given).document["run"] is None
    checked = desk.relup("upgrade", check=True).document
    assert (checked["run"], checked["rollout"]["plan"]["run"]) == (None, None)
    assert desk.relup("runs", inventory="").document["run"] is None
    # One that was refused has no ledger either.
    desk.says(n1_plan=refused("disk_full"))
    assert desk.relup("upgrade", yes=True).document["run"] is None
    desk.says(n1_plan=answers("n1")["n1", "plan"], **{f"{host}_backup": result("backed up") for host in ROLES})
    assert desk.relup("upgrade", yes=True).document["run"] == ledger.runs()[-1].run
    # A backup is named by it.
    assert desk.relup("backup").document["run"] is not None


def test_below_the_table_is_what_to_do_next(desk: Desk) -> None:
    done = desk.relup("upgrade", yes=True, json=False)
    run = ledger.runs()[-1].run
    told = done.out.splitlines()[-1]
    assert re.fullmatch(rf"run {run}: done in \S+ m?s, 2 waves, 6 gates open. `inv report {run}` shows it.", told)
    desk.says(n1_upgrade=failed("apply_failed"))
    stopped = desk.relup("upgrade", yes=True, json=False)
    assert stopped.status == 1
    run = ledger.runs()[-1].run
    lines = stopped.out.splitlines()
    assert lines[-3] == f"run {run}: stopped, too_many_failures: n1 failed; --max-failures allows none"
    assert lines[-1].strip() == f"inv upgrade --resume {run}"


def test_what_is_left_on_hosts_can_be_removed_as_is_said(desk: Desk) -> None:
    """A canary that has failed may run the target all the same: without --anyway the others refuse."""
    some = {**result("failed", (("stage", "ok"), ("extract", "failed"))), "error": Failure("disk_full").to_json()}
    desk.says(n3_upgrade=failed("verify_failed"), n2_prepare=some)
    said = " ".join(desk.relup("upgrade", yes=True, json=False, max_failures="1").out.split())
    assert "Prepared, not upgraded: n1. Prepared in part: n2. Resume the run, or start a new one." in said
    assert "`inv cleanup --anyway --host n1,n2` removes the tarball and the tree there." in said


@pytest.mark.parametrize(("outcome", "status"), [("failed", 1), ("refused", 1)])
def test_a_preparation_says_what_it_has_left(desk: Desk, outcome: str, status: int) -> None:
    """Where the tarball came before the refusal, something was changed."""
    some = {**refused("would_not_boot"), "steps": result("failed", (("stage", "ok"),))["steps"]}
    desk.says(n1_prepare={**some, "outcome": outcome}, n2_prepare=refused("disk_full"))
    options = {"tarball": str(desk.tarball), "catalogue": str(desk.catalogue)}
    ended = desk.relup("prepare", json=False, host=["n1,n2"], **options)
    assert (ended.status, " ".join(ended.out.split()).partition("No node")[2]) == (
        status,
        " was changed. Prepared in part: n1. `inv cleanup --anyway --host n1` removes the tarball and the tree there.",
    )
    assert desk.relup("prepare", json=False, host=["n2"], **options).status == 3


def test_events_are_lines_and_the_document_is_the_last(desk: Desk) -> None:
    ended = desk.relup("upgrade", yes=True, events=True)
    *events, document = map(json.loads, ended.out.splitlines())
    assert document["rollout"]["outcome"] == "done"
    assert {"run", "phase", "host", "wave", "gate", "connections", "end"} <= {event["event"] for event in events}


# Before it begins


def test_the_plan_is_shown_before_it_is_asked(desk: Desk) -> None:
    ended = desk.relup("upgrade", json=False, no_backup=True, force=True, on_failure="restart", max_failures="50%")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines()[-1] == "upgrade: there is no terminal to ask on (Give --yes if you are sure.)"
    for words in (
        "upgrade to 1.1: 3 hosts",
        "emqx-1.1.tar.gz",
        "71 MB",
        "1.0 -> 1.1 (a.relup)",
        "is restarted, into the release",
        "(--no-backup)",
        "(--force)",
        "waves: n3 | n1, n2; one by one within a wave",
        "after each wave: verify, each node sees all 3 nodes of the cluster, at least 90 % of the connections are left",
        "or if more than 1 host fails",
    ):
        assert words in ended.err
    assert re.search(r"1 +n3 +emqx@n3 +replicant +1\.0 +100 ", ended.err)
    assert desk.commands == ["plan"]
    assert ledger.runs() == []


def test_a_rollback_says_in_plain_words_what_it_is_before_it_asks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    ended = desk.relup("rollback", json=False, purge=True)
    assert (ended.status, ended.out) == (3, "")
    for words in (
        "rollback: 3 hosts",
        "Each node will be restarted into its base release",
        "All connections of a node will drop",
        "callbacks of the hop",
        "can be restored: `inv restore --host n1,n2 --backup b-7`",
        "can't be restored on n3",
        "The deployed tree is removed too",
        "Roll back these hosts? [y/N]",
        "rollback: not confirmed (Nothing was changed.)",
    ):
        assert words in ended.err
    assert desk.commands == ["status"]
    assert ledger.runs() == []


@pytest.mark.parametrize(
    "point",
    [
        "relup_remote.commands.rolling.look",
        "relup_remote.commands.rolling.intention",
        "relup_remote.commands.rolling.confirm",
        "sys.stdin.readline",
        "relup_remote.commands.rolling.Ledger.create",
    ],
)
@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_ctrl_c_before_the_run_is_interrupted_and_changes_nothing(
    desk: Desk, command: str, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_given: Any, **_more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    monkeypatch.setattr(point, interrupt)
    ended = desk.relup(command)
    assert (ended.status, ended.document["error"]["err_type"]) == (1, "interrupted")
    assert ended.err.endswith(f"{command}: interrupted (This command changed no host.)\n")
    assert ledger.runs() == []
    assert set(desk.commands) <= {"plan", "status"}


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_yes_to_the_question_goes_on(desk: Desk, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    assert desk.relup(command).rollout["outcome"] == "done"


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_without_a_terminal_nothing_is_done(desk: Desk, command: str) -> None:
    ended = desk.relup(command)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "no_terminal")
    assert len(desk.commands) == 1
    assert ledger.runs() == []


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_a_check_shows_the_plan_and_ends(desk: Desk, command: str) -> None:
    ended = desk.relup(command, check=True)
    assert ended.status == 0
    plan = Plan.from_json(ended.rollout["plan"])
    assert plan.waves == (("n3",), ("n1", "n2"))
    assert len(desk.commands) == 1
    assert ledger.runs() == []
    assert "waves: n3 | n1, n2" in desk.relup(command, check=True, json=False).out


def test_a_plan_says_which_hosts_are_prepared(desk: Desk) -> None:
    def shown(**given: Any) -> str:
        return " ".join(desk.relup("upgrade", check=True, json=False, **given).out.split())

    assert "before the first wave all hosts will be prepared, at most 16 at once; that changes no node" in shown()
    ready = result("ready", cluster=CLUSTER, nodes=NODES, connections=100, prepared=True)
    desk.says(**{f"{host}_plan": ready for host in ROLES})
    assert "all hosts are prepared; before the first wave that will be checked again" in shown()
    desk.says(n2_plan=Failure("host_unreachable", stage="connect"))
    said = shown(allow_missing=True)
    assert "all hosts are prepared" not in said
    assert "n1, n3 are prepared; before the first wave that will be checked again" in said
    assert "it is not known whether n2 is prepared" in said
    desk.is_upgraded("n3")
    assert "n1 is prepared; before the first wave" in shown(allow_missing=True)
    desk.says(n1_plan=answers("n1")["n1", "plan"])
    assert "before the first wave n1 will be prepared, at most 16 at once" in shown(allow_missing=True)


def test_a_check_of_a_cluster_of_which_a_part_is_done_is_no_refusal(desk: Desk) -> None:
    desk.says(n3_plan=refused("already_upgraded_to_target_vsn", cluster=CLUSTER))
    ended = desk.relup("upgrade", check=True)
    assert ended.status == 0
    assert ended.rollout["plan"]["waves"] == [["n1"], ["n2"]]
    assert [each["done"] for each in ended.rollout["plan"]["hosts"]] == [False, False, True]


def test_where_nothing_is_left_to_do_nobody_is_asked(desk: Desk) -> None:
    desk.says(**{f"{host}_plan": refused("already_upgraded_to_target_vsn") for host in ROLES})
    ended = desk.relup("upgrade")
    assert (ended.status, set(ended.outcomes.values())) == (0, {"nothing to do"})
    assert (ended.document["ok"], ended.rollout["outcome"]) == (True, "nothing to do")
    assert {row["facts"]["nothing_to_do"]["err_type"] for row in ended.document["hosts"]} == {
        "already_upgraded_to_target_vsn"
    }
    assert ledger.runs() == []
    assert desk.relup("upgrade", json=False).out.splitlines()[-1] == "nothing to do: every host is on 1.1 already"
    plan = desk.relup("plan", tarball=str(desk.tarball), catalogue=str(desk.catalogue))
    assert (plan.status, set(plan.outcomes.values())) == (0, {"nothing to do"})


def test_where_the_only_hosts_that_are_left_are_missing_a_part_is_done(desk: Desk) -> None:
    desk.is_upgraded("n1", "n2")
    desk.says(n3_plan=Failure("host_unreachable"))
    ended = desk.relup("upgrade", allow_missing=True)
    assert (ended.status, ended.rollout["outcome"], ended.rollout["err_type"]) == (1, "partly done", "hosts_left")
    assert ledger.runs() == []


# A cluster of which the inventory has a part


def lacking_n3(desk: Desk) -> None:
    desk.inventory.write_text("hosts: {n1: {address: n1.test}, n2: {address: n2.test}}")


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_nothing_begins_where_the_inventory_lacks_a_node_of_the_cluster(desk: Desk, command: str) -> None:
    lacking_n3(desk)
    ended = desk.relup(command, yes=True, max_failures="2")
    assert (ended.status, ended.rollout["outcome"], ended.rollout["err_type"]) == (3, "refused", "nodes_left_out")
    assert ended.rollout["reason"] == "The inventory does not have emqx@n3."
    assert desk.commands == [{"upgrade": "plan", "rollback": "status"}[command]]
    assert desk.relup(command, yes=True, allow_partial=True).rollout["outcome"] == "done"


def test_hosts_that_are_named_are_meant_and_the_end_says_what_is_still_on_the_old_release(desk: Desk) -> None:
    waits = result("upgraded", (("apply", "ok"), ("cleanup", "skipped")))
    waits["steps"][-1]["detail"] = {"waiting_for": ["emqx@n2 runs 1.0", "emqx@n3 runs 1.0"]}
    still = result("skipped", (("cleanup", "skipped"),))
    still["steps"][-1]["detail"] = waits["steps"][-1]["detail"]
    desk.says(n1_upgrade=waits, n1_cleanup=still)
    ended = desk.relup("upgrade", yes=True, host=["n1"])
    assert (ended.status, ended.rollout["outcome"]) == (0, "done")
    assert ended.rollout["detail"] == {"behind": ["emqx@n2 runs 1.0", "emqx@n3 runs 1.0"]}
    text = desk.relup("upgrade", yes=True, host=["n1"], json=False)
    assert "Other nodes of the cluster are not on the target: emqx@n2 runs 1.0, emqx@n3 runs 1.0." in text.out
    assert "nodes of the cluster that are not part of this run: emqx@n2, emqx@n3" in text.err


# A cluster that is not whole


@pytest.mark.parametrize(
    "answer", [Failure("host_unreachable"), failed("node_not_running"), refused("node_unreachable")]
)
def test_nothing_begins_where_a_host_is_missing(desk: Desk, answer: Answer) -> None:
    desk.says(n2_plan=answer)
    ended = desk.relup("upgrade", yes=True, max_failures="2")
    assert (ended.status, ended.document["ok"]) == (3, False)
    assert (ended.rollout["outcome"], ended.rollout["err_type"]) == ("refused", "cluster_not_whole")
    assert ended.rollout["reason"].startswith("n2: ")
    assert ended.outcomes["n1"] == ended.outcomes["n3"] == "skipped"
    assert desk.commands == ["plan"]
    assert ledger.runs() == []
    assert "what to do: " in desk.relup("upgrade", yes=True, json=False).out


@pytest.mark.parametrize("allow_missing", [False, True])
@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_where_no_host_can_be_reached_no_option_is_named_that_does_not_help(
    desk: Desk, command: str, allow_missing: bool
) -> None:
    look = {"upgrade": "plan", "rollback": "status"}[command]
    desk.says(**{f"{host}_{look}": Failure("host_unreachable", stage="connect") for host in ROLES})
    ended = desk.relup(command, yes=True, allow_missing=allow_missing)
    assert (ended.status, ended.rollout["outcome"], ended.rollout["err_type"]) == (3, "refused", "no_host_reached")
    assert ended.rollout["reason"].startswith(f"{', '.join(ROLES)}: ")
    assert ended.rollout["reason"].count("No SSH connection") == 1
    text = desk.relup(command, yes=True, allow_missing=allow_missing, json=False)
    assert "what to do: The hosts' errors say why." in text.out
    assert "--allow-missing" not in text.out
    assert ledger.runs() == []


def test_nor_where_a_node_of_the_cluster_is_down(desk: Desk) -> None:
    desk.says(n1_plan=result("ready", cluster={"running": NODES, "stopped": ["emqx@n9"]}))
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.rollout["reason"]) == (3, "the node emqx@n9 of the cluster is down")
    assert desk.relup("upgrade", yes=True, allow_missing=True).rollout["outcome"] == "done"


def test_nor_where_another_run_has_locked_the_cluster(desk: Desk) -> None:
    lock = {"run": "r9", "operator": "bob@desk", "since": 1, "why": "a rollback"}
    desk.says(n1_plan=result("ready", cluster=CLUSTER, cluster_lock=lock))
    ended = desk.relup("upgrade", yes=True, allow_missing=True)
    assert (ended.status, ended.rollout["err_type"]) == (3, "lock_not_taken")
    assert ended.rollout["reason"] == "bob@desk has locked the cluster (run r9): a rollback"
    desk.says(n1_plan=result("ready", cluster=CLUSTER, cluster_lock={**lock, "by_hand": True, "why": ""}))
    by_hand = desk.relup("upgrade", yes=True, allow_missing=True)
    assert by_hand.rollout["reason"] == "bob@desk has locked the cluster (with `inv lock`)"
    assert desk.commands == ["plan"]
    assert ledger.runs() == []


def test_what_keeps_a_host_from_being_locked_is_in_the_report(desk: Desk) -> None:
    by = Failure("upgrade_in_progress", "prepare of bob@desk works on this node.", stage="lock")
    desk.says(n1_lock={**result("refused"), "error": by.to_json(), "problems": [by.to_json()]})
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.rollout["err_type"]) == (3, "lock_not_taken")
    made = report_of(ledger.runs()[-1])
    assert {host.host: host.outcome for host in made.hosts} == ended.outcomes
    assert [(met.err_type, met.hosts) for met in made.troubles] == [("upgrade_in_progress", ("n1",))]
    assert "--resume" not in made.hint, "who prepares has nothing to resume"


def test_hosts_that_are_missing_may_be_left_out(desk: Desk) -> None:
    desk.says(n2_plan=Failure("host_unreachable"))
    ended = desk.relup("upgrade", yes=True, allow_missing=True)
    assert (ended.status, ended.rollout["outcome"]) == (1, "partly done")
    assert ended.outcomes == {"n3": "upgraded", "n1": "upgraded", "n2": "failed"}
    assert ended.rollout["detail"] == {"left": ["n2"]}
    assert ended.rollout["next"] == f"inv upgrade --resume {ended.document['run']}"
    text = desk.relup("upgrade", yes=True, allow_missing=True, json=False).out.splitlines()
    assert text[-3].endswith(": partly done, hosts_left: n2 is not done.")
    assert text[-1].strip().startswith("inv upgrade --resume ")


def test_a_rollback_goes_to_nodes_that_are_down_but_not_without_hosts(desk: Desk) -> None:
    desk.says(n2_status=[failed("node_not_running"), result("ok", nodes=NODES, connections=1)])
    assert desk.relup("rollback", yes=True).rollout["outcome"] == "done"
    assert desk.hosts("rollback") == ["n3", "n1", "n2"]
    desk.says(n2_status=Failure("host_unreachable"))
    ended = desk.relup("rollback", yes=True)
    assert (ended.status, ended.rollout["err_type"]) == (3, "cluster_not_whole")


@pytest.mark.parametrize(
    ("bad", "may_fail", "begins"), [(1, "", False), (1, "1", True), (2, "1", False), (2, "67%", True)]
)
def test_hosts_that_refuse_count_as_failed(desk: Desk, bad: int, may_fail: str, begins: bool) -> None:
    desk.says(**{f"n{number}_plan": refused("no_backup", cluster=CLUSTER) for number in range(1, bad + 1)})
    ended = desk.relup("upgrade", yes=True, max_failures=may_fail)
    if begins:
        assert (ended.status, ended.rollout["outcome"]) == (1, "partly done")
        assert ended.outcomes["n1"] == "refused"
        assert ended.outcomes["n3"] == "upgraded"
    else:
        assert (ended.status, ended.rollout["err_type"]) == (3, "hosts_not_ready")
        assert "--resume" not in json.dumps(ended.rollout)
        assert ledger.runs() == []


# Taking up again


def stopped(desk: Desk) -> str:
    """A run that was stopped because n1 failed; n1 is well again. Its name."""
    well = desk.fleet.script["n1", "upgrade"]
    desk.says(n1_upgrade=failed("apply_failed"))
    ended = desk.relup("upgrade", yes=True, waves="1", soak="1s", gates="verify")
    assert ended.rollout["err_type"] == "too_many_failures"
    desk.fleet.script["n1", "upgrade"] = well
    desk.is_upgraded("n3")
    return str(ended.document["run"])


def test_a_run_goes_on_where_it_was_left(desk: Desk) -> None:
    run = stopped(desk)
    ended = desk.relup("upgrade", yes=True, tarball="", resume=True, gates="", gate_timeout="")
    assert (ended.status, ended.document["run"]) == (0, run)
    assert ended.outcomes == {"n3": "upgraded", "n1": "upgraded", "n2": "upgraded"}
    assert sorted(desk.hosts("plan")) == ["n1", "n2", "n3"]
    assert desk.hosts("upgrade") == ["n1", "n2"]
    [record] = ledger.runs()
    assert [event["status"] for event in record.events if event["event"] == "run"] == ["begin", "resume"]
    gates = Plan.from_json(record.plan).gates
    assert (gates.verify, gates.cluster, gates.soak, gates.timeout) == (True, False, 1, 0)


def test_a_host_that_the_ledger_calls_done_and_that_says_otherwise_is_done_again(desk: Desk) -> None:
    stopped(desk)
    # Somebody has rolled it back.
    desk.fleet.script["n3", "plan"] = [answers("n3")["n3", "plan"]]
    ended = desk.relup("upgrade", yes=True, resume=True, gates="", gate_timeout="")
    assert (ended.status, set(ended.outcomes.values())) == (0, {"upgraded"})
    assert desk.hosts("upgrade") == ["n3", "n1", "n2"]
    assert (
        "n3: the record of the run says that this host is done, but the host says that it is not; it is done again"
        in ended.err
    )
    [record] = ledger.runs()
    passed = [event["wave"] for event in record.events if event["event"] == "wave" and event["status"] == "done"]
    assert passed == [1, 1, 2, 3]


def test_a_host_that_the_ledger_calls_done_and_that_is_not_there_is_missed(desk: Desk) -> None:
    stopped(desk)
    desk.says(n3_plan=Failure("host_unreachable"))
    ended = desk.relup("upgrade", yes=True, resume=True, gates="", gate_timeout="")
    assert (ended.status, ended.rollout["err_type"]) == (3, "cluster_not_whole")
    assert desk.hosts("upgrade") == []


def test_what_a_host_that_is_done_says_beside_that_is_no_contradiction(desk: Desk) -> None:
    stopped(desk)
    there = refused("already_upgraded_to_target_vsn", cluster=CLUSTER)
    problem = Failure("no_backup", stage="backup").to_json()
    desk.fleet.script["n3", "plan"] = [{**there, "error": problem, "problems": [problem, there["error"]]}]
    ended = desk.relup("upgrade", yes=True, resume=True, gates="", gate_timeout="")
    assert (ended.status, desk.hosts("upgrade")) == (0, ["n1", "n2"])


def test_the_node_that_was_surveyed_is_the_one_that_is_upgraded(desk: Desk) -> None:
    assert desk.relup("upgrade", yes=True).status == 0
    names = {(host, asked["node"]["name"]) for host, asked, _file in desk.fleet.asked if asked["command"] != "plan"}
    assert names == {(host, f"emqx@{host}") for host in ROLES}


def test_it_is_the_same_node_that_a_run_is_taken_up_for(desk: Desk) -> None:
    stopped(desk)
    desk.relup("upgrade", yes=True, resume=True, gates="", gate_timeout="")
    names = {(host, asked["node"]["name"]) for host, asked, _file in desk.fleet.asked}
    assert names == {(host, f"emqx@{host}") for host in ROLES}


def test_it_is_found_by_the_beginning_of_its_name_and_its_command(desk: Desk) -> None:
    run = stopped(desk)
    assert desk.relup("rollback", yes=True).status == 0
    assert desk.relup("upgrade", yes=True, resume="2", soak="0").document["run"] == run
    wrong = desk.relup("upgrade", yes=True, resume="1999")
    assert (wrong.status, wrong.document["error"]["err_type"]) == (2, "unknown_run")
    assert desk.commands == []


def test_a_host_that_was_left_out_comes_last_when_it_is_back(desk: Desk) -> None:
    desk.says(n3_plan=Failure("host_unreachable"))
    first = desk.relup("upgrade", yes=True, allow_missing=True)
    assert (first.status, first.rollout["outcome"], first.outcomes["n3"]) == (1, "partly done", "failed")
    desk.says(n3_plan=result("ready", connections=7, bytes_to_send=5, cluster=CLUSTER))
    desk.is_upgraded("n1", "n2")
    again = desk.relup("upgrade", yes=True, resume=True)
    assert (again.status, desk.hosts("upgrade")) == (0, ["n3"])
    assert set(again.outcomes.values()) == {"upgraded"}
    plan = Plan.from_json(ledger.runs()[-1].plan)
    assert plan.waves == (("n1",), ("n2",), ("n3",))
    assert (plan.member("n3").connections, plan.member("n1").connections) == (7, 100)
    assert (plan.member("n3").bytes, plan.member("n1").bytes) == (5, 71_000_000)


def test_a_host_that_can_not_be_asked_is_not_said_to_deny_what_the_ledger_says(desk: Desk) -> None:
    stopped(desk)
    desk.says(n3_plan=Failure("host_unreachable"))
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.rollout["err_type"]) == (3, "cluster_not_whole")
    said = " ".join(ended.err.split())
    assert "n3: the record of the run says that this host is done, but the host or its node can't be asked now" in said
    assert "says that it is not" not in said


def test_what_a_rollback_would_refuse_is_refused_before_anybody_is_asked(desk: Desk) -> None:
    desk.says(n2_status={**refused("would_not_boot"), "error": Failure("would_not_boot", stage="rollback").to_json()})
    ended = desk.relup("rollback", yes=False)
    assert (ended.status, ended.rollout["err_type"]) == (3, "hosts_not_ready")
    assert desk.commands == ["status"]
    assert {request["options"]["dry_run"] for _, request, _ in desk.fleet.asked} == {True}


def test_a_run_that_is_over_is_not_taken_up(desk: Desk) -> None:
    desk.relup("upgrade", yes=True)
    desk.is_upgraded(*ROLES)
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.document["ok"], ended.rollout["outcome"]) == (0, True, "nothing to do")
    assert (sorted(desk.hosts("plan")), desk.commands) == (sorted(ROLES), ["plan"])
    [record] = ledger.runs()
    assert sum(event["event"] == "run" for event in record.events) == 1
    shown = desk.relup("upgrade", yes=True, resume=True, json=False)
    assert (shown.status, f"nothing to do: run {record.run} is done." in shown.out) == (0, True)


@pytest.mark.parametrize("gone", ["inventory", "tarball", "catalogue"])
def test_of_a_run_that_is_over_that_is_said_first_whatever_is_gone(desk: Desk, gone: str) -> None:
    desk.relup("upgrade", yes=True)
    path: Path = getattr(desk, gone)
    path.rename(path.with_name("elsewhere"))
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_is_over")
    [record] = ledger.runs()
    said = f"nothing is left to do in {record.run}, as its record says; the hosts were not asked: "
    assert ended.document["error"]["message"].startswith(said)
    assert str(path) in ended.document["error"]["message"]
    assert desk.commands == []


def test_so_of_a_rollback(desk: Desk) -> None:
    desk.relup("rollback", yes=True)
    desk.inventory.unlink()
    ended = desk.relup("rollback", yes=True, resume=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_is_over")


@pytest.mark.parametrize("gone", ["inventory", "tarball"])
@pytest.mark.parametrize("answer", ["n1_upgrade", "n2_unlock"], ids=["a host is left", "a lock is left"])
def test_of_a_run_that_is_not_over_what_is_gone_is_said(desk: Desk, gone: str, answer: str) -> None:
    desk.says(**{answer: Failure("host_unreachable")})
    assert desk.relup("upgrade", yes=True).status == 1
    path: Path = getattr(desk, gone)
    path.unlink()
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert ended.status in (2, 3)
    assert str(path) in ended.out
    assert "run_is_over" not in ended.out
    assert "nothing is left to do" not in ended.out


def test_a_run_whose_lock_is_left_is_not_over(desk: Desk) -> None:
    desk.says(n2_unlock=Failure("host_unreachable"))
    first = desk.relup("upgrade", yes=True)
    assert (first.status, first.rollout["err_type"]) == (1, "lock_left")
    desk.is_upgraded(*ROLES)
    lock = {"run": ledger.runs()[-1].run, "operator": "alice@desk", "since": 1_000, "why": ""}
    there = refused("already_upgraded_to_target_vsn", cluster=CLUSTER, nodes=NODES, connections=100, cluster_lock=lock)
    desk.says(n2_plan=there, n2_unlock=result("unlocked"))
    again = desk.relup("upgrade", yes=True, resume=True)
    assert (again.status, again.rollout["outcome"], desk.hosts("upgrade")) == (0, "done", [])
    assert sorted(desk.hosts("unlock")) == sorted(ROLES)


def test_whether_a_run_is_over_is_asked_of_the_hosts(desk: Desk) -> None:
    """One that was put back meanwhile is done again."""
    desk.relup("upgrade", yes=True)
    desk.is_upgraded("n1", "n2")
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, desk.hosts("upgrade")) == (0, ["n3"])
    assert "n3: the record of the run says that this host is done, but the host says that it is not" in " ".join(
        ended.err.split()
    )


def test_nothing_else_is_brought_to_hosts_than_the_run_began_with(desk: Desk) -> None:
    stopped(desk)
    (desk.catalogue / "a.relup").write_text(f"{HOP} ")
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_differs")
    assert "the hop a.relup has changed" in ended.document["error"]["message"]
    desk.tarball.write_bytes(b"another release")
    ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_differs")
    assert "the tarball had SHA-256 " in ended.document["error"]["message"]
    assert desk.commands == []


def test_a_run_goes_on_with_the_catalogue_that_it_began_with(desk: Desk, tmp_path: Path) -> None:
    other = shutil.copytree(desk.catalogue, tmp_path / "other")
    desk.says(n1_upgrade=failed("apply_failed"))
    assert desk.relup("upgrade", yes=True, catalogue=str(other)).status == 1
    (other / "a.relup").write_text(f"{HOP} ")
    ended = desk.relup("upgrade", yes=True, resume=True, catalogue="")
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_differs")


def test_only_one_controller_goes_on_with_a_run(desk: Desk) -> None:
    run = stopped(desk)
    with Ledger(ledger.open_run(run).path):
        ended = desk.relup("upgrade", yes=True, resume=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "run_in_progress")
    assert desk.commands == []


def test_a_ledger_that_can_no_longer_be_written_stops_the_run_and_its_table_is_shown(desk: Desk) -> None:
    desk.fleet.when["n3", "upgrade"] = lambda: (ledger.runs()[-1].path / "hosts").rename(desk.catalogue / "gone")
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.rollout["err_type"]) == (1, "ledger_unwritable")
    assert ended.outcomes == {"n3": "upgraded", "n1": "skipped", "n2": "skipped"}
    assert desk.commands[-1] == "unlock"


def test_a_run_whose_ledger_was_damaged_meanwhile_ends_with_its_table(desk: Desk) -> None:
    def damage() -> None:
        with (ledger.runs()[-1].path / ledger.EVENTS).open("a") as file:
            file.write('{"event":"gate","wave":1,"gate":"verify"}\n')

    desk.fleet.when["n3", "upgrade"] = damage
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.rollout["outcome"]) == (0, "done")
    assert ended.outcomes == dict.fromkeys(ROLES, "upgraded")
    assert desk.relup("runs", inventory="").document["runs"][0]["outcome"] == "unreadable"


def test_a_ledger_that_can_not_be_written_keeps_a_run_from_beginning(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "ledger_unusable")
    assert desk.commands == ["plan"]


# The runs there were


def test_runs_are_listed_with_what_became_of_them(desk: Desk) -> None:
    assert desk.relup("runs", json=False, inventory="").out == "no runs\n"
    first = stopped(desk)
    desk.says(n3_upgrade=refused("already_upgraded_to_target_vsn"))
    desk.relup("upgrade", yes=True)
    second = ledger.runs()[-1].run
    found = desk.relup("runs", inventory="").document["runs"]
    assert [(run["run"], run["done"], run["hosts"], run["outcome"]) for run in found] == [
        (first, 1, 3, "stopped"),
        (second, 3, 3, "done"),
    ]
    assert found[0]["reason"] == "n1 failed; --max-failures allows none"
    text = desk.relup("runs", json=False, inventory="", limit="1").out
    assert second in text
    assert "3 of 3" in text
    assert first not in text


def test_a_run_has_one_time_wherever_it_is_told(desk: Desk) -> None:
    run = stopped(desk)
    told = desk.relup("upgrade", yes=True, resume=True, gates="", gate_timeout="", json=False).out.splitlines()[-1]
    said = report_of(ledger.open_run(run))
    [listed] = desk.relup("runs", inventory="").document["runs"]
    for key in ("seconds", "seconds_between", "started_at"):
        assert listed[key] == getattr(said, key)
    record = ledger.open_run(run)
    assert listed["started_at"] == record.request["started_at"] == record.events[0]["at"], "it begins with its survey"
    assert said.seconds + said.seconds_between <= (said.ended_at - said.started_at) / 1000
    time = f"{duration(said.seconds)} (resumed after {duration(said.seconds_between)})"
    # The gates of the first controller count as well.
    assert told == f"run {run}: done in {time}, 3 waves, 5 gates open. `inv report {run}` shows it."
    assert time in desk.relup("runs", inventory="", json=False).out
    assert time in render(said, "md")


def test_a_run_whose_controller_died_was_left(desk: Desk) -> None:
    run = stopped(desk)
    with Ledger(ledger.open_run(run).path) as held:
        held({"event": "run", "at": 0, "status": "resume"})
        assert desk.relup("runs", inventory="").document["runs"][0]["outcome"] == "under way"
    assert desk.relup("runs", inventory="").document["runs"][0]["outcome"] == "left"


# What the operator may want


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"waves": "0"}, "--waves: '0' is neither a number of hosts nor a share"),
        ({"waves": "1,many"}, "--waves: 'many' is neither"),
        ({"parallel": "0"}, "--parallel must be a whole number, 1 or more"),
        ({"order": "alphabetical"}, "--order must be replicants-first, cores-first or inventory, not 'alphabetical'"),
        ({"max_failures": "200%"}, "--max-failures: '200%' is neither"),
        ({"gates": "verify,luck"}, "--gates: there is no gate 'luck'; the gates are verify, cluster"),
        ({"min_connections": "101"}, "--min-connections must be a percentage from 0 to 100, not '101'"),
        ({"min_connections": "-1"}, "--min-connections must be a percentage"),
        ({"gate_command_timeout": "0"}, "--gate-command-timeout must be 1s or more, not '0'"),
        ({"soak": "forever"}, "--soak must be a time such as 90s, 10m or 24h, not 'forever'"),
        ({"gate_timeout": "-1"}, "--gate-timeout must be a time"),
    ],
)
@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_what_can_not_be_wanted_is_wrong_use(desk: Desk, command: str, wishes: Mapping[str, Any], said: str) -> None:
    ended = desk.relup(command, yes=True, **wishes)
    assert (ended.status, ended.document["error"]["err_type"]) == (2, "bad_option")
    assert said in ended.document["error"]["message"]
    assert desk.commands == []
    with pytest.raises(UsageError):
        Wishes(**wishes).check()


@pytest.mark.parametrize(
    ("wishes", "gates"),
    [
        (Wishes(), Gates()),
        (Wishes(gates="none"), Gates(verify=False, cluster=False, connections=None, postcheck=False)),
        (Wishes(gates="verify, postcheck"), Gates(cluster=False, connections=None)),
        (Wishes(gates="connections"), Gates(verify=False, cluster=False, postcheck=False)),
        (Wishes(gates="none", min_connections="50"), Gates(False, False, 50, False)),
        (Wishes(min_connections="75%"), Gates(connections=75)),
        (
            Wishes(soak="10m", gate_timeout="2h", gate_command="true"),
            Gates(soak=600, timeout=7200, command=Shell("true")),
        ),
    ],
)
def test_gates_are_as_wanted(wishes: Wishes, gates: Gates) -> None:
    assert wishes.plan_parts(Gates(), 4)["gates"] == gates


def test_what_is_not_said_is_as_it_was() -> None:
    before = Gates(verify=False, connections=40, soak=5, command=Shell("x"), timeout=9)
    assert Wishes().plan_parts(before, 4) == {"gates": before}
    assert Wishes(gates="connections").plan_parts(before, 4)["gates"].connections == 40
    parts = Wishes(parallel="3", max_failures="50%", allow_missing=True).plan_parts(before, 5)
    assert parts == {"gates": before, "parallel": 3, "max_failures": 2, "allow_missing": True}


def test_a_run_whose_time_is_over_before_it_begins_is_refused_and_names_the_hosts(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.commands.limits.Deadline", lambda _seconds: Deadline(0))
    ended = desk.relup("upgrade", yes=True)
    assert (ended.status, ended.rollout["err_type"]) == (3, "hosts_not_ready")
    assert {row["error"]["err_type"] for row in ended.document["hosts"]} == {"deadline_exceeded"}
    assert desk.commands == []


def test_a_run_whose_time_is_over_ends_as_after_an_interruption(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("relup_remote.commands.limits.Deadline", lambda seconds: Deadline(seconds, lambda: clock[0]))

    def passes() -> None:
        clock[0] = 61.0

    desk.fleet.when["n3", "upgrade"] = passes
    ended = desk.relup("upgrade", yes=True, deadline="1m")
    assert (ended.status, ended.rollout["outcome"], ended.rollout["err_type"]) == (1, "stopped", "out_of_time")
    assert ended.outcomes == {"n3": "upgraded", "n1": "skipped", "n2": "skipped"}
    assert "--resume" in ended.rollout["next"]
    # What would outlive the run is given back all the same.
    assert sorted(desk.hosts("unlock")) == ["n1", "n2", "n3"]


# Ctrl-C


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Callable[[], None]]:
    """Presses Ctrl-C so many times, each time once the one before has been heard."""
    heard = SimpleQueue[None]()
    before = Stop.request

    def request(stop: Stop) -> None:
        heard.put(None)
        before(stop)

    monkeypatch.setattr(Stop, "request", request)

    def presses(times: int) -> Callable[[], None]:
        def act() -> None:
            for _ in range(times):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                heard.get(timeout=60)

        return act

    return presses


CHANGING: Mapping[str, tuple[dict[str, Any], Answer]] = {
    "stage": ({}, result("staged", (("stage", "ok"),))),
    "prepare": ({"parallel": "1"}, result("prepared", (("stage", "ok"), ("extract", "ok")))),
    "backup": ({"parallel": "1"}, result("backed up")),
    "logs-clear": ({"yes": True}, result("cleaned")),
}
"""Commands that change hosts one by one, with what a host answers."""


@pytest.mark.parametrize("command", CHANGING)
def test_a_command_that_changes_hosts_finishes_those_in_hand_and_is_interrupted_as_a_run(
    desk: Desk, operator: Callable[[int], Callable[[], None]], command: str
) -> None:
    given, answer = CHANGING[command]
    if command in ("stage", "prepare"):
        given = {**given, "tarball": str(desk.tarball)}
    if command == "prepare":
        given = {**given, "catalogue": str(desk.catalogue)}
    desk.says(**{f"{host}_{command}": answer for host in ROLES}, **{f"{host}_logs": result("ok") for host in ROLES})
    desk.fleet.when["n1", command] = operator(1)
    ended = desk.relup(command, **given)
    assert isinstance(answer, dict)
    assert ended.outcomes == {"n1": answer["outcome"], "n2": "skipped", "n3": "skipped"}
    assert (ended.status, ended.document["ok"]) == (1, False)
    said = ended.document["ending"]
    assert (said["outcome"], said["err_type"]) == ("interrupted", "interrupted_by_operator")
    assert progress.INTERRUPTED in " ".join(ended.err.split())
    lines = desk.relup(command, **given, json=False).out.splitlines()
    assert lines[-2].startswith("interrupted, interrupted_by_operator: The operator interrupted the command. No more ")
    assert lines[-1] == f"  what to do: {run.AGAIN}"


def test_it_is_done_where_all_hosts_had_started(desk: Desk, operator: Callable[[int], Callable[[], None]]) -> None:
    desk.fleet.when["n3", "prepare"] = operator(1)
    ended = desk.relup("prepare", tarball=str(desk.tarball), catalogue=str(desk.catalogue), json=False)
    assert ended.status == 0
    assert "3 hosts prepared." in ended.out
    said = "Ctrl-C came when all hosts had started. They were finished, and nothing is left to do."
    assert ended.out.splitlines()[-1] == said
    desk.says(n3_prepare=Failure("host_unreachable"))
    ended = desk.relup("prepare", tarball=str(desk.tarball), catalogue=str(desk.catalogue))
    assert (ended.status, ended.document["ending"]["err_type"]) == (1, "interrupted_by_operator")


def test_hosts_that_another_run_has_finished_are_in_no_wave(
    desk: Desk, operator: Callable[[int], Callable[[], None]]
) -> None:
    desk.fleet.when["n1", "lock"] = operator(1)
    desk.relup("upgrade", yes=True)
    assert (ledger.runs()[-1].end or {})["outcome"] == "interrupted"
    desk.fleet.when.clear()
    there = refused("already_upgraded_to_target_vsn", cluster=CLUSTER, nodes=NODES, connections=100)
    desk.says(**{f"{host}_plan": {**there, "node": f"emqx@{host}", "from": "1.1"} for host in ("n1", "n3")})
    ended = desk.relup("upgrade", yes=True, resume=True, json=False)
    assert ended.status == 0
    assert "waves: n2; one by one within a wave" in " ".join(ended.err.split())
    assert re.search(r"^- +n3 +emqx@n3 +replicant +1\.1 ", ended.err, re.MULTILINE)
    assert (desk.hosts("upgrade"), set(desk.hosts("verify"))) == (["n2"], {"n2"})


def test_a_run_of_which_others_have_finished_all_only_ends(
    desk: Desk, operator: Callable[[int], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.fleet.when["n1", "lock"] = operator(1)
    desk.relup("upgrade", yes=True)
    desk.fleet.when.clear()
    desk.is_upgraded(*ROLES)
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    ended = desk.relup("upgrade", resume=True)
    assert (ended.status, ended.rollout["outcome"], desk.hosts("upgrade"), desk.hosts("verify")) == (0, "done", [], [])
    assert "All hosts are upgraded, by other runs. End this run? [y/N]" in ended.err
    assert "after each wave" not in ended.err


@pytest.mark.parametrize("command", ["prepare", "upgrade"])
def test_after_the_second_interruption_there_is_one_hint(
    desk: Desk, operator: Callable[[int], Callable[[], None]], command: str
) -> None:
    never = threading.Event()
    press = operator(2)
    desk.fleet.when["n3", command] = lambda: (press(), never.wait(60))
    given = {"yes": True} if command == "upgrade" else {"tarball": str(desk.tarball), "catalogue": str(desk.catalogue)}
    ended = desk.relup(command, **given, json=False)
    never.set()
    assert ended.status == 1
    out = " ".join(ended.out.split())
    assert "The operator left at once. Hosts that had started go on: n3." in out
    assert out.count("what to do:") == 1
    assert ("Resume the run." in out, "the same command again" in out) == (command == "upgrade", command != "upgrade")


@pytest.mark.parametrize("command", ["prepare", "upgrade", "cleanup"])
def test_whoever_is_lost_in_a_run_is_not_said_to_need_another_command(desk: Desk, command: str) -> None:
    """The run keeps its lock there, so nobody but the run itself is let in."""
    desk.says(**{f"n3_{command}": Failure("connection_lost")})
    if command == "cleanup":
        desk.says(n3_upgrade=result("upgraded", (("apply", "ok"), ("cleanup", "skipped"))))
    ended = desk.relup("upgrade", yes=True)
    [error] = [row["error"] for row in ended.document["hosts"] if row["error"]]
    assert error["hint"] == run.RESUME
