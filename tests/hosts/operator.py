"""The tool as an operator of the machines runs it: on this machine, in the lab's network."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.hosts.lab import Hosts
from tests.lab.cluster import PATIENCE, Ran, Tool, ended
from tests.unit.terminal import on_terminal


class Operator:
    """Runs `relup` on an inventory, `--json` unless told otherwise, with a state directory of its own."""

    def __init__(self, hosts: Hosts, state: Path, inventory: Path | None = None) -> None:
        self._hosts = hosts
        self.state = state
        self._tool = Tool(inventory or hosts.inventory, state, plain=False)

    def start(self, command: str, *options: str, json: bool = True) -> "subprocess.Popen[str]":
        """Start a command and leave it running."""
        return subprocess.Popen(
            self._hosts.within(self._tool.words(command, *options, json=json)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )

    def on_terminal(self, command: str, *options: str, typed: Sequence[str], question: bytes) -> tuple[int, str]:
        """The exit status of a command on a terminal, and what was seen; see `tests.unit.terminal.on_terminal`."""
        words = ["env", f"XDG_STATE_HOME={self.state}", *self._tool.words(command, *options)]
        program, *rest = self._hosts.within(words)
        return on_terminal([str(shutil.which(program)), *rest], typed, question)

    def run(self, command: str, *options: str, json: bool = True) -> Ran:
        """Run a command to its end."""
        return ended(self.start(command, *options, json=json), PATIENCE)

    def good(self, command: str, *options: str) -> Ran:
        """Run a command that has to succeed."""
        ran = self.run(command, *options)
        assert ran.status == 0, ran.stdout + ran.stderr
        return ran
