"""Ctrl-C where a command is not at its work: a word is always said."""

import importlib.abc
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from relup_remote.commands import namespace
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import CHANGING_COMMANDS
from tests.unit.program import INV, RELUP, run

UNTOUCHED = "interrupted (This command changed no host.)"

POINTS = (
    "relup_remote.cli.UsageProgram._help_first",
    "relup_remote.cli.UsageProgram._check_positions",
    "relup_remote.commands.invocation.listener",
    "relup_remote.commands.limits.deadline",
    "relup_remote.inventory.load",
    "relup_remote.commands.passwords.ask",
)


def interrupt(*_given: Any, **_more: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "hosts.yml"
    path.write_text("hosts: {n1: {}}")
    return path


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("command", ["backup", "lock", "logs-clear --yes", "verify", "stage --tarball x"])
def test_a_command_that_is_interrupted_before_it_asks_a_host_says_so(
    inventory: Path, monkeypatch: pytest.MonkeyPatch, command: str, point: str
) -> None:
    monkeypatch.setattr(point, interrupt)
    ended = run(RELUP, *command.split(), "--inventory", str(inventory), "--json")
    assert ended.returncode == 1
    assert " ".join(ended.stderr.split()).endswith(UNTOUCHED)
    document = json.loads(ended.stdout)
    assert (document["ok"], document["error"]["err_type"]) == (False, "interrupted")


def test_who_may_have_changed_hosts_does_not_say_that_none_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inventory: Path
) -> None:
    """Its table is cut off. A document that was printed already is the only one."""
    monkeypatch.setattr("relup_remote.commands.invocation.Invocation.show", interrupt)
    monkeypatch.setattr("relup_remote.commands.invocation.Runner.at_once", lambda *_given, **_more: [])
    ended = run(RELUP, "lock", "--inventory", str(inventory))
    assert ended.returncode == 1
    assert " ".join(ended.stderr.split()) == "lock: interrupted (`relup runs` and `relup status` show what was done.)"
    with pytest.raises(Exit) as left, Invocation("lock", None, str(inventory), True, True) as call:
        call.say("{}")
        raise KeyboardInterrupt
    assert (left.value.code, capsys.readouterr().out) == (1, "{}\n")


class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, *_given: Any) -> None:
        if name == "relup_remote.cli":
            raise KeyboardInterrupt


@pytest.mark.parametrize("module", [RELUP, INV])
def test_ctrl_c_while_the_program_is_imported_is_no_traceback(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "relup_remote.cli", raising=False)
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    ended = run(module, "status")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{UNTOUCHED}\n")


def test_ctrl_c_outside_of_a_command_does_not_say_that_nothing_was_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relup_remote.cli.main", interrupt)
    ended = run(RELUP, "upgrade")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "interrupted (`relup runs` and `relup status` show what was done.)\n"


def test_the_commands_that_change_hosts_are_commands() -> None:
    commands = namespace()
    assert set(CHANGING_COMMANDS) < {commands[name].body.__name__ for name in commands.task_names}
    assert all(commands[name.replace("_", "-")].name == name for name in CHANGING_COMMANDS)
