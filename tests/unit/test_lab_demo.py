"""The end of the demonstration: what it tells people to type is what there is."""

import shlex
from pathlib import Path

import pytest

from lab.demo import next_steps
from tasks import namespace


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("state", [Path(".lab"), Path("/tmp/other lab")])
def test_next_steps_are_commands_with_options_that_they_have(keep: bool, state: Path) -> None:
    title, *steps = next_steps("inv", Path("inventory/lab.yml"), state, keep)
    assert title.startswith("next")
    for step in steps:
        typed = shlex.split(step, comments=True)
        program, command, *options = typed
        assert program == "inv"
        flags = {f"--{name}" for argument in namespace[command].get_arguments() for name in argument.names}
        assert {word for word in options if word.startswith("--")} <= flags
    assert any("lab.up" in step for step in steps) is not keep


def test_a_lab_elsewhere_is_named() -> None:
    steps = next_steps(".venv/bin/inv", Path("x/inventory.yml"), Path("/tmp/a b"), keep=False)
    assert any(shlex.split(step, comments=True)[1:] == ["lab.down", "--directory", "/tmp/a b"] for step in steps)
