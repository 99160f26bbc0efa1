"""What the history says of the VM that runs, and what becomes of rows that a dead core left."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core import history, recovery
from relup_remote.core.context import Context
from relup_remote.core.deadline import TimeIsUp
from relup_remote.core.erlang import term
from relup_remote.core.erlang.link import DistributionLink, Peer
from relup_remote.core.erlang.term import Atom
from relup_remote.core.journal import FILE
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import Site

from .lent import Vms
from .vm import Vm, eventually

BASE, TARGET = "5.10.4", "5.10.5"


class Node:
    """A root with or without a VM, and requests to it."""

    def __init__(self, base: Path, vm: Vm | None = None) -> None:
        self.base = base
        self.vm = vm
        self.events: list[dict[str, Any]] = []

    def context(self, run: str = "later", command: str = "status") -> Context:
        """A new request."""
        request = {"run": run, "command": command, "operator": "alice@desk", "node": {"root_dir": str(self.base)}}
        running = self._running() if self.vm else None
        site = Site(str(self.base), str(self.base / "data"), None, running)
        context = Context(request, site, self.events.append, io.BytesIO())
        if self.vm:
            context._link = DistributionLink(self.vm.connect())
            context.result.running = context.result.from_vsn = BASE
        site.make_ours()
        return context

    def _running(self) -> RunningNode:
        assert self.vm
        peer = Peer(self.vm.name, self.vm.cookie, "/none", list)
        root = str(self.base)
        return RunningNode(self.vm.process.pid, 0, self.vm.name, root, root, str(self.base / "data"), peer)

    def left_by_dead_core(self, run: str = "dead", changed: bool = False, rollback: bool = False) -> Context:
        """The request of a core that died: its row is begun."""
        context = self.context(run)
        context.result.target = BASE if rollback else TARGET
        history.begin(context, {"rollback": True} if rollback else {"tarball": "emqx.tar.gz", "force": False})
        if changed:
            context.note(changed=True, hop="a.relup")
        context.close()
        return context

    def outcome(self, result: str, run: str = "dead", undone: bool = False, **fields: Any) -> None:
        """What the VM writes down at the end of a hop."""
        written = {"result": Atom(result), "undone": undone, "run": run.encode(), "message": b"It failed.", **fields}
        content = term.encode({Atom(name): value for name, value in written.items()})
        (self.base / "data" / "relup_remote" / "outcome").write_bytes(content)

    def marked(self, version: str) -> None:
        """What the VM writes as the last act of a hop."""
        tree = self.base / "relup" / version / "releases"
        tree.mkdir(parents=True)
        (self.base / "relup" / "current").write_text(version)

    def recover(self, wait: bool = False) -> Context:
        """A later command looks."""
        context = self.context()
        recovery.finish_rows(context, wait=wait)
        context.close()
        return context

    def row(self, run: str = "dead") -> dict[str, Any]:
        """The row of a run."""
        return next(row for row in self.context().journal.rows() if row["run"] == run)

    def reports(self, version: str) -> None:
        """Make the VM report a version from now on, as a node does."""
        self.has("emqx_release", "version/0", f'version() -> "{version}".')

    def has(self, module: str, exports: str, *functions: str) -> None:
        """Load a module into the VM; each function is a line."""
        assert self.vm
        with self.vm.connected() as connection:
            link = DistributionLink(connection)
            forms = []
            for line in (f"-module({module}).", f"-export([{exports}]).", *functions):
                tokens = link.call("erl_scan", "string", [line])[1]
                forms.append(link.call("erl_parse", "parse_form", [tokens])[1])
            code = link.call("compile", "forms", [forms])[2]
            assert link.call("code", "load_binary", [Atom(module), "none", code])[0] == "module"


@pytest.fixture
def down(tmp_path: Path) -> Node:
    """A root from which nothing runs."""
    return made(tmp_path)


@pytest.fixture
def up(tmp_path: Path, vms: Vms) -> Iterator[Node]:
    """A root with a VM of its own."""
    with vms.lent() as vm:
        node = made(tmp_path / "root", vm)
        node.reports(BASE)
        yield node


def made(base: Path, vm: Vm | None = None) -> Node:
    (base / "data").mkdir(parents=True)
    return Node(base, vm)


def restart_inside(vm: Vm) -> None:
    """Restart what runs in the VM; its process stays."""
    with vm.connected() as connection:
        link = DistributionLink(connection)
        before = link.call("erlang", "whereis", [Atom("application_controller")])
        link.call("init", "restart", [])

    def is_another() -> bool:
        try:
            with vm.connected() as connection:
                found = DistributionLink(connection).call("erlang", "whereis", [Atom("application_controller")])
                return found not in (before, "undefined")
        except Exception:
            return False

    assert eventually(is_another)


def changed_and_failed(node: Node) -> None:
    """An attempt that left the VM between two releases."""
    context = node.left_by_dead_core(changed=True)
    assert context.row
    context.journal.finish(context.row, "apply_failed", "apply", "It failed.")


# ------------------------------------------------------------------------------------------------ the VM of an attempt


def test_a_row_is_of_the_vm_it_began_with(up: Node) -> None:
    changed_and_failed(up)
    context = up.context()
    assert history.half_done(context)
    assert history.vm_of(context) == up.row()["vm"]
    context.close()


def test_another_vm_is_told_apart_although_the_clock_was_set_back(up: Node, vms: Vms) -> None:
    changed_and_failed(up)
    context = up.context()
    # By the clock the row is younger than any VM.
    with context.journal._transaction() as connection:
        connection.execute("UPDATE attempts SET started_at = started_at + 1000000000")
    assert history.half_done(context)
    with vms.lent() as other:
        later = Node(up.base, other).context()
        assert history.last_change(later) is None
        assert not history.half_done(later)
        later.close()
    context.close()


def test_a_restart_within_the_process_makes_another_vm(up: Node) -> None:
    changed_and_failed(up)
    assert up.vm
    restart_inside(up.vm)
    context = up.context()
    assert context.site.node and context.site.node.os_pid == up.vm.process.pid
    assert history.last_change(context) is None
    context.close()


def test_a_row_without_a_vm_is_judged_by_the_clock(up: Node) -> None:
    changed_and_failed(up)
    context = up.context()
    for moment, is_its in ((context.view.started_at() + 1, True), (context.view.started_at() - 1000, False)):
        with context.journal._transaction() as connection:
            connection.execute("UPDATE attempts SET vm = NULL, started_at = ?", (moment,))
        assert history.half_done(context) is is_its
    context.close()


def test_a_vm_that_did_not_answer_is_not_asked_once_more(up: Node) -> None:
    """A rollback is there for nodes that hang: it must not wait for each of its questions."""
    context = up.context()
    context.result.running = None
    context.link.close()
    history.begin(context, {"rollback": True})
    assert up.row("later")["vm"] is None
    assert context.result.warnings == []


# ------------------------------------------------------------------------------------------------ rows of dead cores

Left = Callable[[Node], object]
Case = tuple[list[Left], tuple[str, str | None, bool]]


def begun(changed: bool = False, rollback: bool = False) -> Left:
    return lambda node: node.left_by_dead_core(changed=changed, rollback=rollback)


def outcome(result: str, run: str = "dead", undone: bool = False) -> Left:
    return lambda node: node.outcome(result, run, undone)


def marked(version: str) -> Left:
    return lambda node: node.marked(version)


def reporting(version: str) -> Left:
    return lambda node: node.reports(version)


def restarted(node: Node) -> None:
    assert node.vm
    restart_inside(node.vm)


DOWN: dict[str, Case] = {
    "nothing was changed": ([begun()], ("interrupted", None, False)),
    "the hop had begun": ([begun(changed=True)], ("hop_lost", "apply", True)),
    "the marker is there": ([begun(changed=True), marked(TARGET)], ("success", None, True)),
    "another marker is there": ([begun(changed=True), marked("5.10.3")], ("hop_lost", "apply", True)),
    "the outcome is a success": ([begun(changed=True), outcome("success")], ("success", None, True)),
    "the outcome is a failure": (
        [begun(changed=True), outcome("post_upgrade_failed")],
        ("post_upgrade_failed", "apply", True),
    ),
    "the outcome was taken back": (
        [begun(changed=True), outcome("failed_to_load", undone=True)],
        ("failed_to_load", "apply", False),
    ),
    "the outcome is a word that nobody knows": (
        [begun(changed=True), outcome("nonsense")],
        ("internal_error", "apply", True),
    ),
    "the outcome is of another run": (
        [begun(changed=True), outcome("success", run="other")],
        ("hop_lost", "apply", True),
    ),
    "a rollback had not begun": ([begun(rollback=True)], ("interrupted", None, False)),
    "a rollback had begun": ([begun(rollback=True, changed=True)], ("interrupted", "rollback", True)),
}


@pytest.mark.parametrize("case", DOWN)
def test_rows_of_dead_cores_with_the_node_down(down: Node, case: str) -> None:
    steps, wanted = DOWN[case]
    for step in steps:
        step(down)
    context = down.recover()
    row = down.row()
    assert (row["result"], row["stage"], row["extra"]["changed"]) == wanted
    assert row["status"] == "finished"
    (recovered,) = context.result.facts["recovered"]
    assert (recovered["run"], recovered["operator"], recovered["result"]) == ("dead", "alice@desk", wanted[0])
    assert recovered["message"] in [event["message"] for event in down.events if event["event"] == "note"]
    assert not Path(context.site.outcome).exists()
    # And that was that.
    assert "recovered" not in down.recover().result.facts


def test_a_row_ends_when_its_hop_did(down: Node) -> None:
    down.left_by_dead_core(changed=True)
    down.outcome("success")
    written = Path(down.context().site.outcome).stat().st_mtime
    down.recover()
    assert down.row()["finished_at"] == int(written * 1000)


def test_several_rows_each_by_its_own(down: Node) -> None:
    down.left_by_dead_core("first", changed=True)
    down.left_by_dead_core("second")
    down.outcome("success", run="first")
    context = down.recover()
    assert [each["result"] for each in context.result.facts["recovered"]] == ["success", "interrupted"]
    assert (down.row("first")["result"], down.row("second")["result"]) == ("success", "interrupted")


UP: dict[str, Case] = {
    "the hop had begun": ([begun(changed=True)], ("hop_lost", "apply", True)),
    "the marker is there, and the version": (
        [begun(changed=True), marked(TARGET), reporting(TARGET)],
        ("success", None, True),
    ),
    "the marker is there, but not the version": (
        [begun(changed=True), marked(TARGET)],
        ("hop_lost", "apply", True),
    ),
    "the VM restarted by its outcome": (
        [begun(changed=True), outcome("apply_failed"), restarted],
        ("apply_failed", "apply", True),
    ),
    "a rollback, before the restart": (
        [begun(rollback=True, changed=True)],
        ("interrupted", "rollback", True),
    ),
    "a rollback, after the restart": (
        [begun(rollback=True, changed=True), restarted, reporting(BASE)],
        ("success", None, True),
    ),
}


@pytest.mark.parametrize("case", UP)
def test_rows_of_dead_cores_with_the_node_up(up: Node, case: str) -> None:
    steps, wanted = UP[case]
    for step in steps:
        step(up)
    up.recover()
    row = up.row()
    assert (row["result"], row["stage"], row["extra"]["changed"]) == wanted
    context = up.context()
    # A VM that has restarted is a whole release again.
    assert history.half_done(context) is (restarted not in steps and wanted[0] != "success")
    context.close()


def test_states_that_an_attempt_has_changed_are_known_to_the_next(up: Node) -> None:
    up.left_by_dead_core(changed=True)
    up.outcome("code_change_failed", updated={Atom("emqx_pool"): [], Atom("emqx_sup"): [b"<0.7.0>"]})
    up.recover()
    context = up.context()
    context.request["tarball"] = {"release": {"version": TARGET}}
    recovery.note_unfinished(context)
    assert context.updated == {"emqx_pool": [], "emqx_sup": ["<0.7.0>"]}
    assert not context.unfinished
    context.close()
    # Of another VM nothing is known.
    assert up.vm
    restart_inside(up.vm)
    context = up.context()
    context.request["tarball"] = {"release": {"version": TARGET}}
    recovery.note_unfinished(context)
    assert context.updated == {}
    context.close()


def test_where_the_vm_is_stands_in_the_details(up: Node, down: Node) -> None:
    up.left_by_dead_core(changed=True)
    up.recover()
    assert up.row()["details"] == f"The VM has not been restarted since; it reports {BASE}."
    up.left_by_dead_core("again", changed=True)
    assert up.vm
    restart_inside(up.vm)
    up.recover()
    assert up.row("again")["details"] == f"The VM has started since; it runs from {up.base}."
    down.left_by_dead_core(changed=True)
    down.recover()
    assert down.row()["details"] == f"No node runs; the next boot is from {down.base}."


def test_a_restart_that_a_hop_asked_for_is_not_cut_when_the_time_is_over(
    down: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    down.left_by_dead_core(changed=True)
    down.outcome("apply_failed", restart=Atom("true"))
    context, done = down.context(), []

    def restart(_context: Context) -> None:
        # The alarm rings in the middle of it.
        context.deadline._ring(0, None)
        done.append("restarted")

    monkeypatch.setattr(recovery, "hop_under_way", lambda _context: True)
    monkeypatch.setattr(recovery, "follow", lambda _context: {"restart": True})
    monkeypatch.setattr(recovery, "restart", restart)
    with pytest.raises(TimeIsUp):
        recovery.finish_rows(context, wait=True)
    context.close()
    assert done == ["restarted"]
    assert down.row()["result"] == "apply_failed"


# ------------------------------------------------------------------------------------------------ what can't be written


def test_a_row_that_can_not_be_ended_stays_open_with_a_warning(down: Node) -> None:
    context = down.left_by_dead_core()
    whole = Path(context.journal.path).read_bytes()
    Path(context.journal.path).write_bytes(b"x" * 5000)
    history.finish(context, "success")
    (warning,) = context.result.warnings
    assert "next command" in warning["message"]
    Path(context.journal.path).write_bytes(whole)
    down.outcome("success")
    down.recover()
    assert down.row()["result"] == "success"


def test_a_history_that_can_not_be_read_is_a_warning_for_who_looks(down: Node) -> None:
    context = down.context()
    Path(context.journal.path).write_bytes(b"x" * 5000)
    assert history.attempts(context) == []
    assert history.last_change(context) is None
    (warning,) = context.result.warnings
    assert str(down.base / "data" / "relup_remote" / FILE) in warning["message"]
    with pytest.raises(Failure) as caught:
        recovery.finish_rows(context, wait=True)
    assert caught.value.err_type == "journal_unusable"


def test_facts_and_rows_are_json(down: Node) -> None:
    down.left_by_dead_core()
    context = down.recover()
    context.result.facts["history"] = history.merged(context)
    assert json.loads(json.dumps(context.result.to_json()))["facts"]["recovered"]
    assert context.result.facts["clearable"] == {"journal": 1, "plugin": None}
    assert any("could not be read" in warning["message"] for warning in context.result.warnings)
