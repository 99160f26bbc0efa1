"""A look at a VM leaves nothing there: what the first of its kind has brought is all that there ever is."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relup_remote.core.agent import Agent
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom
from relup_remote.core.kept import cache_folder
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import find
from tests.points import Points

from .backups import Node
from .demo import Demo, running_demo
from .vm import evaluate, eventually

COUNTS = """
[erlang:system_info(atom_count), erlang:system_info(process_count), erlang:system_info(port_count),
 erlang:system_info(ets_count), length(code:all_loaded()), length(registered()), length(code:get_path()),
 length(persistent_term:get()), length([M || {M, _} <- code:all_loaded(), erlang:check_old_code(M)])].
"""

FEW = 5
"""Looks where not all points are tried: whatever each of them leaves shows by the second."""


@pytest.fixture(scope="module")
def demo(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running_demo(epmd, tmp_path_factory.mktemp("demo")) as found:
        found.agent.unload()
        yield found


def leaves_nothing(demo: Demo, look: Callable[[], object], times: int, points: Points) -> None:
    """Looks so often with all points, else a few times; after the first look nothing has become more."""
    with demo.vm.connected() as watcher:
        visitors = len(hidden(watcher))
        evaluate(watcher, COUNTS)
        look()
        before = settled(watcher, visitors)
        numbers = range(1, times if points.all else min(times, FEW))
        for number in points.named("looks at a VM").taken(numbers, kind=lambda number: number):
            with points.trying(number):
                look()
        points.tally.of = times - 1
        assert eventually(lambda: settled(watcher, visitors) == before)


def hidden(watcher: Connection) -> list[str]:
    return list(watcher.call("erlang", "nodes", [Atom("hidden")]))


def settled(watcher: Connection, visitors: int) -> list[int]:
    """The counts once who looked is gone."""
    assert eventually(lambda: len(hidden(watcher)) == visitors)
    return list(evaluate(watcher, COUNTS))


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
