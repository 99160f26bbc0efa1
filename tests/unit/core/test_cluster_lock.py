"""One operator at a time in a cluster: what a lock does to each command, and whose locks are seen in a cluster."""

import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from relup_remote.core import cluster_lock, commands
from relup_remote.core.cluster_lock import FILE
from relup_remote.core.context import Context
from relup_remote.core.erlang.link import DistributionLink, Peer
from relup_remote.core.erlang.term import Atom
from relup_remote.core.lock import Lock
from relup_remote.core.protocol import Failure, Result
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import OURS, Site
from tests.unit.erlc import compile_all

from .others import NOBODY, as_root
from .vm import Vm, running_vm

EMQX = """
-module(emqx).
-export([data_dir/0, running_nodes/0]).
data_dir() -> {ok, Folder} = application:get_env(emqx, data_dir), Folder.
running_nodes() -> [node() | nodes()] ++ [Node || Node <- application:get_env(emqx, others, [])].
"""

ROUNDS = 25
"""How often two cores begin at the same moment."""

BOB = {"run": "run-b", "operator": "bob@desk"}


class Host:
    """A root, with a VM or without one, and requests to it."""

    def __init__(self, base: Path, vm: Vm | None = None) -> None:
        self.base = base
        self.vm = vm
        self.folder = base / "data" / OURS
        self.file = self.folder / FILE
        self.notes: list[str] = []
        (base / "data").mkdir(parents=True)

    def __str__(self) -> str:
        return self.vm.name if self.vm else ""

    def request(self, command: str, run: str = "run-a", operator: str = "alice@desk", **options: Any) -> Result:
        """What a request comes to. Raises `Failure`."""
        context = self.context(command, run, operator, **options)
        try:
            commands.run(context)
        finally:
            context.close()
        return context.result

    def context(self, command: str, run: str, operator: str, **options: Any) -> Context:
        request = {"run": run, "command": command, "operator": operator, "options": options, "node": {}}
        base, data = str(self.base), str(self.base / "data")
        node = None
        if self.vm:
            peer = Peer(self.vm.name, self.vm.cookie, "/none", lambda: [("127.0.0.1", self.vm.port)] if self.vm else [])
            node = RunningNode(self.vm.process.pid, 0, self.vm.name, base, base, data, peer)
        context = Context(request, Site(base, data, None, node), self._hear, io.BytesIO())
        if self.vm:
            context._link = DistributionLink(self.vm.connect())
        return context

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "note":
            self.notes.append(event["message"])

    def call(self, module: str, function: str, *args: Any) -> Any:
        """Calls a function of the host's VM."""
        assert self.vm
        with self.vm.connected() as connection:
            return connection.call(module, function, list(args))

    @property
    def held(self) -> dict[str, Any] | None:
        """The lock as its file says."""
        return dict(json.loads(self.file.read_text())) if self.file.exists() else None


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host whose node is down."""
    return Host(tmp_path / "host")


def refused(host: Host, *words: str, **options: Any) -> Failure:
    """The failure of a request."""
    with pytest.raises(Failure) as caught:
        host.request(*words, **options)
    return caught.value


# ------------------------------------------------------------------------------------------------- on one host


def test_a_lock_says_who_since_when_and_why(host: Host) -> None:
    before = time.time() * 1000
    result = host.request("lock", why="upgrade to 5.10.5")
    held = host.held
    assert held is not None
    assert result.outcome == "locked"
    assert result.facts["cluster_lock"] == held
    assert before - 1 <= held.pop("since") <= time.time() * 1000 + 1
    assert held == {"run": "run-a", "operator": "alice@desk", "why": "upgrade to 5.10.5", "by_hand": False}
    assert host.file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in host.folder.iterdir()] == [FILE]


def test_a_lock_outlives_its_request_and_is_taken_once(host: Host) -> None:
    host.request("lock", why="first")
    held = host.held
    again = host.request("lock", why="second")
    assert (again.outcome, again.facts["cluster_lock"], host.held) == ("unchanged", held, held)


def test_the_lock_of_another_run_is_told_in_full(host: Host) -> None:
    host.request("lock", **BOB, why="upgrade to 5.10.5.")
    failure = refused(host, "lock")
    assert failure.err_type == "cluster_locked"
    assert failure.detail == {**(host.held or {}), "node": None}
    said = r"The cluster is locked by bob@desk since 20\d\d-.* UTC \(run run-b\): upgrade to 5\.10\.5\."
    assert re.fullmatch(said, failure.message)
    assert "inv unlock --force" in failure.hint
    assert "--resume" in failure.hint


def test_a_lock_by_hand_is_called_no_run(host: Host) -> None:
    host.request("lock", by_hand=True)
    for command in ("lock", "logs-clear"):
        own = refused(host, command, "run-c")
        assert "(with `inv lock`)" in own.message
        assert own.hint == "You locked the cluster by hand with `inv lock`. `inv unlock` removes the lock."
    others = refused(host, "lock", **BOB)
    assert "--resume" not in others.hint
    assert "`inv unlock --force`" in others.hint
    host.request("unlock")
    host.request("lock")
    assert "run of yours" in refused(host, "lock", "run-c").hint


@pytest.mark.parametrize("command", ["stage", "prepare", "upgrade", "cleanup", "rollback", "logs-clear"])
def test_what_changes_a_host_is_refused_while_another_run_holds_the_lock(host: Host, command: str) -> None:
    host.request("lock", **BOB)
    context = host.context(command, "run-a", "bob@desk")
    context.request["tarball"] = {
        "name": "emqx.tar.gz",
        "bytes": 1,
        "sha256": "0" * 64,
        "release": {"version": "5.10.5"},
        "sidecar": {"status": "ok", "text": "0" * 64},
    }
    with pytest.raises(Failure) as caught:
        commands.run(context)
    assert (caught.value.err_type, caught.value.changed, context.changed) == ("cluster_locked", False, False)
    assert sorted(path.name for path in host.folder.iterdir()) == [FILE, "lock"]


def test_what_changes_a_host_goes_on_under_its_own_lock_and_without_one(host: Host) -> None:
    assert host.request("logs-clear").outcome == "unchanged"
    host.request("lock")
    assert host.request("logs-clear").outcome == "unchanged"
    assert host.held is not None


@pytest.mark.parametrize(
    ("run", "operator", "options"),
    [
        ("run-a", "alice@desk", {}),
        ("run-a", "carol@desk", {}),
        ("run-c", "alice@desk", {"unlock_by": "operator"}),
        ("run-c", "carol@desk", {"lock_force": True}),
    ],
)
def test_who_may_take_a_lock_off(host: Host, run: str, operator: str, options: dict[str, Any]) -> None:
    host.request("lock")
    result = host.request("unlock", run, operator, **options)
    assert (result.outcome, result.facts, host.held) == ("unlocked", {"cluster_lock": None}, None)
    assert host.request("unlock", run, operator, **options).outcome == "unchanged"


@pytest.mark.parametrize("options", [{}, {"unlock_by": "operator"}])
def test_nobody_else_takes_a_lock_off(host: Host, options: dict[str, Any]) -> None:
    host.request("lock")
    held = host.held
    context = host.context("unlock", "run-b", "bob@desk", **options)
    with pytest.raises(Failure, match="cluster_locked"):
        commands.run(context)
    assert context.result.facts["cluster_lock"] == host.held == held


def test_a_lock_is_taken_off_by_nothing_else(host: Host) -> None:
    host.request("lock")
    assert refused(host, "unlock", unlock_by="why").err_type == "bad_request"


def test_the_same_operator_in_another_run_takes_no_runs_lock_off(host: Host) -> None:
    host.request("lock")
    assert refused(host, "unlock", "run-c").err_type == "cluster_locked"


def test_force_tells_whose_lock_it_takes_off(host: Host) -> None:
    host.request("lock", **BOB)
    host.request("unlock", lock_force=True)
    assert host.notes == ["The lock of bob@desk (run run-b) is removed."]
    host.request("lock")
    host.request("unlock", lock_force=True)
    assert host.notes[1:] == []


def test_a_reason_may_be_long(host: Host) -> None:
    host.request("lock", why="\N{SNOWMAN}" * 100_000)
    assert (host.held or {})["why"] == "\N{SNOWMAN}" * 1000
    assert host.request("unlock").outcome == "unlocked"


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b'{"run": 1}', b"[" * 100_000])
def test_a_lock_that_can_not_be_understood_is_a_lock(host: Host, content: bytes) -> None:
    host.request("lock")
    host.file.write_bytes(content)
    failure = refused(host, "lock")
    assert failure.message == "The cluster is locked by someone unknown since unknown (run unknown)."
    assert host.request("unlock", lock_force=True).outcome == "unlocked"


@as_root
@pytest.mark.parametrize("plant", ["file of another", "link"])
def test_what_another_user_planted_is_not_relied_on(host: Host, plant: str, tmp_path: Path) -> None:
    host.request("lock")
    if plant == "link":
        elsewhere = host.file.rename(tmp_path / "elsewhere")
        host.file.symlink_to(elsewhere)
    else:
        os.chown(host.file, NOBODY, NOBODY)
    assert refused(host, "lock").err_type == "untrusted_file"


def test_a_command_at_work_keeps_the_lock_from_others_but_not_from_its_own_run(host: Host) -> None:
    host.folder.mkdir(mode=0o700)
    with Lock(str(host.folder), {**BOB, "command": "stage"}):
        failure = refused(host, "lock")
        assert failure.err_type == "upgrade_in_progress"
        assert failure.message.startswith("stage of bob@desk works on this node since 20")
        assert host.held is None
        assert host.request("lock", **BOB).outcome == "locked"


def test_the_lock_of_a_run_that_is_at_work_here_is_left_to_it(host: Host) -> None:
    """The operator may have come from elsewhere, and not know of the run."""
    host.request("lock", **BOB)
    with Lock(str(host.folder), {**BOB, "command": "upgrade"}):
        assert refused(host, "unlock", "run-c", "bob@desk", unlock_by="operator").err_type == "upgrade_in_progress"
        assert host.held is not None
        assert host.request("unlock", **BOB).outcome == "unlocked"
        host.request("lock", **BOB)
        forced = {"unlock_by": "operator", "lock_force": True}
        assert host.request("unlock", "run-c", "bob@desk", **forced).outcome == "unlocked"


def test_two_at_once_on_one_host(host: Host) -> None:
    host.folder.mkdir(mode=0o700)
    for _ in range(ROUNDS):
        assert _at_once([(host, "run-a"), (host, "run-b")]) == 1
        held = host.held
        assert held is not None
        assert host.request("unlock", held["run"]).outcome == "unlocked"


# ------------------------------------------------------------------------------------------------- in a cluster


@pytest.fixture(scope="module")
def cluster(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a node each, connected; the second tells its data folder relative to where its VM works."""
    code = tmp_path_factory.mktemp("code")
    (code / "emqx.erl").write_text(EMQX)
    compile_all([code / "emqx.erl"])
    with contextlib.ExitStack() as stack:
        hosts = []
        for name in ("first", "second"):
            folder = tmp_path_factory.mktemp(name)
            host = Host(folder / "root", stack.enter_context(running_vm(epmd, folder, "-pa", str(code))))
            host.call("application", "set_env", Atom("emqx"), Atom("data_dir"), str(host.base / "data"))
            hosts.append(host)
        first, second = hosts
        assert first.vm
        assert second.vm
        second.call("file", "set_cwd", str(second.base))
        second.call("application", "set_env", Atom("emqx"), Atom("data_dir"), "data")
        first.call("erlang", "set_cookie", Atom(second.vm.name), Atom(second.vm.cookie))
        assert first.call("net_kernel", "connect_node", Atom(second.vm.name)) == "true"
        yield first, second


