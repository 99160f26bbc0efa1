"""The commands for backups: what hosts are asked, what a restore says before it asks, and the tables."""

from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from relup_remote.commands import backing_up, by_name, invocation
from relup_remote.core.protocol import Failure
from relup_remote.rollout.request import Order
from relup_remote.rollout.rows import of_failure
from relup_remote.summary.backups import kept_table, made_table, verified_table

from .fake_host import Fleet, result
from .program import RELUP, run

AT = 1_795_000_000_000
INVENTORY = "defaults: {backup_dir: /mnt/backups}\nhosts: {n1: {}, n2: {}, n3: {}}"


def told(name: str, **more: Any) -> dict[str, Any]:
    """A backup as a host tells of it."""
    told = {"name": name, "node": "emqx@a", "at": AT, "version": "5.10.4", "bytes": 12_000_000}
    return {**told, "whole": True, "why": "", "cut_short": False, **more}


def row(host: str, outcome: str = "ok", **facts: Any) -> dict[str, Any]:
    return {**result(outcome), "host": host, "facts": facts}


KEPT = {
    "n1": [told("run-3", cut_short=True, whole=False, why="it was cut short"), told("run-2"), told("run-1")],
    "n2": [],
}


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    """Hosts with backups, and one that can't be reached."""
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY)
    monkeypatch.setenv("RELUP_INVENTORY", str(path))
    fleet = Fleet(
        {
            **{(host, "backups"): result("ok", backups=found) for host, found in KEPT.items()},
            ("n3", "backups"): result("failed"),
            **{(host, "backup"): result("backed up", (("backup", "ok"),)) for host in ("n1", "n2")},
            ("n1", "backup-verify"): result("verified", backup=told("run-2")),
            ("n1", "restore"): result("restored", (("restore", "ok"),), restored=told("run-1")),
            ("n2", "restore"): result("refused"),
        }
    )
    monkeypatch.setattr(invocation, "_connect", fleet.connect)
    return fleet


