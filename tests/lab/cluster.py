"""What the lab's tests share: the tool as a user runs it, and looking at a node from outside."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster import Lab
from lab.layout import PROJECT
from lab.release.sources import LEAN, Traits
from tests.lab.ports import free_ports
from tests.lab.preloaded import MODULE, Command
from tests.lab.quick import QuickLab

BASE, FIRST, SECOND = "5.10.4-lab", "5.10.5-lab", "5.10.6-lab"

PATIENCE = 900.0
"""Seconds after which a command of a test is taken to hang. On a busy machine a rollout of six nodes takes minutes."""

GATE = """
-module(lab_gate).
-export([wait/1]).

wait(Path) ->
    ok = file:write_file(Path ++ ".reached", <<>>),
    until(Path).

until(Path) ->
    case filelib:is_file(Path) of
        true -> ok;
        false -> timer:sleep(20), until(Path)
    end.
"""


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document that stdout has to be."""
        return dict(json.loads(self.stdout))

    def row(self, host: str = "n1") -> dict[str, Any]:
        """The row of a host in the document."""
        return dict(next(row for row in self.document["hosts"] if row["host"] == host))

    def error(self, host: str = "n1") -> dict[str, Any]:
        """The error of a host's row."""
        return dict(self.row(host)["error"])

    def nothing_to_do(self, host: str | None = None) -> str:
        """Why nothing was to do on a host, the only one unless it is named: an ``err_type``."""
        [row] = [self.row(host)] if host else self.document["hosts"]
        assert row["outcome"] == "nothing to do", row
        return str(row["facts"]["nothing_to_do"]["err_type"])


PLAIN = {"plan": ("--no-backup",), "upgrade": ("--no-backup", "--gates", "none"), "rollback": ("--gates", "none")}
"""What tests of a node do without: the rollout around it has tests of its own."""


class Tool:
    """Runs `relup` on an inventory, `--json` unless told otherwise; with a state directory of its own if given one.

    ``plain``: without gates and backup, unless an option speaks of gates; by default where the state is nobody's.
    """

    def __init__(self, inventory: Path, state: Path | None = None, plain: bool | None = None) -> None:
        self.inventory = inventory
        self._plain = state is None if plain is None else plain
        self._environment = dict(os.environ) if state is None else {**os.environ, "XDG_STATE_HOME": str(state)}

    def words(self, command: str, *options: str, json: bool = True) -> list[str]:
        """The command line."""
        common = ["--inventory", str(self.inventory), *(["--json"] if json else [])]
        if self._plain and "--gates" not in options:
            common += PLAIN.get(command, ())
        return [sys.executable, "-m", "relup_remote", command, *common, *options]

    def run(self, command: str, *options: str, json: bool = True, timeout: float = PATIENCE) -> Ran:
        """Run a command to its end."""
        return ended(self.start(command, *options, json=json), timeout)

    def start(self, command: str, *options: str, json: bool = True) -> Command:
        """Start a command and leave it running."""
        words = self.words(command, *options, json=json)
        return Command(words[words.index(MODULE) + 1 :], self._environment)


def ended(command: "Command | subprocess.Popen[str]", timeout: float = PATIENCE) -> Ran:
    """What a started command came to. Raises `subprocess.TimeoutExpired` after so many seconds."""
    out, err = command.communicate(timeout=timeout)
    return Ran(command.wait(), out, err)


def until(what: str, condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait for something in another process that announces itself by no event we could wait for."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout:g} s: {what}")


@contextlib.contextmanager
def running_lab(
    folder: Path, nodes: int, *, replicants: int | None = None, hosts: int | None = None, traits: Traits = LEAN
) -> Iterator[Lab]:
    """A lab in a folder and on ports of its own, up, and down again at the end whatever happens."""
    lab = QuickLab(folder, nodes=nodes, ports=free_ports(), replicants=replicants, hosts=hosts, traits=traits)
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def ours(lab: Lab, host: str) -> Path:
    """The tool's folder below a node's data folder."""
    return lab.root(host) / "data" / "relup_remote"


def lock(lab: Lab, host: str) -> dict[str, Any] | None:
    """Who holds a node's lock, as its file says."""
    try:
        return dict(json.loads((ours(lab, host) / "lock").read_text()))
    except (OSError, ValueError):
        return None


