"""What another user has planted on a host: refused by name, with nothing changed, or passed over where that is right.

Files and folders are refused: the core can neither use nor remove what is not its own, and who made it may want to be
known.

A process that only claims to be the node, or listens on its port at another address, is passed over while the node runs
beside it: anyone can start one, and should not be able to keep a node from being upgraded. It is refused where it is
all there is, for the operator took something for the node.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Lab
from relup_remote.rollout.rows import Row
from tests.lab.cluster import FIRST, Tool, code_of, ours, running_lab
from tests.lab.core import Core
from tests.unit.core.others import NOBODY, as_root, claiming, holding

pytestmark = as_root

HOST = "n1"
STAMP = '{"bytes": 0, "files": 0, "sha256": "%s", "version": "5.10.5-lab"}'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One node, on a host whose code is the same before and after all of these tests."""
    with running_lab(tmp_path_factory.mktemp("lab"), 1) as made:
        before = code_of(made, HOST)
        yield made
        made.start_node(HOST)
        assert code_of(made, HOST) == before


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    """The tool, whose core the host keeps already."""
    tool = Tool(lab.inventory_path)
    assert tool.run("status").status == 0
    return tool


@pytest.fixture(scope="module")
def tarball(lab: Lab) -> Path:
    return lab.tarball(FIRST)