def test_a_backup_is_asked_of_each_host_in_its_own_folder(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    backing_up.backup.body(None, keep="7", parallel="1", host=["n1,n2"], quiet=True)
    requests = {host: request for host, request, _ in fleet.asked}
    assert {host: request["node"]["backup_dir"] for host, request in requests.items()} == {
        "n1": "/mnt/backups/n1", "n2": "/mnt/backups/n2"
    }  # fmt: skip
    assert {request["options"]["keep"] for request in requests.values()} == {7}
    assert capsys.readouterr().out.count("backed up") == 2


@pytest.mark.parametrize("wrong", [{"keep": "-1"}, {"keep": "few"}, {"parallel": "0"}])
def test_numbers_that_are_none_are_wrong_use(fleet: Fleet, wrong: dict[str, str]) -> None:
    with pytest.raises(Exit) as caught:
        backing_up.backup.body(None, **wrong)
    assert (caught.value.code, fleet.asked) == (2, [])


def test_a_restore_says_what_it_puts_back_and_asks(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.answers["n1", "restore"] = result("ready", backups=KEPT["n1"])
    with pytest.raises(Exit) as caught:
        backing_up.restore.body(None, host=["n1"])
    # There is no terminal to ask on.
    assert caught.value.code == 2
    assert [request["options"]["dry_run"] for _, request, _ in fleet.asked] == [True]
    said = capsys.readouterr().err
    assert "  n1: run-2, of emqx@a as it was 2026-11-18 " in said
    assert ": 5.10.4, 12 MB\n" in said
    assert "The nodes must be stopped. They will not be started." in said


@pytest.mark.parametrize("answer", [result("refused"), result("failed")])
def test_nobody_is_asked_for_a_restore_that_a_host_would_refuse(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], answer: dict[str, Any]
) -> None:
    fleet.answers["n1", "restore"] = result("ready", backups=KEPT["n1"])
    fleet.answers["n2", "restore"] = answer
    with pytest.raises(Exit) as caught:
        backing_up.restore.body(None, host=["n1,n2"], yes=True)
    assert caught.value.code == {"refused": 3, "failed": 1}[answer["outcome"]]
    assert {request["options"].get("dry_run") for _, request, _ in fleet.asked} == {True}
    assert "call_failed" in capsys.readouterr().out


def test_nobody_is_asked_to_delete_the_history_of_a_part_of_the_hosts(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.answers.update({("n1", "logs"): result("ok"), ("n2", "logs"): result("failed")})
    with pytest.raises(Exit) as caught:
        by_name()["logs-clear"].body(None, host=["n1,n2"], yes=True)
    assert (caught.value.code, {command for _, command in fleet.commands}) == (1, {"logs"})
    assert "Delete it?" not in capsys.readouterr().err


def test_a_restore_stops_at_the_first_host_that_is_not_done(fleet: Fleet) -> None:
    ready, done = result("ready", backups=KEPT["n1"]), fleet.answers["n1", "restore"]
    fleet.answer = lambda host, request: (  # type: ignore[method-assign]
        ready if request["options"].get("dry_run") else done if host == "n1" else result("refused")
    )
    with pytest.raises(Exit) as caught:
        backing_up.restore.body(None, backup="run-1", force=True, yes=True, quiet=True)
    assert caught.value.code == 1
    asked = [(host, request) for host, request, _ in fleet.asked if not request["options"].get("dry_run")]
    assert [host for host, _ in asked] == ["n1", "n2"]
    assert {(request["options"]["backup"], request["options"]["restore_force"]) for _, request in asked} == {
        ("run-1", True)
    }


def test_the_backup_that_is_named_is_told() -> None:
    rows = [row("n1", backups=KEPT["n1"]), row("n2", backups=[])]
    said = backing_up.intention(rows, "run-1", "run-9")
    assert "  n1: run-1, of emqx@a" in said
    assert "  n2: no backup run-1\n" in said
    assert "relup_before-run-9" in said


def test_a_restore_that_is_gone_on_with_is_told() -> None:
    rows = [row("n1", backups=[], restore_left="run-4")]
    assert "n1: run-4, whose restore was cut off: it goes on" in backing_up.intention(rows, "", "run-5")
    assert "no backup run-9" in backing_up.intention(rows, "run-9", "run-5")


def test_a_restore_says_what_is_left_to_do_and_gives_each_path_a_line() -> None:
    restored = {**row("n1", "restored"), "steps": [{"detail": {"aside": ["/a/b", "/c/d"]}}]}
    assert backing_up.to_start([restored, row("n2", "refused")]) == (
        "n1: start the node on its host: `bin/emqx start`, or its service."
    )
    assert backing_up.to_start([row("n2", "refused")]) == ""
    assert not any("/a/b" in line and "/c/d" in line for line in made_table([restored]).splitlines())


def test_the_tables(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    kept = kept_table([row("n1", backups=KEPT["n1"]), row("n2", backups=[])])
    assert [line.split()[:2] for line in kept.splitlines()[2:]] == [["n1", "run-3"], ["n1", "run-2"], ["n1", "run-1"]]
    assert kept.count("complete") == 2
    assert "it was cut short" in kept
    damaged = told("run-4", whole=False, why="it has no manifest.json")
    assert "damaged: it has no manifest.json" in kept_table([row("n1", backups=[damaged])])
    assert kept_table([row("n2", backups=[])]) == "no backups"
    unreachable = of_failure("n1", Failure("host_unreachable"))
    assert kept_table([unreachable, row("n2", backups=[])]) == "no backups on n2"
    assert kept_table([unreachable]) == "", "what could not be looked at is not said to be empty"
    made = made_table([{**row("n1", "restored", restored=told("run-1")), "steps": [{"detail": {"aside": ["/a/b"]}}]}])
    assert {"n1", "restored", "run-1", "5.10.4", "/a/b"} <= set(made.splitlines()[2].split())
    assert "n1" in verified_table([row("n1", "failed")])
    backing_up.backup_verify.body(None, host=["n1"], quiet=True)
    assert "run-2" in capsys.readouterr().out


def test_it_is_known_by_its_short_name() -> None:
    """`backup` is what its collection stands for, and a collection has no command of its own name."""
    assert {"backup", "backup.list", "backup.verify", "restore"} <= set(by_name())
    for words in (["--help", "backup"], ["backup", "--help"]):
        done = run(RELUP, *words)
        assert done.returncode == 0
        assert " backup [--keep BACKUPS] [--parallel HOSTS]" in done.stdout
        assert "backup.create" not in done.stdout


def test_the_core_knows_what_is_asked() -> None:
    for command in ("backup", "backups", "backup-verify", "restore"):
        assert Order(command, "run-1", "alice@desk", options={"keep": 1, "backup": "", "restore_force": True})
