"""The versions that hops lead between: what can be reached from where."""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from relup_remote.hops.hop import Hop

MAX_CHAINS = 200
"""Chains that are followed at most: their number can grow much faster than that of the hops."""

Chain = tuple[str, ...]
"""Versions, each reached from the one before by a hop."""


class Graph:
    """Versions and the hops between them, each in order of version."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        following = defaultdict[str, set[str]](set)
        for source, target in pairs:
            following[source].add(target)
            _ = following[target]
        self.following = {
            version: tuple(sorted(following[version], key=by_version)) for version in sorted(following, key=by_version)
        }

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions."""
        return tuple(self.following)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """All pairs of versions between which there is a hop."""
        return [(source, target) for source, targets in self.following.items() for target in targets]

    def reachable(self, start: str) -> dict[str, int]:
        """The versions that can be reached, with the least number of hops to each. ``start`` is one, with 0."""
        found = {start: 0}
        waiting = deque([start])
        while waiting:
            version = waiting.popleft()
            for target in self.following.get(version, ()):
                if target not in found:
                    found[target] = found[version] + 1
                    waiting.append(target)
        return found

    def chains(self, start: str) -> list[Chain]:
        """The chains of hops from a version that pass no version twice, the shortest first, at most `MAX_CHAINS`."""
        return list(islice(self._chains(start), MAX_CHAINS))

    def _chains(self, start: str) -> Iterator[Chain]:
        waiting: deque[Chain] = deque([(start,)])
        while waiting:
            chain = waiting.popleft()
            if len(chain) > 1:
                yield chain
            waiting += [(*chain, target) for target in self.following.get(chain[-1], ()) if target not in chain]

    def part(self, start: str) -> "Graph":
        """What can be reached from a version."""
        reachable = self.reachable(start)
        return Graph((source, target) for source, target in self.edges if source in reachable)


def graph_of(hops: Sequence[Hop]) -> Graph:
    """The graph of some hops."""
    return Graph((hop.from_vsn, hop.target) for hop in hops)


def by_version(version: str) -> list[tuple[bool, int, str]]:
    """What to order versions by: their numbers count as numbers."""
    return [
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.findall(r"\d+|\D+", version)
    ]
