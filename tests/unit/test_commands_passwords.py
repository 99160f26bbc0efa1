"""`--ask-passphrase`, `--ask-password` and `--ask-sudo-password` on a real terminal, and without one."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke.tasks import Task

from relup_remote.commands import COMMANDS
from relup_remote.commands.hop import HOP_COMMANDS
from relup_remote.commands.options import LOCAL
from relup_remote.commands.passwords import OPTIONS

from .terminal import PROJECT, on_terminal

INVENTORY = "hosts: {n1: {address: 127.0.0.1, port: 1, connect_timeout: 5}, n2: {address: 127.0.0.1, port: 1}}"


def words(tmp_path: Path, *more: str) -> list[str]:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(INVENTORY)
    return [sys.executable, "-m", "relup_remote", "hosts", "--inventory", str(inventory), *more]


def test_passwords_are_asked_for_once_and_not_shown(tmp_path: Path) -> None:
    command = words(tmp_path, "--ask-passphrase", "--ask-password", "--ask-sudo-password", "--json")
    status, seen = on_terminal(command, ["first-secret\n", "second-secret\n", "third-secret\n"], b": ")
    assert status == 1
    assert seen.count("passphrase of the private key: ") == 1
    assert seen.count("login password of the SSH user: ") == 1
    assert seen.count("sudo password on the hosts (empty: the login password): ") == 1
    assert "secret" not in seen
    document = json.loads(seen[seen.index("{") :])
    assert [row["error"]["err_type"] for row in document["hosts"]] == ["host_unreachable"] * 2


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ("\n", 2, "no password was given"),
        ("\x04", 2, "no terminal to ask for a password on"),
        ("\x03", 1, "interrupted (This command changed no host.)"),
        ("caf\udce9\n", 2, "the password is not text of this terminal's encoding"),
    ],
)
def test_who_types_nothing_goes_nowhere(tmp_path: Path, typed: str, status: int, said: str) -> None:
    ended, seen = on_terminal(words(tmp_path, "--ask-password"), [typed], b"password")
    assert (ended, said in seen, "host_unreachable" in seen) == (status, True, False), seen


def test_without_a_terminal_it_is_wrong_use(tmp_path: Path) -> None:
    ended = subprocess.run(
        words(tmp_path, "--ask-sudo-password"),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        start_new_session=True,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("hosts: there is no terminal to ask for a password on")


def test_nothing_is_asked_where_the_hosts_are_wrong(tmp_path: Path) -> None:
    status, seen = on_terminal(words(tmp_path, "--ask-password", "--host", "n3"), [], b"password")
    assert (status, "password" in seen) == (2, False)


@pytest.mark.parametrize("task", [*COMMANDS, *HOP_COMMANDS], ids=lambda task: task.name)
def test_commands_that_go_to_hosts_have_the_options(task: "Task[Any]") -> None:
    names = set(inspect.signature(task.body).parameters)
    local = task.body.__name__ in LOCAL
    assert (set(OPTIONS) <= names) is not local
