"""Runs benchmarks by name: ``python -m bench unpack [its options]``; without a name, all of them.

A benchmark is a module of this package with a function ``main(arguments) -> exit status``.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence

import bench

Main = Callable[[Sequence[str]], int]


def find() -> dict[str, Main]:
    """The benchmarks there are, by name."""
    names = [found.name for found in pkgutil.iter_modules(bench.__path__) if not found.name.startswith("_")]
    modules = {name: importlib.import_module(f"bench.{name}") for name in names}
    return {name: module.main for name, module in modules.items() if hasattr(module, "main")}


def main(arguments: Sequence[str]) -> int:
    """Runs what `arguments` name; the exit status is 0 if every target was met, 2 for a name that is unknown."""
    benchmarks = find()
    if not arguments:
        return max(run([]) for run in benchmarks.values())
    name, *options = arguments
    if name not in benchmarks:
        print(f"no benchmark {name!r}; there are: {', '.join(benchmarks)}", file=sys.stderr)
        return 2
    return benchmarks[name](options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
