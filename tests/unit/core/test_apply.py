"""What a step that applied a hop says of what is left, and of a restart after it that fails as well."""

from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.core.steps import apply

from .backups import Node


@pytest.mark.parametrize(
    ("outcome", "said", "hop"),
    [
        (
            {"result": "code_change_failed", "n": 3, "message": "it threw", "restart": True},
            "Instruction 3: it threw. The wrapper's start ended with 1.",
            {"n": 3, "err_type": "code_change_failed"},
        ),
        (None, "The VM died during the hop. The wrapper's start ended with 1.", {"err_type": "hop_lost"}),
    ],
)
def test_a_restart_that_fails_does_not_hide_what_the_hop_came_to(
    outcome: dict[str, Any] | None, said: str, hop: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_context: object) -> str:
        raise Failure("restart_failed", "The wrapper's start ended with 1.", changed=True)

    monkeypatch.setattr(apply, "restart", fail)
    context = Node(tmp_path).context("backup", on_failure="restart")
    with pytest.raises(Failure) as caught:
        apply.finish(context, outcome)
    assert (caught.value.err_type, caught.value.message) == ("restart_failed", said)
    assert caught.value.detail["hop"] == hop


def test_processes_whose_state_may_not_fit_are_named(tmp_path: Path) -> None:
    kept = {"undone": False, "left": ["{kept,<0.1.0>}"], "kept": ["<0.1.0>"]}
    with pytest.raises(Failure) as caught:
        apply.finish(
            Node(tmp_path).context("backup"), {"result": "code_change_failed", "n": 3, "message": "timeout", **kept}
        )
    assert caught.value.message == (
        "Instruction 3: timeout. Only a part could be undone; the detail names the rest. "
        "Processes that go on with a state that may not fit their code: <0.1.0>."
    )
    assert caught.value.changed
