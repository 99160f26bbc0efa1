"""Ways to be cut off from an upgrade that is under way, and the moments to be cut off at."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import processes, sshd
from lab.cluster import Lab
from lab.layout import PROJECT
from tests.lab.cluster import BASE, FIRST, lock, ours, until
from tests.lab.preloaded import Command
from tests.lab.sweep import disk

PAUSE = 0.15
"""Seconds for which the hop rests before each of its instructions."""

PAUSES = """
-module(lab_pauses).
-export([rest/2]).

rest(Milliseconds, Begun) ->
    ok = file:write_file(Begun, <<>>),
    timer:sleep(Milliseconds).
"""


@dataclass(frozen=True)
class Moment:
    """``delay`` seconds after the upgrade has come to a ``stage``: staging, extract or hop."""

    stage: str
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.stage}+{self.delay * 1000:.0f}ms"


def moments(chance: random.Random, in_hop: int) -> Iterator[Moment]:
    """One at each of the stages before the hop, and some in the hop, spread over it."""
    yield Moment("staging")
    yield Moment("extract")
    length = PAUSE * len(_instructions())
    for n in range(in_hop):
        yield Moment("hop", round(length * (n + chance.random()) / in_hop, 3))


def _instructions() -> list[str]:
    original = (PROJECT / "priv" / "relup" / f"{BASE}-to-{FIRST}.relup").read_text()
    changes = original.split("code_changes =>")[1].split("post_upgrade_callbacks")[0]
    return [line for line in changes.splitlines() if line.strip().startswith("{")]


class Upgrade:
    """An upgrade of a host by a hop that takes its time; ``folder`` is for its catalogue."""

    def __init__(self, lab: Lab, host: str, folder: Path) -> None:
        self.lab = lab
        self.host = host
        self.begun = folder / "begun"
        self.catalogue = folder / "catalogue"
        self._write_catalogue()

    def _write_catalogue(self) -> None:
        self.catalogue.mkdir()
        name = f"{BASE}-to-{FIRST}.relup"
        text = (PROJECT / "priv" / "relup" / name).read_text()
        rest = f'{{apply, lab_pauses, rest, [{PAUSE * 1000:.0f}, "{self.begun}"]}}'
        for line in _instructions():
            text = text.replace(line, f"{rest},\n{line}", 1)
        text = text.replace("code_changes => [", "code_changes => [{load_module, lab_pauses},", 1)
        (self.catalogue / name).write_text(text)
        (self.catalogue / "lab_pauses.erl").write_text(PAUSES)
        for helper in (PROJECT / "priv" / "relup").glob("*.erl"):
            (self.catalogue / helper.name).write_bytes(helper.read_bytes())

    @property
    def options(self) -> tuple[str, ...]:
        """The options of the command."""
        return ("--host", self.host, *self._brought)

    @property
    def resuming(self) -> tuple[str, ...]:
        """The options of the command that takes the last run up, whose controller is gone."""
        return ("--resume", "last", *self._brought)

    @property
    def _brought(self) -> tuple[str, ...]:
        return ("--tarball", str(self.lab.tarball(FIRST)), "--catalogue", str(self.catalogue), "--yes")

    def await_moment(self, moment: Moment) -> None:
        """Wait until the upgrade has come there."""
        staging, trees = ours(self.lab, self.host) / "staging", self.lab.root(self.host) / "relup"
        come: dict[str, Callable[[], bool]] = {
            "staging": lambda: any(staging.glob("*.part")),
            "extract": lambda: any(trees.glob(f"{disk.TEMPORARY}*")),
            "hop": self.begun.exists,
        }
        _soon(come[moment.stage])
        time.sleep(moment.delay)

    def cut(self, what: str, controller: Command) -> None:
        """Kill the ``core``, the SSH server's side of the ``connection``, or the ``controller``, suspended before."""
        {"core": self._cut_core, "connection": self._cut_connection, "controller": self._cut_controller}[what](
            controller
        )

    def _cut_core(self, _controller: Command) -> None:
        os.kill(until("the lock names its owner", lambda: lock(self.lab, self.host))["pid"], signal.SIGKILL)

    def _cut_connection(self, _controller: Command) -> None:
        server = sshd.pid(self.lab.host(self.host))
        sessions = processes.find(
            lambda pid: server in (processes.parent(pid), processes.parent(processes.parent(pid)))
        )
        for pid in sessions:
            processes.kill(pid, lambda candidate: processes.executable(candidate).startswith("sshd"))

    def _cut_controller(self, controller: Command) -> None:
        controller.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE)
        controller.kill()

    def suspend(self, controller: Command) -> None:
        """Suspend the controller for longer than the whole hop takes."""
        controller.send_signal(signal.SIGSTOP)
        time.sleep(2 * PAUSE * len(_instructions()))
        controller.send_signal(signal.SIGCONT)


def _soon(condition: Callable[[], bool]) -> None:
    """As `until`, with hardly a pause between two looks: some of this lasts a few milliseconds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the upgrade did not come to that moment"
        # The upgrade needs the processor.
        time.sleep(0.001)


def results(journal: Path) -> list[tuple[str, str | None]]:
    """Run and result of each attempt, None for one that is not finished; by the history in a folder, oldest first."""
    return [(row["run"], row["result"]) for row in disk.attempts(journal)]
