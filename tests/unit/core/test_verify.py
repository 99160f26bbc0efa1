"""Verification of a node that is busy for a moment, and of one whose upgrade was looked at too early."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.release.wrapper import Vars, emqx_vars, folders
from relup_remote.core import history
from relup_remote.core.agent import Agent
from relup_remote.core.context import Context
from relup_remote.core.erlang.term import Atom
from relup_remote.core.protocol import Failure
from relup_remote.core.steps import verify
from relup_remote.postchecks import on_host

from .lent import Vms
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
