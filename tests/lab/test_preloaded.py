"""A command that is forked from a server does what it does in an interpreter of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.layout import PROJECT
from tests.lab.preloaded import MODULE, Command


@pytest.mark.parametrize("words", [["--version"], ["paths", "--from", "no such"], ["nonsense"], ["report", "none"]])
def test_status_and_output_are_the_same(words: list[str], tmp_path: Path) -> None:
    variables = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "RELUP_CATALOGUE": str(PROJECT / "priv" / "relup")}
    forked = Command(words, variables)
    said = forked.communicate(60)
    command = [sys.executable, "-m", MODULE, *words]
    own = subprocess.run(
        command, cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (forked.returncode, *said) == (own.returncode, own.stdout, own.stderr)


def test_its_environment_is_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        variables = {**os.environ, "RELUP_CATALOGUE": str(tmp_path / name)}
        assert str(tmp_path / name) in Command(["paths"], variables).communicate(60)[1]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """An inventory that a command waits for, until somebody has written it."""
    path = tmp_path / "hosts.yml"
    os.mkfifo(path)
    return path


def test_one_is_killed_while_it_waits(pipe: Path) -> None:
    command = Command(["hosts", "--inventory", str(pipe)], os.environ)
    # It has opened the pipe once that can be opened here.
    with pipe.open("w"):
        assert command.poll() is None
        command.kill()
        assert command.wait() == command.poll() == -signal.SIGKILL
    assert command.communicate() == ["", ""]


def test_one_is_suspended_and_goes_on(pipe: Path) -> None:
    command = Command(["hosts", "--inventory", str(pipe)], os.environ)
    with pipe.open("w") as written:
        command.send_signal(signal.SIGSTOP)
        written.write("nonsense")
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.2)
    command.send_signal(signal.SIGCONT)
    assert "hosts.yml" in command.communicate(60)[1]
    assert command.returncode == 2


def test_one_that_takes_too_long_is_killed(pipe: Path) -> None:
    command = Command(["hosts", "--inventory", str(pipe)], os.environ)
    with pipe.open("w"), pytest.raises(subprocess.TimeoutExpired):
        command.communicate(0)
    assert command.returncode == -signal.SIGKILL
