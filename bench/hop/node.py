"""The VM that hops: the application runs in it, and both ways of getting from one release to the other are open."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab.layout import PROJECT
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom
from tests.unit.core.vm import Vm, running_epmd, running_vm

from .application import Release, build, build_tools, module_names
from .core import peak_kb

# For 100,000 workers; what the kernel prints of its own is nobody's to read here.
_OPTIONS = ("+P", "500000", "-kernel", "logger_level", "error")
_PATIENCE = 600.0
_ANSWER_MS = 60_000


class Memory(NamedTuple):
    """In MB: what the VM had resident at most, what Erlang had allocated before and at most."""

    resident: float
    before: float
    peak: float


class Node:
    """A running VM with the application in one of two releases."""

    def __init__(self, vm: Vm, link: DistributionLink, folder: Path, releases: dict[int, Release]) -> None:
        self._vm = vm
        self._link = link
        self._folder = folder
        self._releases = releases
        self._modules = [Atom(name) for name in module_names()]

    def call(self, module: str, function: str, *args: Any) -> Any:
        """What a function of the VM returns."""
        return self._link.call(module, function, list(args), _PATIENCE)

    def grow(self, workers: int) -> None:
        """Sees that there are so many workers."""
        self.call("bench_app", "grow", workers)

    def read(self) -> list[Any]:
        """A client that keeps calling the modules."""
        return [self.call("bench_clients", "read", self._modules)]

    def talk(self, clients: int, each: int) -> list[Any]:
        """Clients that keep calling `each` workers, of all that there are."""
        return list(self.call("bench_clients", "call", clients, each))

    def longest_ms(self, clients: list[Any]) -> float:
        """The longest that a client has waited for one call; the clients end."""
        return float(self.call("bench_clients", "stop", clients)) / 1e3

    def release(self, module: str) -> int:
        """The release that a module is of."""
        return int(self.call(module, "release"))

    def worker_release(self) -> int:
        """The release that all workers are of, in code and in state. Raises `RuntimeError` where they differ."""
        found = self.call("bench_clients", "releases")
        if len(found) != 1 or len(set(found[0])) != 1:
            raise RuntimeError(f"the workers' code and state are of several releases: {found}")
        return int(found[0][0])

    def tidy(self, modules: Sequence[str]) -> None:
        """Removes old code and garbage: neither way is to pay for what came before it."""
        for module in modules:
            self.call("code", "purge", Atom(module))
        self.call("erlang", "garbage_collect", self.call("erlang", "whereis", Atom("bench_pool")))

    def plain_load(self, release: int) -> float:
        """Loads all modules the plain way; the milliseconds in which those of both releases are side by side."""
        found = self._releases[release]
        return float(self.call("bench_plain", "load", self._modules, str(found.ebin), str(found.source))) / 1e3

    def plain_update(self, release: int) -> float:
        """Updates all workers the plain way; the milliseconds in which they stand still."""
        found = self._releases[release]
        return float(self.call("bench_plain", "update", str(found.ebin), str(found.source))) / 1e3

    def hop(self, release: int, changes: str) -> dict[str, Any]:
        """Hops by the agent, as a core of its own has it do it; `changes` as the hop's file has them.

        Returns the `outcome`, and what the core saw: `sent_bytes` of the VM to it, its `peak_kb`, `call_ms`.
        """
        target = self._releases[release]
        source = next(each for each in self._releases.values() if each is not target)
        hop, facts, work = self._folder / "hop.relup", self._folder / "facts", self._folder / "work"
        versions = f'from_version => "{source.version}", target_version => "{target.version}"'
        hop.write_text(f"#{{{versions}, code_changes => [{changes}]}}.")
        facts.write_bytes(target.facts)
        work.mkdir(exist_ok=True)
        request = {
            "hop": str(hop), "from": source.version, "target": target.version, "facts": str(facts),
            "tree": str(target.tree), "helpers": [], "marker": str(self._folder / "marker"),
            "outcome": str(self._folder / "outcome"), "resume": False, "kill_lingering": False, "restart": False,
            "timeout": _ANSWER_MS, "updated": [],
        }  # fmt: skip
        order = {"node": self._vm.name, "cookie": self._vm.cookie, "port": self._vm.port, "work": str(work)}
        (self._folder / "outcome").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("core.py"))],
            input=json.dumps({**order, "request": request}),
            env={"PYTHONPATH": str(PROJECT)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return dict(json.loads(done.stdout))

    def weigh(self) -> Callable[[], Memory]:
        """Looks at the VM's memory from here on; what is returned tells, once, what was taken of it."""
        # Resets the peak: proc(5), clear_refs.
        Path(f"/proc/{self._vm.process.pid}/clear_refs").write_text("5")
        meter = self.call("bench_meter", "start")

        def taken() -> Memory:
            before, peak = self.call("bench_meter", "stop", meter)
            return Memory(peak_kb(self._vm.process.pid) / 1e3, before / 1e6, peak / 1e6)

        return taken


@contextlib.contextmanager
def running_node(folder: Path) -> Iterator[Node]:
    """A VM that runs the first release."""
    releases = build()
    paths = ["-pa", str(releases[1].ebin), "-pa", str(build_tools())]
    with running_epmd() as epmd, running_vm(epmd, folder, *_OPTIONS, *paths) as vm:
        link = DistributionLink(vm.connect())
        try:
            node = Node(vm, link, folder, releases)
            for name in module_names():
                node.call("code", "ensure_loaded", Atom(name))
            node.call("application", "start", Atom("bench"))
            yield node
        finally:
            link.close()
