"""An operator's months with nodes whose targets name other folders than theirs.

Upgrade, restart, second hop, restart, rollback, restart. Restarts are those of the node's own wrapper; what the node
had on disk is there after each.
"""

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import variants
from lab.cluster import Lab
from lab.release.wrapper import Vars, folders
from tests.lab.cluster import BASE, FIRST, SECOND, Tool
from tests.lab.ports import free_ports

HOST = "n1"


def names_absolute_folders(lab: Lab) -> None:
    """Set in the base's own file, at its end, where the node's files are, as operators do."""
    root = lab.root(HOST)
    file = root / "releases" / "emqx_vars"
    file.write_text(f'{file.read_text()}EMQX_ETC_DIR="{root}/etc"\nEMQX_LOG_DIR="{root}/log"\n')


def of_a_package(usual: Path, new: Path) -> Path:
    """The release as a package's build has it: with folders that this host does not have."""
    return variants.with_folders(usual, new, {**folders(Vars.PACKAGE), "RUNNER_USER": ""})


@dataclass(frozen=True)
class Installation:
    """A way of installing a node. ``base``: what an operator has done to the root."""

    packaged: bool = False
    base: Callable[[Lab], None] = lambda _lab: None


# All other labs are installed from a tarball, with relative folders.
INSTALLATIONS = {
    "tarball, absolute": Installation(base=names_absolute_folders),
    "package": Installation(packaged=True),
}


class State:
    """What the node has on disk: rows of a table, which stand for whatever outlives a restart."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._written: list[str] = []
        self._eval("{atomic, ok} = mnesia:create_table(kept, [{disc_copies, [node()]}]), ok")

    def write(self, key: str) -> None:
        self._written.append(key)
        self._eval(f"ok = mnesia:sync_dirty(fun() -> mnesia:write({{kept, '{key}', here}}) end), mnesia:dump_log(), ok")

    def check(self) -> None:
        found = self._eval("ok = mnesia:wait_for_tables([kept], 20000), lists:sort(mnesia:dirty_all_keys(kept))")
        assert re.findall(r"\w+", found) == sorted(self._written)

    def _eval(self, expression: str) -> str:
        return self._lab.eval(HOST, expression)


@contextlib.contextmanager
def installed(installation: Installation, folder: Path) -> Iterator[Lab]:
    """One node, installed that way."""
    lab = Lab(folder, nodes=1, ports=free_ports(), packaged=installation.packaged)
    try:
        lab.up()
        installation.base(lab)
        yield lab
    finally:
        lab.down()


def by_wrapper(lab: Lab, command: str) -> None:
    """One of the node's own commands, typed in some folder."""
    ran = subprocess.run(
        [lab.host(HOST).wrapper, command],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(lab.host(HOST).home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr


def restarts(lab: Lab, version: str, root: Path) -> None:
    by_wrapper(lab, "stop")
    by_wrapper(lab, "start")
    said = lab.eval(HOST, "{emqx_release:version(), code:root_dir()}")
    # A long line is broken.
    assert "".join(said.split()) == f'{{"{version}","{root}"}}'


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_upgrades_restarts_and_the_way_back(name: str, tmp_path: Path) -> None:
    with installed(INSTALLATIONS[name], tmp_path / "lab") as lab:
        goes_through(lab, tmp_path)


def goes_through(lab: Lab, folder: Path) -> None:
    """Upgrade, restart, upgrade, restart, roll back, restart; ``folder``: where its tarballs are written."""
    relup = Tool(lab.inventory_path)
    root = lab.root(HOST)
    state = State(lab)
    state.write("before")
    before = {path: path.read_bytes() for path in (lab.host(HOST).etc / "emqx.conf", root / "releases" / "emqx_vars")}

    def upgrade(version: str) -> None:
        target = of_a_package(lab.tarball(version), folder / f"{version}.tar.gz")
        ran = relup.run("upgrade", "--tarball", str(target), "--yes")
        assert ran.status == 0, ran.stdout
        boot = ran.row()["facts"]["boot"]
        assert boot["configuration"]["checked"]
        assert boot["paths"]["EMQX_ETC_DIR"] == str(lab.host(HOST).etc)
        assert lab.eval(HOST, "emqx_release:version()") == f'"{version}"'
        good(version)

    def good(version: str) -> None:
        state.check()
        for command in ("verify", "postcheck"):
            ran = relup.run(command, "--target", version)
            assert ran.status == 0, ran.stdout

    upgrade(FIRST)
    state.write("first")
    restarts(lab, FIRST, root / "relup" / FIRST)
    good(FIRST)
    upgrade(SECOND)
    state.write("second")
    restarts(lab, SECOND, root / "relup" / SECOND)
    good(SECOND)
    ran = relup.run("rollback", "--yes")
    assert ran.status == 0, ran.stdout
    state.check()
    restarts(lab, BASE, root)
    state.check()
    assert relup.run("verify", "--target", BASE).status == 0
    assert {path: path.read_bytes() for path in before} == before
    # Whatever was booted, the node's files are where they always were.
    assert not [path for tree in (root / "relup").iterdir() for path in tree.glob("*") if path.name in ("etc", "data")]
    assert (lab.host(HOST).log / "emqx.log").is_file()
