"""What the step that applies a hop tells before it, of what is left after it, and of a restart that fails as well."""

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.context import Context
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import encode
from relup_remote.core.protocol import Failure
from relup_remote.core.steps import apply

from .backups import Node
from .demo import FROM, TARGET, Demo, facts, running_demo
from .lent import Vms

CHANGES = "{load_module, emqx_release}, {load_module, demo_calls}"


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


# What the preflight tells


@pytest.fixture
def demo(vms: Vms, tmp_path: Path) -> Iterator[Demo]:
    with running_demo(vms, tmp_path) as found:
        yield found


@pytest.fixture
def make(demo: Demo, tmp_path: Path) -> Iterator[Callable[[], Context]]:
    """Makes requests for a hop that leaves out a module of the target; the tree is deployed."""
    node = Node(tmp_path / "root")
    made: list[Context] = []

    def context() -> Context:
        context = node.context("prepare")
        text = f'#{{from_version => "{FROM}", target_version => "{TARGET}", code_changes => [{CHANGES}], '
        release = {"version": TARGET, "code": base64.b64encode(facts(demo.target)).decode()}
        hop = {"file": "1.1.relup", "from": FROM, "target": TARGET, "text": text + "post_upgrade_callbacks => []}."}
        context.request.update(tarball={"name": "e.tar.gz", "release": release}, hops=[hop])
        context.result.from_vsn = FROM
        context._link = DistributionLink(demo.vm.connect())
        made.append(context)
        return context

    (tmp_path / "root/relup").mkdir()
    shutil.copytree(demo.target, tmp_path / "root/relup" / TARGET)
    yield context
    for each in made:
        each.close()


def test_a_prepared_host_is_warned_of_all_that_a_bare_one_is(demo: Demo, make: Callable[[], Context]) -> None:
    # What runs is on no disk.
    demo.load("demo_calls", "value() -> 1.")
    worker = demo.children()[0]
    demo.call("sys", "suspend", worker)
    both, prepared = make(), make()
    assert apply.preflight(both, None) == []
    told = both.result.warnings
    assert {each["err_type"] for each in told} == {"not_covered", "not_undoable", "not_verified"}
    apply.check(both)
    apply.check(prepared)
    assert both.result.warnings == prepared.result.warnings == told
    # What is told is what is so by then.
    demo.call("sys", "resume", worker)
    apply.check(prepared)
    assert prepared.result.warnings == [each for each in told if each["err_type"] != "not_verified"]


def test_a_hop_that_is_not_what_was_planned_is_a_problem_and_leaves_no_new_tree(make: Callable[[], Context]) -> None:
    context = make()
    value = {"term": base64.b64encode(encode({})).decode(), "sha256": "0" * 64}
    context.request["hop_value"] = value
    context.deployed = True
    with pytest.raises(Failure) as caught:
        apply.check(context)
    assert caught.value.err_type in apply.OF_THE_HOP
    assert context.result.problems == [caught.value]
    assert not Path(context.tree).exists()
