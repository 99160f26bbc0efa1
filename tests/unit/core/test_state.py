"""What `status` says of how the running VM and the next boot go together."""

import io
from pathlib import Path

import pytest

from relup_remote.core import context as context_module
from relup_remote.core.commands import _state_of_boot
from relup_remote.core.context import Context
from relup_remote.core.erlang.link import Link, Peer, WrapperLink
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import Site
from relup_remote.summary.report import troubles

BASE, TARGET = "5.10.4", "5.10.5"


def release(root: Path, version: str) -> None:
    (root / "releases" / version).mkdir(parents=True)
    (root / "releases" / "emqx_vars").write_text(f'REL_VSN="{version}"\n')
    (root / "releases" / version / "BUILD_INFO").write_text('erlang: "25.0"\n')


@pytest.mark.parametrize(
    ("runs_from", "reports", "marker", "tree", "state", "said"),
    [
        ("base", BASE, None, False, "idle", "idle"),
        ("base", None, None, False, "idle", "idle"),
        ("tree", TARGET, TARGET, True, "idle", f"booted into {TARGET}"),
        ("base", TARGET, TARGET, True, "hot-upgraded", "the next restart boots it from its own tree"),
        ("tree", TARGET, None, True, "restart-differs", f"there is no marker: the next restart boots {BASE}"),
        ("base", TARGET, None, True, "restart-differs", f"there is no marker: the next restart boots {BASE}"),
        ("base", BASE, TARGET, True, "restart-differs", f"the next restart boots {TARGET}"),
        ("base", BASE, TARGET, False, "unbootable", f"names {TARGET}"),
        ("tree", TARGET, "5.10.6", True, "unbootable", "names 5.10.6"),
    ],
)
def test_the_state(
    tmp_path: Path, runs_from: str, reports: str | None, marker: str | None, tree: bool, state: str, said: str
) -> None:
    base, deployed = tmp_path / "emqx", tmp_path / "emqx" / "relup" / TARGET
    release(base, BASE)
    if tree:
        release(deployed, TARGET)
    if marker is not None:
        (base / "relup").mkdir(exist_ok=True)
        (base / "relup" / "current").write_text(marker)
    running = str(base if runs_from == "base" else deployed)
    peer = Peer("emqx@h", "", "/none", list)
    node = RunningNode(1, 0, "emqx@h", running, str(base), str(base / "data"), peer)
    context = Context({}, Site(str(base), str(base / "data"), None, node), lambda _: None, io.BytesIO())
    context.result.running = reports
    context.result.facts.update(marker=marker, running_root=running, boot_root=context.site.booted_by_marker())
    found, text = _state_of_boot(context)
    assert found == state
    assert said in text


def test_why_a_link_is_not_the_better_one_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "/opt/emqx/etc/ssl_dist.conf: it can't be read"

    def by_wrapper(_: Site) -> Link:
        link = WrapperLink("/none")
        link.why = why
        return link

    monkeypatch.setattr(context_module, "connect_node", by_wrapper)
    context = Context({}, Site(str(tmp_path), str(tmp_path), None, None), lambda _: None, io.BytesIO())
    for _ in range(2):
        assert context.link.kind == "wrapper"
        context.leave_vm()
    (warning,) = context.result.warnings
    assert (warning["err_type"], warning["detail"]) == ("slow_link", {"reason": why})
    assert context.result.facts["link"] == "wrapper"
    row = {**context.result.to_json(), "host": "n1"}
    assert why in " ".join(troubles([row]).split())
