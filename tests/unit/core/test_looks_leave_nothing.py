"""A look at a VM leaves nothing there: what the first of its kind has brought is all that there ever is."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from relup_remote.core.agent import _BACKUP, _HOP, _LOOKS, Agent, bundle
from relup_remote.core.agent.owner import NAMES as OWNERS
from relup_remote.core.erlang.distribution import NAMES as NODES
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.kept import cache_folder
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import find
from tests.points import Points

from .backups import Node
from .demo import Demo, running_demo
from .lent import Vms
from .vm import READY_SECONDS, evaluate, eventually

HELD = """
Atoms = fun All(N, Seen) ->
            try binary_to_term(<<131, 75, N:24>>) of Atom -> All(N + 1, [Atom | Seen]) catch error:badarg -> Seen end
        end,
Is = fun(Pid) ->
         case process_info(Pid, registered_name) of
             {registered_name, Name} -> Name;
             _ -> proc_lib:translate_initial_call(Pid)
         end
     end,
Found = [{atom, Atoms(0, [])}, {process, [Is(Pid) || Pid <- processes()]},
         {port, [erlang:port_info(Port, name) || Port <- erlang:ports()]},
         {table, [ets:info(Table, name) || Table <- ets:all()]},
         {module, [Mod || {Mod, _} <- code:all_loaded()]},
         {registered, registered()}, {path, code:get_path()}, {persistent, [Key || {Key, _} <- persistent_term:get()]},
         {old, [Mod || {Mod, _} <- code:all_loaded(), erlang:check_old_code(Mod)]}],
true = length(element(2, hd(Found))) >= erlang:system_info(atom_count),
[{Kind, [unicode:characters_to_binary(io_lib:format("~0tp", [Each])) || Each <- Those]} || {Kind, Those} <- Found].
"""
"""All that a VM holds, by kind, each in words. Atoms are read by their numbers, which a VM gives out from 0.

Of a process only what does not change counts: one that now hibernates is not another one.
"""

ENDINGS = (_LOOKS, _HOP, _BACKUP, f"{_HOP}_version")
POOL = [
    *OWNERS,
    *(f"{bundle.PREFIX}_{number}{ending}" for number in range(1, len(OWNERS) + 1) for ending in ENDINGS),
]
"""The few names beside those of nodes by which a look may come: a second one that comes too early takes the next."""

FEW = 5
"""Looks where not all points are tried: whatever each of them leaves shows by the second."""


@pytest.fixture(scope="module")
def demo(vms: Vms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(vms, tmp_path_factory.mktemp("demo")) as found:
        found.agent.unload()
        yield found


def leaves_nothing(
    demo: Demo, look: Callable[[], object], times: int, points: Points, seconds: float = READY_SECONDS
) -> None:
    """Looks so often with all points, else a few times; after the first look nothing has been added.

    What a look has brought may take so many ``seconds`` to go.
    """
    with demo.vm.connected() as watcher:
        visitors = len(hidden(watcher))
        for name in [*POOL, *(f"{name}@{demo.vm.name.partition('@')[2]}" for name in NODES)]:
            watcher.call("erlang", "list_to_atom", [name])
        held(watcher)
        look()
        before = settled(watcher, visitors)
        numbers = range(1, times if points.all else min(times, FEW))
        for number in points.named("looks at a VM").taken(numbers, kind=lambda number: number):
            with points.trying(number):
                look()
        points.tally.of = times - 1
        more: dict[str, Counter[str]] = {}

        def holds_no_more() -> bool:
            after = settled(watcher, visitors)
            more.update((kind, after[kind] - before[kind]) for kind in after)
            return not any(more.values())

        assert eventually(holds_no_more, seconds), {kind: dict(names) for kind, names in more.items() if names}


def hidden(watcher: Connection) -> list[str]:
    return list(watcher.call("erlang", "nodes", [Atom("hidden")]))


def held(watcher: Connection) -> dict[str, "Counter[str]"]:
    """How often each thing is there, by its kind."""
    return {kind: Counter(bytes(name).decode() for name in names) for kind, names in evaluate(watcher, HELD)}


def settled(watcher: Connection, visitors: int) -> dict[str, "Counter[str]"]:
    """What the VM holds once who looked is gone."""
    assert eventually(lambda: len(hidden(watcher)) == visitors)
    return held(watcher)


def test_what_is_added_is_named(demo: Demo, points: Points) -> None:
    # Without a point nothing is added, so this one is tried also where the time for points is over.
    points = replace(points, until=None)
    with pytest.raises(AssertionError, match="left_by_a_look") as failed:
        # An atom never goes, so there is nothing to wait for.
        leaves_nothing(demo, added := Added(demo), 2, points, seconds=0)
    assert added.times == 2
    told = str(failed.value)
    assert ("'atom'" in told, "'registered'" in told, "'table'" in told) == (True, False, False)


class Added:
    """A look that leaves an atom, another one each time."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.times = 0

    def __call__(self) -> None:
        self.times += 1
        self.demo.call("erlang", "list_to_atom", f"left_by_a_look_{self.times}")


@pytest.mark.parametrize(("command", "times"), [("status", 500), ("backups", 500), ("verify", 500)])
def test_looks_of_a_core(demo: Demo, tmp_path: Path, points: Points, command: str, times: int) -> None:
    node = Node(tmp_path, find(None, demo.vm.name))

    def look() -> None:
        try:
            node.run(command)
        except Failure as failure:
            # It is no broker, so not all is as it should be.
            assert failure.err_type in ("verify_failed", "node_not_running")

    leaves_nothing(demo, look, times, points)


def test_plans(demo: Demo, tmp_path: Path, points: Points) -> None:
    """A hop is evaluated and gone through, with a supervisor asked and a copy of a module loaded."""

    def look() -> None:
        with demo.vm.connected() as connection:
            agent = Agent(DistributionLink(connection), str(tmp_path), cache_folder())
            demo.agent = agent
            request = demo.request("{load_module, emqx_release}, {update, demo_worker, {advanced, node()}}")
            assert agent.preflight(request, 60.0)["problems"] == []
            agent.unload()

    leaves_nothing(demo, look, 500, points)
