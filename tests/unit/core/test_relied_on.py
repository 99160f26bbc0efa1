"""What a proof that a tree boots relies on: while all of it stays as it was the wrapper is not asked again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.release.wrapper import Vars
from relup_remote.core import boot, processes, relied_on
from relup_remote.core.erlang.link import Peer
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import RunningNode
from relup_remote.core.site import STAMP, Site

from .test_boot import Machine


class Proven(Machine):
    """A machine whose tree has been proven to boot, while a node ran."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Vars.BASE)
        self.deploy(Vars.BASE)
        self.log.joinpath("erlang.log").touch()
        (self.base / "data" / "configs").mkdir()
        (self.base / "data" / "configs" / "cluster.hocon").write_text("a = 1\n")
        (self.base / "data" / "work").mkdir()
        (self.tree / STAMP).write_text("{}")
        # A link to a file counts as that file does.
        (self.etc / "acl.conf").symlink_to(root / "acl.conf")
        (root / "acl.conf").touch()
        self.runs(os.getpid())
        self.proof = str(self.again("")["proof"])
        assert self.times == 1

    def runs(self, pid: int) -> None:
        started = processes.started(f"/proc/{pid}")
        base, data = str(self.base), str(self.base / "data")
        node = RunningNode(pid, os.getuid(), "emqx@h", base, base, data, Peer("emqx@h", "", "", list), started)
        self.site = Site(base, data, None, node)

    def again(self, before: str) -> dict[str, Any]:
        return boot.prove(str(self.tree), self.site, 20, str(self.base / "data" / "work"), before)

    @property
    def times(self) -> int:
        """How often the wrapper was asked."""
        lines = (self.etc.parent / "asked").read_text().splitlines()
        return sum(line.startswith(f"{self.tree} ") for line in lines)


@pytest.fixture
def machine(tmp_path: Path) -> Proven:
    return Proven(tmp_path)


def test_while_nothing_has_changed_the_wrapper_is_not_asked_again(machine: Proven) -> None:
    machine.mark()
    # What a run and a node leave while they go on.
    (machine.tree / STAMP).write_text('{"used": true}')
    (machine.log / "erlang.log").write_text("more")
    (machine.base / "data" / "mnesia").mkdir()
    told = machine.again(machine.proof)
    assert (machine.times, told["proof"], told["problems"]) == (1, machine.proof, [])
    assert told["configuration"] == {
        "checked": True,
        "by": str(machine.tree / "bin" / "emqx"),
        "seconds": 0.0,
        "why": None,
    }
    # Without a proof, and with another one, it is asked.
    for before in ("", "0" * 64):
        machine.again(before)
    assert machine.times == 3


def same_text(path: Path) -> None:
    """Write what is there already, with the same size and time of change of the content."""
    found, text = path.stat(), path.read_text()
    path.write_text(text)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def write(path: Path) -> None:
    """Write a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


CHANGES: dict[str, Callable[[Proven], object]] = {
    "a file of the tree": lambda machine: same_text(machine.tree / "bin" / "emqx"),
    "its emqx_vars": lambda machine: same_text(machine.tree / "releases" / "emqx_vars"),
    "a file more in it": lambda machine: (machine.tree / "bin" / "more").touch(),
    "what a tree in it is": lambda machine: write(machine.tree / "relup" / "3" / "bin" / "emqx"),
    "the base's wrapper": lambda machine: same_text(machine.base / "bin" / "emqx"),
    "the base's emqx_vars": lambda machine: same_text(machine.base / "releases" / "emqx_vars"),
    "emqx.conf": lambda machine: same_text(machine.conf),
    "another emqx.conf": lambda machine: write(machine.conf.rename(machine.etc / "old").with_name("emqx.conf")),
    "what a link leads to": lambda machine: same_text(machine.etc.parent.parent / "acl.conf"),
    "the cluster's settings": lambda machine: same_text(machine.base / "data" / "configs" / "cluster.hocon"),
    "a file more there": lambda machine: (machine.base / "data" / "configs" / "more.hocon").touch(),
    "the VM": lambda machine: machine.runs(os.getppid()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_has_changed_the_wrapper_is_asked_again(machine: Proven, change: str) -> None:
    CHANGES[change](machine)
    told = machine.again(machine.proof)
    assert machine.times == 2
    assert told["proof"] not in (None, machine.proof)


def test_what_no_longer_boots_is_found_although_it_was_proven(machine: Proven) -> None:
    machine.conf.write_text("echo 'line 1: no such key'; exit 4\n")
    with pytest.raises(Failure, match="line 1: no such key"):
        machine.again(machine.proof)
    machine.conf.unlink()
    with pytest.raises(Failure, match="is not found in"):
        machine.again(machine.proof)


UNCLEAR: dict[str, Callable[[Proven], object]] = {
    "an include": lambda machine: machine.conf.write_text(': && : include "/somewhere/else.conf"\n'),
    "an include of a file": lambda machine: machine.conf.write_text('x="include required(file(more))"\n'),
    "a secret in a file": lambda machine: machine.conf.write_text('password="file:///etc/secret"\n'),
    "an include by the cluster": lambda machine: (machine.base / "data/configs/cluster.hocon").write_text("include x"),
    "a link to a folder": lambda machine: (machine.etc / "certs").symlink_to(machine.base),
    "a link to nothing": lambda machine: (machine.etc / "certs").symlink_to("nowhere"),
    "no folder of settings": lambda machine: (machine.base / "data" / "configs").rename(machine.base / "data" / "old"),
    "no node": lambda machine: setattr(machine, "site", Site(machine.site.base, machine.site.data_dir, None, None)),
}


@pytest.mark.parametrize("what", UNCLEAR)
def test_what_can_not_be_told_is_not_relied_on(machine: Proven, what: str) -> None:
    UNCLEAR[what](machine)
    told = machine.again(machine.proof)
    assert (machine.times, told["proof"]) == (2, None)
    machine.again(machine.proof)
    assert machine.times == 3


def test_a_comment_includes_nothing(machine: Proven) -> None:
    machine.conf.write_text('## include "more.conf"\n  # password = file:///x\n')
    assert machine.again("")["proof"]


def test_a_wrapper_that_reads_nothing_gives_no_proof(machine: Proven) -> None:
    (machine.tree / "bin" / "emqx").write_text("#!/bin/sh\n# BASE_RUNNER_ROOT_DIR\n")
    told = machine.again("")
    assert (told["proof"], told["configuration"]["checked"]) == (None, False)


def test_a_base_has_no_proof(machine: Proven) -> None:
    assert relied_on.digest(str(machine.base), machine.site, str(machine.etc)) is None
