"""A command that is forked from a server does what it does in an interpreter of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.layout import PROJECT
from tests.lab import preloaded


@pytest.mark.parametrize("words", [["--version"], ["paths", "--from", "no such"], ["nonsense"], ["report", "none"]])
def test_status_and_output_are_the_same(words: list[str], tmp_path: Path) -> None:
    variables = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "RELUP_CATALOGUE": str(PROJECT / "priv" / "relup")}
    forked = preloaded.run(words, variables, 60)
    command = [sys.executable, "-m", preloaded.MODULE, *words]
    own = subprocess.run(
        command, cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (own.returncode, own.stdout, own.stderr)


def test_its_environment_is_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        variables = {**os.environ, "RELUP_CATALOGUE": str(tmp_path / name)}
        assert str(tmp_path / name) in preloaded.run(["paths"], variables, 60).stderr


def test_one_that_takes_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        preloaded.run(["--version"], os.environ, 0.001)
    assert preloaded.run(["--version"], os.environ, 60).returncode == 0
