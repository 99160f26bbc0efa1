"""A machine that can lose power: one host of a lab, with the core run on it by hand."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lab import processes
from lab.cluster import Lab
from lab.errors import LabError
from lab.layout import Host
from relup_remote.core import running_node
from relup_remote.core.erlang.link import connect
from relup_remote.core.erlang.term import Atom, text
from relup_remote.core.protocol import encode
from tests.lab.sweep import driver, trace
from tests.lab.sweep.moments import Moment
from tests.lab.sweep.trace import Event

PYTHON = (sys.executable, "-I", "-S")
"""How a core is run on a host."""

Deed = Literal["power", "core", "start"]

TIMEOUT = 120.0
"""Seconds that a run of the core may take."""

CODE = """
{code:root_dir(), emqx_release:version(),
 [{atom_to_list(M), M:module_info(md5), code:which(M)} || {M, _} <- code:all_loaded()]}.
"""
BEAMS = """
[begin {ok, {M, Md5}} = beam_lib:md5(F), {atom_to_list(M), Md5} end || F <- filelib:wildcard(Lib ++ "/*/ebin/*.beam")].
"""


@dataclass(frozen=True)
class Ran:
    """A run of the core: its name; its result, unless it was killed before; what it said; what it did, if traced."""

    run: str
    result: dict[str, Any] | None
    said: list[dict[str, Any]]
    events: list[Event]

    @property
    def notes(self) -> list[str]:
        """The sentences for the operator."""
        return [event["message"] for event in self.said if event["event"] == "note"]


@dataclass(frozen=True)
class Code:
    """What a VM says that it runs: its root, its version, and of each module MD5 and file."""

    root: str
    version: str
    modules: Mapping[str, tuple[bytes, str]]


class Machine:
    """The host ``n1`` of a lab. ``payload`` is the core as hosts keep it, ``seconds`` what the time went to."""

    def __init__(self, lab: Lab, payload: Path) -> None:
        self.lab = lab
        self.host: Host = lab.host("n1")
        self.root = self.host.root
        self.ours = self.root / "data" / "relup_remote"
        self.seconds: dict[str, float] = {}
        self._payload = payload
        self._trace = self.host.dir / "trace"

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Count the time of a block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - started

    def boot(self) -> None:
        """Power on: the node starts by its wrapper. Raises `LabError` with what wrapper and VM said."""
        with self.spending("boot"):
            try:
                self.lab.start_node("n1")
            except LabError as error:
                # Read now: the next boot writes over both. A wrapper that waits for no node writes the first alone.
                logs = (self.host.start_log, self.root / "log" / "start.log")
                said = [path.read_text().strip() for path in logs if path.exists()]
                raise LabError(error.err_type, f"{error.message} It said: {' / '.join(said)}", error.hint) from None

    def lose_power(self) -> None:
        """End all that runs on the machine, its SSH server apart, which is not the machine's own."""
        looks_in_vain = 0
        # Twice: a process that is just becoming another program has no environment for a moment.
        while looks_in_vain < 2:
            living = processes.find(self._runs_here)
            looks_in_vain = 0 if living else looks_in_vain + 1
            for pid in living:
                processes.kill(pid, self._runs_here)

    def _runs_here(self, pid: int) -> bool:
        return processes.environment(pid).get("HOME") == str(self.host.home)

    def run(self, request: Mapping[str, Any], tarball: Path | None = None) -> Ran:
        """Run the core to its end."""
        return self._run([*PYTHON, str(self._payload)], request, tarball)

    def run_traced(
        self, request: Mapping[str, Any], tarball: Path | None, moment: Moment | None = None, deed: Deed = "power"
    ) -> Ran:
        """Run the core, noting what it does; at the ``moment``, or at its end if that never comes, the deed is done.

        By the ``deed`` all is dead (power), or the core alone, or somebody starts the node.
        """
        doom = {
            "vm": self.lab.node_pid("n1") if deed == "power" else None,
            "start": [str(self.host.wrapper), "start"] if deed == "start" else None,
            "trace": str(self._trace),
            "phase": moment and moment.phase,
            "index": moment and moment.index,
            "watch": moment and moment.watch and str(self.root / moment.watch),
            "delay": moment and moment.delay,
            "first": moment and moment.first,
        }
        self._trace.unlink(missing_ok=True)
        ran = self._run([*PYTHON, str(driver.__file__), str(self._payload), json.dumps(doom)], request, tarball)
        if moment is not None and deed == "power":
            self.lose_power()
        return replace(ran, events=trace.read(self._trace))

    def _run(self, command: list[str], request: Mapping[str, Any], tarball: Path | None) -> Ran:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.host.home), "LANG": "C.UTF-8"}
        said: list[dict[str, Any]] = []
        with (self.host.dir / "core.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, cwd=self.host.home
            )
        assert process.stdin
        assert process.stdout
        overdue = threading.Timer(TIMEOUT, process.kill)
        overdue.start()
        with process:
            _send(process.stdin.fileno(), encode(dict(request)))
            for line in process.stdout:
                # The last line may be cut short.
                if line.endswith(b"\n"):
                    said.append(json.loads(line))
                    if said[-1]["event"] == "want":
                        assert tarball
                        want = said[-1]
                        content = tarball.read_bytes()[want["offset"] : want["offset"] + want["bytes"]]
                        _send(process.stdin.fileno(), content)
        overdue.cancel()
        result = said.pop() if said and said[-1]["event"] == "result" else None
        return Ran(request["run"], result, said, [])

    def code(self) -> Code:
        """What the node runs."""
        root, version, modules = self.evaluate(CODE)
        return Code(
            text(root),
            text(version),
            {text(name): (md5, text(path) if isinstance(path, list) else str(path)) for name, md5, path in modules},
        )

    def beams(self, release: Path) -> dict[str, bytes]:
        """The MD5s of a release's modules, as the node tells them from the files."""
        return {text(name): md5 for name, md5 in self.evaluate(BEAMS, Lib=str(release / "lib"))}

    def hop_runs(self) -> bool:
        """Whether the node is in the middle of a hop."""
        return bool(self.evaluate("whereis(relup_remote_agent) =/= undefined.") == "true")

    def evaluate(self, expression: str, **bindings: Any) -> Any:
        """The value of an Erlang expression in the node, as a term."""
        node = running_node.find(str(self.root), None)
        assert node, "the node does not run"
        with closing(connect(node.peer)) as link:
            tokens = link.call("erl_scan", "string", [expression])
            parsed = link.call("erl_parse", "parse_exprs", [tokens[1]])
            bound = sorted((Atom(name), value) for name, value in bindings.items())
            return link.call("erl_eval", "exprs", [parsed[1], bound])[1]


def _send(descriptor: int, content: bytes) -> None:
    """Write all, or as much as is read before the reader is dead."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BrokenPipeError:
        return