def code_of(lab: Lab, host: str) -> str:
    """A digest of every module loaded in a node, of the paths it looks them up in, and of all registered names."""
    return lab.eval(
        host,
        "erlang:phash2({lists:sort([{M, M:module_info(md5)} || {M, _} <- code:all_loaded()]),"
        " lists:sort(code:get_path()), lists:sort(registered())}, 1 bsl 32)",
    )


def foreign(lab: Lab, host: str) -> str:
    """What of the tool's is in a node: modules, registered names, hidden nodes other than the one that asks, paths."""
    return lab.eval(
        host,
        '{[M || {M, _} <- code:all_loaded(), string:prefix(atom_to_list(M), "relup_") =/= nomatch],'
        ' [N || N <- registered(), string:prefix(atom_to_list(N), "relup_") =/= nomatch],'
        " length(nodes(hidden)) - 1,"
        ' [P || P <- code:get_path(), string:find(P, "relup_remote") =/= nomatch],'
        " [P || P <- processes(), P =/= self(),"
        "  {current_function, {erl_eval, _, _}} <- [process_info(P, current_function)],"
        "  {dictionary, D} <- [process_info(P, dictionary)], D =:= []]}",
    )


NOTHING = "{[],[],0,[],[]}"


def disk_of(lab: Lab, host: str) -> str:
    """A digest of the names, sizes and modes of all below a node's root but its logs and what the database writes."""
    root = lab.root(host)
    seen = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if inner.parts[0] == "log" or inner.parts[:2] in (("data", "mnesia"), ("data", "relup_remote")):
            continue
        found = path.lstat()
        size = found.st_size if path.is_file() else 0
        seen.update(f"{inner} {found.st_mode:o} {size}\n".encode())
    return seen.hexdigest()


def put_back(lab: Lab, host: str) -> None:
    """A host's node as it was first: running the base release, with nothing deployed, staged, patched or kept."""
    lab.stop_node(host)
    for path in _marks(lab, host):
        shutil.rmtree(path, ignore_errors=True)
    _forget(lab, host)
    lab.start_node(host)


def all_back(lab: Lab) -> None:
    """Every node as it was first and in the cluster, every SSH server up; nodes that nobody changed run on."""
    for host in lab.hosts:
        lab.start_sshd(host)
    with ThreadPoolExecutor() as pool:
        changed = [
            host for host in lab.hosts if lab.node_pid(host) is None or any(path.exists() for path in _marks(lab, host))
        ]
        list(pool.map(lambda host: put_back(lab, host), changed))
    for host in lab.hosts:
        _forget(lab, host)
    # Waits until they have found each other.
    lab.up()


def _marks(lab: Lab, host: str) -> tuple[Path, ...]:
    """What is there only where the node's code was changed, or is to be at its next start."""
    return (lab.root(host) / "relup", lab.root(host) / "data" / "patches")


def _forget(lab: Lab, host: str) -> None:
    """Remove what the tool keeps beside a node: its history, what is staged, backups."""
    for path in (ours(lab, host), lab.root(host) / "relup_backups"):
        shutil.rmtree(path, ignore_errors=True)


def upgrade(lab: Lab, relup: Tool, tarball: Path, host: str) -> int:
    """Upgrade a host's node; its process, which goes on."""
    ran = relup.run("upgrade", "--tarball", str(tarball), "--yes", "--host", host)
    assert ran.status == 0, ran.stdout
    pid = lab.node_pid(host)
    assert pid is not None
    return pid


def gated(folder: Path, gate: Path, source: str = BASE, target: str = FIRST) -> Path:
    """A catalogue whose hop waits at its first instruction until the file `gate` is there."""
    original = PROJECT / "priv" / "relup" / f"{source}-to-{target}.relup"
    text = original.read_text()
    first = f'code_changes => [{{load_module, lab_gate}}, {{apply, lab_gate, wait, ["{gate}"]}}] ++'
    changed = text.replace("code_changes =>", first, 1)
    assert changed != text
    shutil.copytree(original.parent, folder)
    (folder / original.name).write_text(changed)
    (folder / "lab_gate.erl").write_text(GATE)
    return folder
