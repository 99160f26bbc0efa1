"""The node under test: what it is before and after a hop, and putting it back without a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lab.cluster import Lab
from relup_remote import inventory
from relup_remote.core.erlang.distribution import Address, Connection
from relup_remote.core.erlang.term import Atom, text
from relup_remote.core.journal import FILE, Journal
from relup_remote.faults import Cell
from relup_remote.host import Host
from relup_remote.rollout.identity import operator, run_id
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import Job, Runner
from relup_remote.rollout.tarball import Tarball
from tests.lab.cluster import ours
from tests.lab.faults.hops import HANG, HELPERS, arming, hop, in_the_way, loaded_by
from tests.lab.faults.release import APP, GATES, TARGET, Release

POINT = f"{APP}_point"
PASSING = ("relup_agent", *(f"{APP}_{name}" for name in ("helper", "named", "inner")), f"emqx_post_upgrade_{TARGET}")
"""How the names of modules begin that are there while a hop is under way."""


@dataclass(frozen=True)
class Look:
    """What a node is at a moment.

    ``md5s``: of every module that is loaded, but for those that come and go with a hop. ``workers``: the pids of the
    application's workers, ``supervisors`` those of the supervisors below its top one.
    """

    os_pid: int | None
    version: str
    md5s: dict[str, bytes]
    suspended: int
    workers: set[str]
    supervisors: set[str]
    hop_runs: bool
    marker: str | None


class Node:
    """A node of the lab that runs the release ``base`` and can be upgraded to ``target`` by any hop, over SSH."""

    def __init__(self, lab: Lab, name: str, base: Release, target: Release, tarball: Tarball) -> None:
        self.name = name
        self.root = lab.root(name)
        self._lab = lab
        self._base = base
        self._target = target
        self._tarball = tarball
        self._settings = inventory.load(lab.inventory_path).select([name])[0]
        self._host = Host(self._settings)
        self._runner = Runner(lambda _settings: _Kept(self._host))
        self._journal = Journal(str(ours(lab, name)))

    def close(self) -> None:
        """Close the SSH connection."""
        self._host.close()

    def look(self) -> Look:
        """What the node is now."""
        seen = {str(key): value for key, value in self._ask("look").items()}
        md5s = {str(name): md5 for name, md5 in seen["md5s"] if not name.startswith(PASSING)}
        marker = self.root / "relup" / "current"
        return Look(
            os_pid=self._lab.node_pid(self.name),
            version=text(seen["version"]),
            md5s=md5s,
            suspended=len(seen["suspended"]),
            workers={text(pid) for pid in seen["workers"]},
            supervisors={text(pid) for pid in seen["supervisors"]},
            hop_runs=seen["hop"] == "true",
            marker=marker.read_text() if marker.is_file() else None,
        )

    def arm(self, cell: Cell, hang: int = HANG) -> None:
        """Have the cell's fault strike in the next hop; what takes too long takes ``hang`` milliseconds."""
        self._ask("arm", *arming(cell, self.root, self._target, hang))

    def upgrade(self, cell: Cell, options: dict[str, Any]) -> Row:
        """Upgrade the node by the cell's hop; its row."""
        order = Order(
            "upgrade",
            run_id(),
            operator(),
            tarball=self._tarball.to_json(),
            target=TARGET,
            hops=[hop(cell)],
            helpers=HELPERS,
            options=options,
        )
        return self._runner.one(Job(self._settings, request(order, self._settings), self._tarball.path))

    def status(self) -> Row:
        """What the command `status` says of the node."""
        order = Order("status", run_id(), operator())
        return self._runner.one(Job(self._settings, request(order, self._settings)))

    def history(self) -> list[dict[str, Any]]:
        """The rows of the node's history, the oldest first."""
        return self._journal.rows()

    def md5s_after(self, cell: Cell, before: Look) -> dict[str, bytes]:
        """The modules after the whole of the cell's hop."""
        return {**before.md5s, **{module: self._target_md5s[module] for module in loaded_by(cell)}}

    def put_back(self) -> None:
        """All as it was first, once no hop is under way any more."""
        self.clear()
        self.put_code_back()
        (self.root / "relup" / "current").unlink(missing_ok=True)
        for path in ours(self._lab, self.name).glob(f"{FILE}*"):
            path.unlink()

    def put_code_back(self) -> None:
        """The code that was first, and the application started with it, once no hop is under way any more."""
        ebin = self.root / self._base.ebin
        originals = {path.stem: path for path in ebin.glob("*.beam")}
        originals |= {name: self.root / self._base.place(name) for name in ("emqx_connection", "emqx_release")}
        others = [(Atom(module), str(path)) for module, path in originals.items() if module != POINT]
        self._ask("put_back", str(ebin), others, [Atom(gate) for gate in GATES])

    def clear(self) -> None:
        """Remove what makes hops fail: what is armed, folders in the place of files, beams that were cut."""
        self._ask("disarm")
        for place in in_the_way(self.root):
            if place.is_dir():
                place.rmdir()
        tree = self.root / "relup" / TARGET
        for module, beam in self._target.beams.items():
            path = tree / self._target.place(module)
            if path.is_file() and path.stat().st_size != len(beam):
                path.write_bytes(beam)

    @cached_property
    def _target_md5s(self) -> dict[str, bytes]:
        with self._connected() as vm:
            found = {module: vm.call("beam_lib", "md5", [beam]) for module, beam in self._target.beams.items()}
        return {module: md5 for module, (_ok, (_module, md5)) in found.items()}

    def _ask(self, function: str, *arguments: Any) -> Any:
        with self._connected() as vm:
            if vm.call("erlang", "module_loaded", [Atom(POINT)]) != "true":
                # The VM has started since.
                vm.call("code", "load_abs", [str(self.root / self._base.place(POINT).removesuffix(".beam"))])
            return vm.call(POINT, function, list(arguments))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        host = self._lab.host(self.name)
        connection = Connection(host.node, self._lab.layout.cookie.read_text(), Address("127.0.0.1", host.dist_port))
        try:
            yield connection
        finally:
            connection.close()


class _Kept:
    """A session that stays open from one request to the next."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.run = host.run

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *_error: object) -> None:
        return None
