"""What we begin in a VM is taken back there, whenever and however its core ends."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core.agent import Agent, owner
from relup_remote.core.agent.owner import NAMES, Owner
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.link import DistributionLink, WrapperLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.kept import cache_folder
from relup_remote.core.protocol import Failure

from .test_link import script
from .vm import Vm, evaluate, eventually, running_vm

# Looks at a VM again and again, and says how far it is.
LOOKING = """
import sys
import threading
from relup_remote.core.agent import Agent
from relup_remote.core.kept import cache_folder
from relup_remote.core.erlang.distribution import Address, Connection
from relup_remote.core.erlang.link import DistributionLink
name, cookie, port, folder = sys.argv[1:]
while True:
    link = DistributionLink(Connection(name, cookie, Address("127.0.0.1", int(port))))
    agent = Agent(link, folder, cache_folder())
    print("came", flush=True)
    agent.owner.own("ours", "erlang", "garbage_collect", [])
    agent.verify(None, [], 30.0)
    print("looked", flush=True)
    agent.owner.settle("ours")
    agent.unload()
    link.close()
    print("gone", flush=True)
"""

# As the wrapper of a node does it: another VM has the node evaluate it.
WRAPPER = """#!/bin/sh
EXPRESSION="$2." exec erl -noshell -noinput -hidden -start_epmd false -name eval$$@127.0.0.1 -setcookie {cookie} -eval '
    {{ok, Tokens, _}} = erl_scan:string(os:getenv("EXPRESSION")),
    {{ok, Expressions}} = erl_parse:parse_exprs(Tokens),
    {{value, Value, _}} = rpc:call(list_to_atom("{name}"), erl_eval, exprs, [Expressions, []]),
    io:format("~p~n", [Value]),
    halt().'
"""


@pytest.fixture(scope="module")
def node(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    with running_vm(epmd, tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture
def watcher(node: Vm) -> Iterator[Connection]:
    with node.connected() as found:
        yield found


def ours(watcher: Connection) -> list[str]:
    """Whatever of us is in the VM, but for who looks."""
    names = [*watcher.call("erlang", "registered", []), *watcher.call("erlang", "loaded", [])]
    hidden = [name for name in watcher.call("erlang", "nodes", [Atom("hidden")]) if name != watcher.name]
    modules = [f"relup_agent_{number}_looks" for number in range(1, len(NAMES) + 1)]
    old = [name for name in modules if watcher.call("erlang", "check_old_code", [Atom(name)]) == "true"]
    return [str(name) for name in names if str(name).startswith("relup_")] + hidden + old


@pytest.mark.parametrize("seed", range(6))
def test_a_core_that_is_killed_leaves_nothing(node: Vm, watcher: Connection, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    command = [sys.executable, "-c", LOOKING, node.name, node.cookie, str(node.port), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as core:
        assert core.stdout is not None
        # Some line after the first look, which is the one that compiles; then somewhere between two.
        for _ in range(chance.randint(1, 7)):
            assert core.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            core.wait(chance.uniform(0, 0.4))
        core.send_signal(signal.SIGKILL)
    assert eventually(lambda: ours(watcher) == [])


def test_each_of_several_has_names_of_its_own_and_the_last_waits(
    node: Vm, watcher: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.core.agent.owner._PATIENCE", 0.1)
    link = DistributionLink(watcher)
    agents = [Agent(link, str(tmp_path), cache_folder()) for _ in NAMES]
    assert [str(each.owner.name) for each in agents] == list(NAMES)
    with pytest.raises(Failure) as caught:
        Owner(link, "relup_agent", [])
    assert caught.value.err_type == "too_many_cores"
    monkeypatch.setattr("relup_remote.core.agent.owner._PATIENCE", 30.0)
    # One of the others ends while we wait.
    ending = threading.Timer(1.0, agents[2].unload)
    ending.start()
    try:
        with node.connected() as own:
            last = Owner(DistributionLink(own), "relup_agent", [])
            assert str(last.name) == NAMES[2]
            last.leave()
    finally:
        ending.join()
    # Side by side, in modules of their own.
    assert [each.verify(None, [], 30.0)["suspended_count"] for each in agents[:2]] == [0, 0]
    assert len([name for name in ours(watcher) if name.endswith("_looks")]) == 2
    for each in agents:
        each.unload()
    assert ours(watcher) == []
    assert Owner(link, "relup_agent", []).name == NAMES[0]


def test_what_hangs_or_fails_keeps_nothing_else_from_going(
    node: Vm, watcher: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "_LIMIT", 0.2)
    with node.connected() as connection:
        agent = Agent(DistributionLink(connection), str(tmp_path), cache_folder())
        agent.owner.own("one", "ets", "no_such_function", [])
        agent.owner.own("two", "timer", "sleep", [Atom("infinity")])
        agent.owner.own("three", "application", "set_env", [Atom("kernel"), Atom("taken_back"), 1])
        agent.verify(None, [], 30.0)
    assert eventually(lambda: [name for name in ours(watcher) if name != NAMES[0]] == [])
    assert eventually(
        lambda: bool(watcher.call("application", "get_env", [Atom("kernel"), Atom("taken_back")])[1] == 1)
    )


def test_modules_outlast_their_core_as_long_as_what_runs_in_them(node: Vm, watcher: Connection, tmp_path: Path) -> None:
    runs = evaluate(watcher, "spawn(fun() -> register(runs, self()), receive stop -> ok end end).")
    with node.connected() as connection:
        agent = Agent(DistributionLink(connection), str(tmp_path), cache_folder())
        agent.verify(None, [], 30.0)
        agent.owner.outlast("runs")
    assert eventually(lambda: watcher.call("erlang", "nodes", [Atom("hidden")]) == [watcher.name])
    assert len(ours(watcher)) > 1
    watcher.call("erlang", "exit", [runs, Atom("kill")])
    assert eventually(lambda: ours(watcher) == [])


def test_by_the_wrapper_silence_is_the_end_and_a_call_is_none(
    node: Vm, watcher: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epmd: int
) -> None:
    monkeypatch.setattr(owner, "LEASE", 8.0)
    monkeypatch.setenv("ERL_EPMD_PORT", str(epmd))
    link = WrapperLink(script(tmp_path / "emqx", WRAPPER.format(cookie=node.cookie, name=node.name)))
    mine = Owner(link, "relup_agent", ["_x"])
    mine.own("key", "application", "set_env", [Atom("kernel"), Atom("silent"), 1])
    # Longer than it would wait; the call itself is a sign of life.
    link.call("timer", "sleep", [10_000])
    assert mine.is_there()
    assert eventually(lambda: not [name for name in ours(watcher) if name.startswith("relup_")])
    assert watcher.call("application", "get_env", [Atom("kernel"), Atom("silent")]) == (Atom("ok"), 1)
    assert not mine.is_there()
