"""Verification of a node that is busy for a moment, and of one whose upgrade was looked at too early."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.release.wrapper import Vars, emqx_vars, folders
from relup_remote.core import commands, history
from relup_remote.core.agent import Agent
from relup_remote.core.context import Context
from relup_remote.core.erlang.term import Atom
from relup_remote.core.protocol import Failure
from relup_remote.core.steps import verify
from relup_remote.postchecks import on_host

from .lent import Vms
from .others import as_root, mounted
from .test_history import BASE, Node, made

FILES = {
    "releases/emqx_vars": emqx_vars(BASE, "1", folders(Vars.RELATIVE)),
    f"releases/{BASE}/BUILD_INFO": 'erlang: "25.2"\n',
    f"releases/{BASE}/emqx.rel": f'{{release, {{"emqx", "{BASE}"}}, {{erts, "1"}}, []}}.\n',
    f"releases/{BASE}/start.boot": "",
    "bin/emqx": '#!/bin/sh\n[ "$1" = check_config ]\n',
    "etc/emqx.conf": "",
    "log/empty": "",
    "erts-1/bin/beam.smp": "",
}

SERVER = Atom("kernel_safe_sup")


@pytest.fixture
def node(tmp_path: Path, vms: Vms) -> Iterator[Node]:
    """A node that runs its base release, and is as it should be."""
    with vms.lent() as vm:
        node = made(tmp_path / "root", vm)
        for name, content in FILES.items():
            path = node.base / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (node.base / "bin" / "emqx").chmod(0o755)
        node.reports(BASE)
        yield node


def asking(node: Node, **options: float) -> Context:
    context = node.context("look", "verify")
    context.request.update(target=BASE, options=options)
    return context


def test_a_process_that_stands_still_for_a_moment_is_waited_for(node: Node) -> None:
    context = asking(node)
    assert verify.run(context)[0] == "ok"
    context.link.call("sys", "suspend", [SERVER])
    context.link.call("timer", "apply_after", [1500, Atom("sys"), Atom("resume"), [SERVER]])
    assert verify.run(context)[0] == "ok"
    context.close()


def test_a_later_good_look_amends_what_an_early_one_found(node: Node) -> None:
    upgrade = node.context("upgrade", "upgrade")
    upgrade.result.target = BASE
    history.begin(upgrade, {"tarball": "emqx.tar.gz"})
    upgrade.changed = True
    upgrade.request["options"] = {"look_for": 0}
    upgrade.link.call("sys", "suspend", [SERVER])
    with pytest.raises(Failure) as caught:
        verify.run(upgrade)
    assert (caught.value.err_type, caught.value.message) == (
        "verify_failed",
        "suspended: 1 process is suspended: kernel_safe_sup.",
    )
    history.finish(upgrade, "verify_failed", "verify", caught.value.message)
    row = node.row("upgrade")
    # The hop did all it had to: what looks at the history says so before and after.
    assert history.succeeded(row)
    found = on_host.attempt(str(node.base / "data"))
    assert found is not None
    assert (found["result"], found["stage"]) == ("verify_failed", "verify")
    context = asking(node, look_for=0)
    with pytest.raises(Failure):
        verify.run(context)
    assert node.row("upgrade")["result"] == "verify_failed"
    upgrade.link.call("sys", "resume", [SERVER])
    assert verify.run(context)[0] == "ok"
    row = node.row("upgrade")
    assert (row["status"], row["result"], row["stage"], row["mirrored"]) == ("finished", "success", None, False)
    assert row["extra"]["amended"] == {
        "result": "verify_failed",
        "stage": "verify",
        "details": caught.value.message,
        "run": "look",
    }
    context.close()
    upgrade.close()


def test_an_upgrade_that_failed_otherwise_is_not_amended(node: Node) -> None:
    upgrade = node.context("upgrade", "upgrade")
    upgrade.result.target = BASE
    history.begin(upgrade, {"tarball": "emqx.tar.gz"})
    upgrade.changed = True
    history.finish(upgrade, "apply_failed", "apply", "It failed.")
    context = asking(node)
    with pytest.raises(Failure) as caught:
        verify.run(context)
    assert "history" in caught.value.message
    history.amend(context, BASE)
    assert node.row("upgrade")["result"] == "apply_failed"
    context.close()
    upgrade.close()


def test_old_code_that_was_not_looked_at_is_said(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a node with very many processes."""
    asked = Agent.verify
    monkeypatch.setattr(Agent, "verify", lambda *words: dict(asked(*words), old_code_checked=False))
    context = asking(node)
    assert verify.run(context)[0] == "ok"
    assert [warning["err_type"] for warning in context.result.warnings].count("old_code_in_use") == 1


HANGS = "hangs() -> gen_server:call(kernel_safe_sup, {relup_remote, never}, 50)."
"""A call that its process does not answer in time."""


@as_root
def test_a_node_whose_disk_is_full_is_looked_at_all_the_same(node: Node) -> None:
    context = asking(node)
    ours = Path(context.site.ours)
    shutil.rmtree(ours, ignore_errors=True)
    with mounted(ours, "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs"):
        with contextlib.suppress(OSError), (ours / "taken").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(512))
        commands._verify(context)
        assert context.result.outcome == "verified"
        work = Path(context.work())
        context.close()
        assert not work.exists()
        assert [path.name for path in ours.iterdir()] == ["taken"]


def without_answer(node: Node, context: Context) -> None:
    """Have the processes that know the number of clients, and the cluster, not answer."""
    node.has("emqx_stats", "getstat/1", "getstat(_) -> hangs().", HANGS)
    node.has("emqx", "running_nodes/0", "running_nodes() -> hangs().", HANGS)
    context.link.call("sys", "suspend", [SERVER])


def answered(context: Context) -> None:
    context.link.call("sys", "resume", [SERVER])
    context.close()


def test_what_a_node_does_not_tell_keeps_no_verification_from_its_steps(node: Node) -> None:
    context = asking(node, look_for=0)
    without_answer(node, context)
    with pytest.raises(Failure) as caught:
        commands._verify(context)
    # The step was taken: it says what is wrong with the process.
    assert (caught.value.err_type, caught.value.stage) == ("verify_failed", "verify")
    assert "1 process is suspended" in caught.value.message
    facts = context.result.facts
    assert (facts["connections"], facts["nodes"], facts["cluster"]["running"]) == (None, None, None)
    told = [warning["message"] for warning in context.result.warnings if warning.get("err_type") == "call_timeout"]
    assert told == [
        "emqx:running_nodes/0 asks a process that does not answer.",
        "emqx_stats:getstat/1 asks a process that does not answer.",
    ]
    answered(context)


def test_what_a_node_does_not_tell_keeps_no_look_at_it_from_the_rest_and_no_node_from_going_back(node: Node) -> None:
    context = asking(node)
    context.result.facts["marker"] = None
    without_answer(node, context)
    node.has("emqx", "running_nodes/0,is_running/0", "running_nodes() -> hangs().", "is_running() -> hangs().", HANGS)
    commands._tell_status(context)
    facts = context.result.facts
    assert (facts["state"], facts["connections"], facts["nodes"], facts["ready"]) == ("idle", None, None, None)
    commands._count_connections(context)
    assert facts["connections_before"] is None
    assert len([each for each in context.result.warnings if each.get("err_type") == "call_timeout"]) == 3
    # What is to be begun wants to know all of it.
    with pytest.raises(Failure) as caught:
        commands._tell_of_node(context, commands._known)
    assert caught.value.err_type == "call_timeout"
    answered(context)