class Ground:
    """Where things are planted: below a node's root, and outside of it."""

    def __init__(self, lab: Lab, outside: Path) -> None:
        self.root = lab.root(HOST)
        self.data = self.root / "data"
        self.ours = ours(lab, HOST)
        self.relup = self.root / "relup"
        self.tree = self.relup / FIRST
        self.cache = lab.host(HOST).home / ".cache" / "relup_remote"
        self.outside = outside

    def file(self, path: Path, content: str = "") -> Path:
        """A file of another user."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(content)
        return self.give(path)

    def folder(self, path: Path) -> Path:
        """A folder of another user, private as ours are."""
        path.mkdir(mode=0o700, parents=True)
        return self.give(path)

    def link(self, path: Path) -> Path:
        """A link out of the root."""
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.symlink_to(self.outside)
        return path

    def give(self, path: Path) -> Path:
        os.chown(path, NOBODY, NOBODY)
        return path

    def open(self, path: Path) -> Path:
        """A folder into which anyone may put things."""
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o777)
        return path

    def forged(self, path: Path) -> Path:
        """A tree that says it is whole."""
        path.mkdir(parents=True)
        for inner in (path / ".relup_remote.json", path / "bin" / "emqx"):
            self.file(inner, STAMP % ("0" * 64))
        return self.give(path)

    def seen(self) -> dict[str, tuple[int, int, int, str]]:
        """All below the root and outside of it that a command could have changed: owner, mode, size, where it leads."""
        found = {}
        for path in [self.root, *self.root.rglob("*"), self.outside, *self.outside.rglob("*"), self.cache]:
            if {"mnesia", "log"}.isdisjoint(path.parts):
                stat = path.lstat()
                leads = str(path.readlink()) if path.is_symlink() else ""
                size = 0 if path.is_dir() else stat.st_size
                found[str(path)] = (stat.st_uid, stat.st_mode, size, leads)
        return found


@pytest.fixture
def ground(lab: Lab, tmp_path: Path) -> Iterator[Ground]:
    """A node on whose host nothing is left of what was planted."""
    found = Ground(lab, tmp_path)
    mode = found.data.stat().st_mode & 0o7777
    found.ours.mkdir(mode=0o700)
    yield found
    found.data.chmod(mode)
    os.chown(found.cache, os.geteuid(), -1)
    for path in (found.ours, found.relup):
        path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)


PLANTED: dict[str, tuple[str, Callable[[Ground], Path]]] = {
    "our folder": ("untrusted_dir", lambda at: at.give(at.ours)),
    "our folder, open": ("untrusted_dir", lambda at: at.open(at.ours)),
    "the staging folder": ("untrusted_dir", lambda at: at.folder(at.ours / "staging")),
    "the staging folder as a link": ("untrusted_file", lambda at: at.link(at.ours / "staging")),
    "a staged part": ("untrusted_file", lambda at: at.link(at.ours / "staging" / "emqx.tar.gz.part")),
    "the work folder": ("untrusted_dir", lambda at: at.folder(at.ours / "work")),
    "the history as a link": ("untrusted_file", lambda at: at.link(at.ours / "journal.sqlite3")),
    "the history's own journal": ("untrusted_file", lambda at: at.file(at.ours / "journal.sqlite3-journal")),
    "the lock": ("untrusted_file", lambda at: at.file(at.ours / "lock")),
    "an outcome": ("untrusted_file", lambda at: at.file(at.ours / "outcome")),
    "relup as a link": ("untrusted_file", lambda at: at.link(at.relup)),
    "relup, open": ("untrusted_dir", lambda at: at.open(at.relup)),
    "a tree with a forged stamp": ("untrusted_dir", lambda at: at.forged(at.tree)),
    "a tree as a link": ("untrusted_file", lambda at: at.link(at.tree)),
    "a partial tree": ("untrusted_dir", lambda at: at.forged(at.relup / ".relup_remote-x")),
    "the marker": ("untrusted_file", lambda at: at.file(at.relup / "current", FIRST)),
    "the data folder, open": ("untrusted_dir", lambda at: at.open(at.data)),
    "the folder of the core": ("untrusted_dir", lambda at: at.give(at.cache)),
}


def refusals(relup: Tool, tarball: Path) -> Iterator[dict[str, Any]]:
    """The errors of plan and upgrade, and of the core were it not asked to look first; none has changed anything."""
    for command, yes in (("plan", []), ("upgrade", ["--yes"])):
        ran = relup.run(command, "--tarball", str(tarball), *yes)
        yield refused(ran.row())
        assert ran.status == (1 if command == "plan" and ran.row()["outcome"] == "failed" else 3)
    yield refused(Core(relup, HOST).upgrade(tarball))


def refused(row: Row) -> dict[str, Any]:
    """The error of a host that has changed nothing."""
    error: dict[str, Any] = row["error"]
    # Where the core may not even begin there is nobody to refuse.
    assert row["outcome"] == ("failed" if error["stage"] == "connect" else "refused"), error
    assert error["hint"]
    return error


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_refused_by_name(relup: Tool, tarball: Path, ground: Ground, what: str) -> None:
    err_type, plant = PLANTED[what]
    planted = plant(ground)
    before = ground.seen()
    for error in refusals(relup, tarball):
        assert (error["err_type"], error["detail"]["path"]) == (err_type, str(planted)), error
        assert str(planted) in error["message"]
    assert ground.seen() == before


def test_who_only_claims_to_be_the_node_is_passed_over(
    lab: Lab, relup: Tool, tarball: Path, ground: Ground, tmp_path: Path
) -> None:
    with claiming(tmp_path, str(ground.root), lab.host(HOST).node):
        ran = relup.run("plan", "--tarball", str(tarball))
    assert ran.row()["outcome"] == "ready", ran.error()


def test_who_listens_on_the_nodes_port_at_another_address_is_passed_over(
    lab: Lab, relup: Tool, tarball: Path, ground: Ground
) -> None:
    assert ground.root
    with holding(lambda: socket.create_server(("127.0.0.2", lab.host(HOST).dist_port))):
        ran = relup.run("plan", "--tarball", str(tarball))
    assert ran.row()["outcome"] == "ready", ran.error()


def test_who_claims_to_be_a_node_that_is_down_is_named(
    lab: Lab, relup: Tool, tarball: Path, ground: Ground, tmp_path: Path
) -> None:
    lab.stop_node(HOST)
    with claiming(tmp_path, str(ground.root), lab.host(HOST).node) as pid:
        before = ground.seen()
        for error in refusals(relup, tarball):
            assert error["err_type"] == "untrusted_process"
            assert [process["pid"] for process in error["detail"]["processes"]] == [pid]
        assert ground.seen() == before
