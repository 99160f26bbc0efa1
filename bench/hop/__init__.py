"""A hop in a live VM against the plain way in the same VM: 300 modules, and the state of up to 100,000 processes.

The plain way is what the upstream plugin does: modules purged, read and loaded one by one; processes suspended,
changed and resumed one after the other. Ours is the agent, started and followed by a core in a process of its own. Both
do the same work, forth and back between two releases, and take turns. Clients keep calling meanwhile.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from .application import module_names
from .node import Memory, Node, running_node

MODULES_RATIO, UPDATE_RATIO = 0.2, 0.5
HOP_SECONDS, CALL_MS, SENT_BYTES = 1.0, 2.0, 100_000
CLIENTS, WORKERS_EACH = 20, 50
PLAIN, OURS = "plain", "ours"

LOADS = ", ".join(f"{{load_module, {name}}}" for name in module_names())
UPDATE = "{load_module, emqx_release}, {update, bench_worker, {advanced, []}}"


class Run(NamedTuple):
    """One run: milliseconds that could be noticed, and the longest that a client waited; the agent's report, if any."""

    ms: float
    longest_ms: float
    report: dict[str, Any]


@dataclass
class Contest:
    """A thing to do in both ways: which `modules` it replaces, who notices it, and how the release is told after it."""

    name: str
    target: float
    modules: list[str]
    clients: Callable[[], list[Any]]
    release: Callable[[], int]
    ways: dict[str, Callable[[int], tuple[float, dict[str, Any]]]]
    runs: dict[str, list[Run]] = field(default_factory=lambda: {PLAIN: [], OURS: []})
    memory: dict[str, list[Memory]] = field(default_factory=lambda: {PLAIN: [], OURS: []})

    def ratio(self, of: Callable[[Run], float]) -> float:
        """Ours to plain, by the median over the rounds: each pair of runs had the same machine."""
        pairs = zip(self.runs[OURS], self.runs[PLAIN], strict=True)
        return statistics.median(of(ours) / of(plain) for ours, plain in pairs)


def main(arguments: Sequence[str]) -> int:
    """Prints the tables; 0 if every target is met."""
    parser = argparse.ArgumentParser(prog="bench hop", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each way (default 5)")
    parser.add_argument(
        "--workers",
        type=int,
        nargs="+",
        default=[1000, 10_000, 100_000],
        help="numbers of processes to update (default 1000 10000 100000)",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-hop-") as folder, running_node(Path(folder)) as node:
        contests = [compete(node, modules(node), options.rounds)]
        for workers in sorted(options.workers):
            node.grow(workers)
            contests.append(compete(node, update(node, workers), options.rounds))
    print_tables(contests)
    missed = misses(contests)
    print(f"targets: {'; '.join(missed) if missed else 'met'}")
    return int(bool(missed))


def modules(node: Node) -> Contest:
    """All modules of the application replaced: the time in which new ones are loaded beside old ones."""

    def ours(release: int) -> tuple[float, dict[str, Any]]:
        report = node.hop(release, LOADS)
        return report["outcome"]["swap_ms"], report

    return Contest(
        f"{len(module_names())} modules",
        MODULES_RATIO,
        module_names(),
        node.read,
        lambda: node.release(module_names()[-1]),
        {PLAIN: lambda release: (node.plain_load(release), {}), OURS: ours},
    )


def update(node: Node, workers: int) -> Contest:
    """The state of all workers changed: the time in which some of them stand still."""

    def ours(release: int) -> tuple[float, dict[str, Any]]:
        report = node.hop(release, UPDATE)
        return report["outcome"]["suspended_ms"], report

    return Contest(
        f"{workers:,} processes",
        UPDATE_RATIO,
        ["emqx_release", "bench_worker"],
        lambda: node.talk(CLIENTS, WORKERS_EACH),
        node.worker_release,
        {PLAIN: lambda release: (node.plain_update(release), {}), OURS: ours},
    )


def compete(node: Node, contest: Contest, rounds: int) -> Contest:
    """Runs both ways in turns, and each once more to weigh it."""
    for number in range(rounds):
        for way in sorted(contest.ways, reverse=bool(number % 2)):
            node.tidy(contest.modules)
            clients = contest.clients()
            ms, report = hop(contest, way)
            contest.runs[way].append(Run(ms, node.longest_ms(clients), report))
    for way, memory in contest.memory.items():
        node.tidy(contest.modules)
        with node.weighed(memory):
            hop(contest, way)
    return contest


def hop(contest: Contest, way: str) -> tuple[float, dict[str, Any]]:
    """Hops to the other release. Raises `RuntimeError` where the VM is not of it afterwards."""
    target = 3 - contest.release()
    found = contest.ways[way](target)
    if contest.release() != target:
        raise RuntimeError(f"{way} of {contest.name} did not get to release {target}")
    return found


def print_tables(contests: Sequence[Contest]) -> None:
    """What could be noticed of both ways, and what they took."""
    noticed = [
        [
            contest.name,
            *(
                summary(run.ms for run in contest.runs[way])
                for summary in (min, statistics.median)
                for way in contest.runs
            ),
            contest.ratio(lambda run: run.ms),
            *(statistics.median(run.longest_ms for run in contest.runs[way]) for way in contest.runs),
            contest.ratio(lambda run: run.longest_ms),
        ]
        for contest in contests
    ]
    headers = ["", "plain\nbest ms", "ours\nbest ms", "plain\nmedian ms", "ours\nmedian ms", "\nratio"]
    waited = ["plain\nlongest call ms", "ours\nlongest call ms", "\nratio"]
    print(tabulate(noticed, headers=[*headers, *waited], floatfmt=".2f"))
    print()
    taken = [
        [
            contest.name,
            contest.memory[PLAIN][0].before,
            *(memory[0].peak for memory in contest.memory.values()),
            *(memory[0].resident for memory in contest.memory.values()),
            max(run.report["peak_kb"] for run in contest.runs[OURS]) / 1e3,
            max(run.report["sent_bytes"] for run in contest.runs[OURS]) / 1e3,
        ]
        for contest in contests
    ]
    headers = ["MB", "VM\nbefore", "plain\nat most", "ours\nat most", "plain\nresident", "ours\nresident"]
    print(tabulate(taken, headers=[*headers, "core\nresident", "VM to core\nkB"], floatfmt=".1f"))
    print(f"the hop of {contests[0].name}: {hop_seconds(contests[0]):.2f} s; a call: {call_ms(contests[0]):.2f} ms")


def misses(contests: Sequence[Contest]) -> list[str]:
    """The targets that were not met."""
    found = [
        f"{contest.name}: more than {contest.target:g} of the plain way"
        for contest in contests
        if contest.ratio(lambda run: run.ms) > contest.target
    ]
    found += [
        f"{contest.name}: more than {SENT_BYTES / 1e3:g} kB to the core"
        for contest in contests
        if any(run.report["sent_bytes"] > SENT_BYTES for run in contest.runs[OURS])
    ]
    if hop_seconds(contests[0]) > HOP_SECONDS:
        found.append(f"a hop of {contests[0].name} takes more than {HOP_SECONDS:g} s")
    if call_ms(contests[0]) > CALL_MS:
        found.append(f"a call takes more than {CALL_MS:g} ms")
    return found


def hop_seconds(contest: Contest) -> float:
    """Seconds from the first instruction to the marker, at best."""
    return min(float(run.report["outcome"]["seconds"]) for run in contest.runs[OURS])


def call_ms(contest: Contest) -> float:
    """Milliseconds of a call from the core to the VM, at best."""
    return min(float(run.report["call_ms"]) for run in contest.runs[OURS])
