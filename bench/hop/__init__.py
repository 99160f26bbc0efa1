"""A hop in a live VM against the plain way in the same VM: 300 modules, and the state of up to 100,000 processes.

The plain way is what the upstream plugin does: modules purged, read and loaded one by one; processes suspended,
changed and resumed one after the other. Ours is the agent, started and followed by a core in a process of its own. Both
do the same work, forth and back between two releases, and take turns. Clients keep calling meanwhile.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import report
from .application import module_names
from .contest import OURS, PLAIN, Contest
from .node import Node, running_node

MODULES_RATIO, UPDATE_RATIO = 0.2, 0.5
CLIENTS, WORKERS_EACH = 20, 50

LOADS = ", ".join(f"{{load_module, {name}}}" for name in module_names())
UPDATE = "{load_module, emqx_release}, {update, bench_worker, {advanced, []}}"


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
        modules = of_modules(node).fought(node, options.rounds)
        updates = []
        for workers in sorted(options.workers):
            node.grow(workers)
            updates.append(of_update(node, workers).fought(node, options.rounds))
    print(report.noticed([modules, *updates]), report.taken([modules, *updates]), report.summary(modules), sep="\n\n")
    missed = report.misses(modules, updates)
    print(f"targets: {'MISSED: ' + '; '.join(missed) if missed else 'met'}")
    return int(bool(missed))


def of_modules(node: Node) -> Contest:
    """All modules of the application are replaced: how long new ones are loaded beside old ones."""

    def ours(release: int) -> tuple[float, dict[str, Any]]:
        found = node.hop(release, LOADS)
        return found["outcome"]["swap_ms"], found

    return Contest(
        f"{len(module_names())} modules",
        MODULES_RATIO,
        module_names(),
        node.read,
        lambda: node.release(module_names()[-1]),
        {PLAIN: lambda release: (node.plain_load(release), {}), OURS: ours},
    )


def of_update(node: Node, workers: int) -> Contest:
    """The state of all workers is changed: how long some of them stand still."""

    def ours(release: int) -> tuple[float, dict[str, Any]]:
        found = node.hop(release, UPDATE)
        return found["outcome"]["suspended_ms"], found

    return Contest(
        f"{workers:,} processes",
        UPDATE_RATIO,
        ["emqx_release", "bench_worker"],
        lambda: node.talk(CLIENTS, WORKERS_EACH),
        node.worker_release,
        {PLAIN: lambda release: (node.plain_update(release), {}), OURS: ours},
    )