@pytest.fixture
def pair(cluster: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """The cluster, without locks before and after."""
    yield cluster
    for host in cluster:
        host.file.unlink(missing_ok=True)


def test_the_lock_on_another_nodes_host_is_seen(pair: tuple[Host, Host]) -> None:
    for here, there in (pair, pair[::-1]):
        there.request("lock", **BOB, why="mine")
        failure = refused(here, "lock")
        assert failure.err_type == "cluster_locked"
        assert failure.detail == {**(there.held or {}), "node": str(there)}
        assert f"(run run-b on {there}): mine." in failure.message
        assert here.held is None
        assert here.request("lock", **BOB).outcome == "locked"
        assert refused(here, "lock").detail["node"] == str(here)
        for host in pair:
            host.request("unlock", **BOB)


def test_a_run_that_is_taken_up_again_keeps_its_lock_but_does_not_go_on_beside_anothers(
    pair: tuple[Host, Host],
) -> None:
    here, there = pair
    here.request("lock")
    there.file.parent.mkdir(mode=0o700, exist_ok=True)
    there.file.write_text(json.dumps({**BOB, "since": 0, "why": ""}))
    assert refused(here, "lock").detail["node"] == str(there)
    assert (here.held or {})["run"] == "run-a"


def test_without_a_word_of_a_running_node_nothing_is_locked(pair: tuple[Host, Host]) -> None:
    here, _ = pair
    here.call("application", "set_env", Atom("emqx"), Atom("others"), [Atom("gone@127.0.0.1")])
    try:
        failure = refused(here, "lock")
        assert (failure.err_type, failure.detail) == ("call_failed", {"node": "gone@127.0.0.1"})
        assert here.held is None
    finally:
        here.call("application", "unset_env", Atom("emqx"), Atom("others"))


def test_without_a_word_of_which_nodes_run_nothing_is_locked(pair: tuple[Host, Host]) -> None:
    here, there = pair
    there.request("lock", **BOB)
    here.call("application", "set_env", Atom("emqx"), Atom("others"), Atom("unknown"))
    try:
        assert refused(here, "lock").err_type == "call_failed"
        assert here.held is None
        assert here.request("lock", lock_blind=True).outcome == "locked"
    finally:
        here.call("application", "unset_env", Atom("emqx"), Atom("others"))


def test_who_has_to_mend_a_node_that_does_not_answer_may_lock_all_the_same(pair: tuple[Host, Host]) -> None:
    here, there = pair
    there.call("application", "set_env", Atom("emqx"), Atom("others"), [Atom("gone@127.0.0.1")])
    try:
        assert there.request("lock", lock_blind=True).outcome == "locked"
        there.request("unlock")
        # What can be seen counts.
        here.request("lock", **BOB)
        assert refused(there, "lock", lock_blind=True).detail["node"] == str(here)
    finally:
        there.call("application", "unset_env", Atom("emqx"), Atom("others"))
    here.request("unlock", **BOB)
    context = here.context("lock", "run-a", "alice@desk", lock_blind=True)
    context.leave_vm()
    assert context.site.node is not None
    context.site.node.peer.listening = list
    commands.run(context)
    assert (context.result.outcome, (here.held or {})["run"]) == ("locked", "run-a")


def test_a_lock_is_taken_off_a_host_whose_node_does_not_answer(pair: tuple[Host, Host]) -> None:
    here, _ = pair
    here.request("lock")
    context = here.context("unlock", "run-a", "alice@desk")
    context.leave_vm()
    assert context.site.node is not None
    context.site.node.peer.listening = list
    commands.run(context)
    assert (context.result.outcome, here.held) == ("unlocked", None)


def test_two_who_lock_half_a_cluster_each_at_once_never_both_succeed(pair: tuple[Host, Host]) -> None:
    here, there = pair
    for _ in range(ROUNDS):
        won = _at_once([(here, "run-a"), (there, "run-b")])
        assert won <= 1
        # Who failed has given its own lock back.
        assert sum(host.held is not None for host in pair) == won
        for host, run in ((here, "run-a"), (there, "run-b")):
            host.request("unlock", run)


def _at_once(requests: list[tuple[Host, str]]) -> int:
    """How many of the runs get the locks that they ask for at the same moment."""
    start = Barrier(len(requests))

    def lock(host: Host, run: str) -> bool:
        context = host.context("lock", run, "alice@desk")
        start.wait(30)
        try:
            return cluster_lock.take(context)
        except Failure as failure:
            assert failure.err_type == "cluster_locked"
            return False
        finally:
            context.close()

    with ThreadPoolExecutor(len(requests)) as pool:
        return sum(pool.map(lock, *zip(*requests, strict=True)))
