"""A catalogue whose hop waits, or fails, on the nodes of a test's choice: what a test does meanwhile comes in time."""

import shutil
from pathlib import Path

from lab.layout import PROJECT
from tests.lab.cluster import BASE, FIRST, until
from tests.lab.preloaded import Command

HELD = """
-module(lab_held).
-export([pass/1]).

%% First in the hop: waits as long as this node's .hold file is there, and fails if its .fail file is.
pass(Folder) ->
    Node = filename:join(Folder, atom_to_list(node())),
    ok = file:write_file(Node ++ ".reached", <<>>),
    wait(Node),
    case filelib:is_file(Node ++ ".fail") of
        true -> {error, told_to};
        false -> ok
    end.

wait(Node) ->
    case filelib:is_file(Node ++ ".hold") of
        true -> timer:sleep(20), wait(Node);
        false -> ok
    end.
"""


class HeldHops:
    """The catalogue, in a folder of its own, and the nodes that are to be held or to fail, by name."""

    def __init__(self, folder: Path) -> None:
        self.catalogue = folder / "catalogue"
        self._signs = folder / "signs"
        self._signs.mkdir()
        original = PROJECT / "priv" / "relup" / f"{BASE}-to-{FIRST}.relup"
        shutil.copytree(original.parent, self.catalogue)
        first = f'code_changes => [{{load_module, lab_held}}, {{apply, lab_held, pass, ["{self._signs}"]}}] ++'
        changed = original.read_text().replace("code_changes =>", first, 1)
        (self.catalogue / original.name).write_text(changed)
        (self.catalogue / "lab_held.erl").write_text(HELD)

    def hold(self, node: str) -> None:
        """Have the hop wait on a node."""
        self._sign(node, "hold").touch()

    def release(self, node: str) -> None:
        """Let it go on."""
        self._sign(node, "hold").unlink()

    def fail(self, node: str) -> None:
        """Have the hop fail on a node, at its first instruction."""
        self._sign(node, "fail").touch()

    def mend(self, node: str) -> None:
        """Have it succeed again."""
        self._sign(node, "fail").unlink()

    def await_reached(self, node: str, process: Command) -> None:
        """Wait until the hop has begun on a node; fails where the command that is to begin it ends before."""

        def reached() -> bool:
            ended = process.poll() is not None
            found = self._sign(node, "reached").exists()
            assert found or not ended, f"ended before the hop on {node}: {process.communicate()}"
            return found

        until(f"the hop begins on {node}", reached, timeout=120)

    def clear(self) -> None:
        """Forget all that was asked for and seen."""
        for sign in self._signs.iterdir():
            sign.unlink()

    def _sign(self, node: str, what: str) -> Path:
        return self._signs / f"{node}.{what}"
