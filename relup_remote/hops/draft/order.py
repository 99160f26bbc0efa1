"""The order of a hop's instructions: each after those that it needs, and as few changes of kind as that leaves.

OTP orders the modules of an upgrade in the same way: what a module depends on is loaded before it, and modules that
depend on each other are replaced together (`systools`, appup(4)). Here a run of loads is one swap, so that cycles are
side by side if they are next to each other; and what can't be taken back comes as late as it may.
"""

from collections.abc import Collection, Hashable, Iterator, Mapping
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import NamedTuple, TypeVar

Node = TypeVar("Node", bound=Hashable)


class Kind(IntEnum):
    """What an instruction does, in the order in which kinds are preferred."""

    LOAD = 0
    UPDATE = 1
    RESTART = 2
    RELEASE = 3
    """The load of the module that says which release the node is of."""


class Step(NamedTuple):
    """An instruction to be: for a module, or, where ``module`` is empty, for a whole application."""

    kind: Kind
    app: str
    module: str = ""

    @property
    def name(self) -> str:
        """The module or application that the instruction names."""
        return self.module or self.app


def ordered(needs: Mapping[Step, Collection[Step]]) -> list[list[Step]]:
    """All steps, each after those that it ``needs``, in the order in which to take them.

    Steps that need each other are in one list, sorted; the others are alone. The next to come is always one of the kind
    of the last, or else of the lowest kind there is; of these the first by name. ``needs`` may name steps that are not
    among its keys: they don't count.
    """
    cycles = [sorted(cycle) for cycle in cycles_of(needs)]
    place = {step: index for index, cycle in enumerate(cycles) for step in cycle}
    waits_for = [
        {place[needed] for step in cycle for needed in needs[step] if needed in place} - {index}
        for index, cycle in enumerate(cycles)
    ]
    return [cycles[index] for index in _by_kind([(cycle[-1].kind, cycle[0]) for cycle in cycles], waits_for)]


def _by_kind(keys: list[tuple[Kind, Step]], waits_for: list[set[int]]) -> Iterator[int]:
    """Indexes of ``keys``, each after those it waits for; the next is of the last one's kind if one of these can be."""
    followers: list[list[int]] = [[] for _ in keys]
    for index, others in enumerate(waits_for):
        for other in others:
            followers[other].append(index)
    missing = [len(others) for others in waits_for]
    ready: dict[Kind, list[tuple[Step, int]]] = {kind: [] for kind in Kind}
    for index, (kind, step) in enumerate(keys):
        if not missing[index]:
            ready[kind].append((step, index))
    for heap in ready.values():
        heapify(heap)
    current = Kind.LOAD
    while any(ready.values()):
        current = current if ready[current] else next(kind for kind in Kind if ready[kind])
        _, index = heappop(ready[current])
        yield index
        for follower in followers[index]:
            missing[follower] -= 1
            if not missing[follower]:
                kind, step = keys[follower]
                heappush(ready[kind], (step, follower))


def cycles_of(graph: Mapping[Node, Collection[Node]]) -> list[list[Node]]:
    """The strongly connected components of a graph, each after those that its nodes point to (Tarjan's algorithm).

    A node on no cycle is one alone. Nodes that are not among the keys don't count. A graph may be of any depth.
    """
    found: list[list[Node]] = []
    done: set[Node] = set()
    number: dict[Node, int] = {}
    lowest: dict[Node, int] = {}
    trail: list[Node] = []
    path: list[tuple[Node, Iterator[Node]]] = []

    def enter(node: Node) -> None:
        number[node] = lowest[node] = len(number)
        trail.append(node)
        path.append((node, iter([target for target in graph[node] if target in graph])))

    for root in graph:
        if root not in number:
            enter(root)
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in number:
                    enter(target)
                    break
                if target not in done:
                    lowest[node] = min(lowest[node], number[target])
            else:
                path.pop()
                if path:
                    above, _ = path[-1]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    found.append(_cut(trail, node))
                    done.update(found[-1])
    return found


def _cut(trail: list[Node], node: Node) -> list[Node]:
    """Takes the end of ``trail`` from ``node`` on away, and returns it."""
    taken = [trail.pop()]
    while taken[-1] != node:
        taken.append(trail.pop())
    return taken
