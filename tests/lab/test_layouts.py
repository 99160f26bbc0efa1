"""An operator's months on each way of installing a node: upgrade, restart, second hop, restart, rollback, restart.

Restarts are those of the node's own wrapper, typed in another folder. Sessions that last and retained messages are
there after each step.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import variants
from lab.cluster import Lab
from lab.durable import Estate
from lab.release.sources import LEAN, Traits
from lab.release.wrapper import Vars, folders
from tests.lab.cluster import BASE, FIRST, SECOND, Tool
from tests.lab.ports import free_ports
from tests.lab.terminal import written

HOST = "n1"


@dataclass(frozen=True)
class Installation:
    """A way of installing a node.

    ``packaged``, ``tls``, ``traits``: as of a `Lab`. ``base``: what an operator has done to the root. ``target``: the
    tarball to upgrade to, made of the usual one at a new path.
    """

    packaged: bool = False
    tls: bool = False
    traits: Traits = LEAN
    base: Callable[[Lab], None] = lambda _lab: None
    target: Callable[[Path, Path], Path] = lambda usual, _new: usual


def names_absolute_folders(lab: Lab) -> None:
    """Set in the base's own file, at its end, where the node's files are, as operators do."""
    root = lab.root(HOST)
    file = root / "releases" / "emqx_vars"
    file.write_text(f'{file.read_text()}EMQX_ETC_DIR="{root}/etc"\nEMQX_LOG_DIR="{root}/log"\n')


def of_a_package(usual: Path, new: Path) -> Path:
    """The release as a package's build has it: with folders that this host does not have."""
    return variants.with_folders(usual, new, {**folders(Vars.PACKAGE), "RUNNER_USER": ""})


def of_newer_builds(usual: Path, new: Path) -> Path:
    """The release as newer builds have it, with the base's folders."""
    return variants.with_folders(usual, new, folders(Vars.BASE))


INSTALLATIONS = {
    "tarball, relative": Installation(),
    "tarball, relative, TLS": Installation(tls=True, target=of_newer_builds),
    "tarball, absolute": Installation(base=names_absolute_folders, target=of_a_package),
    "package": Installation(packaged=True, target=of_a_package),
    "package, TLS": Installation(packaged=True, tls=True),
    "Elixir": Installation(traits=Traits(elixir=True)),
}


@contextlib.contextmanager
def installed(installation: Installation, folder: Path) -> Iterator[Lab]:
    """One node, installed that way."""
    lab = Lab(
        folder,
        nodes=1,
        ports=free_ports(),
        packaged=installation.packaged,
        tls=installation.tls,
        traits=installation.traits,
    )
    try:
        lab.up()
        installation.base(lab)
        yield lab
    finally:
        lab.down()


class Node:
    """The node, as its operator at a shell sees it. Commands are typed in a folder that is not the node's."""

    def __init__(self, lab: Lab) -> None:
        self._wrapper = str(lab.host(HOST).wrapper)
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(lab.host(HOST).home), "TERM": "dumb"}

    def command(self, *words: str) -> str:
        """What a command of the wrapper's prints."""
        ran = subprocess.run(
            [self._wrapper, *words],
            cwd="/",
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def restart(self) -> None:
        self.command("stop")
        self.command("start")

    def runs(self, version: str, root: Path) -> None:
        """It runs that version; it was booted from `root`."""
        assert self.command("eval", "emqx_release:version()") == f'"{version}"\n'
        assert self.command("root_dir") == f"{root}\n"
        assert f" {version} is started" in self.command("ctl", "status")

    def console(self, version: str) -> None:
        """A shell can be attached to it."""
        operator, terminal = os.openpty()
        shell = subprocess.Popen(
            [self._wrapper, "remote_console"],
            cwd="/",
            env=self._environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        try:
            # Its echo has other characters.
            os.write(operator, b'{here, emqx_release:version(), "a" ++ "ttached"}.\n')
            seen = b""
            for data in written(operator):
                seen += data
                if b'"attached"' in seen:
                    break
            assert f'{{here,"{version}","attached"}}'.encode() in seen, seen.decode(errors="replace")
        finally:
            shell.kill()
            shell.wait()
            os.close(operator)


@pytest.mark.share(2)
@pytest.mark.parametrize("name", INSTALLATIONS)
def test_upgrades_restarts_and_the_way_back(name: str, tmp_path: Path) -> None:
    with installed(INSTALLATIONS[name], tmp_path / "lab") as lab:
        goes_through(lab, INSTALLATIONS[name], tmp_path)


def goes_through(lab: Lab, installation: Installation, folder: Path) -> None:
    """Upgrade, restart, upgrade, restart, roll back, restart; ``folder``: where its tarballs are written."""
    relup, node, root, port = Tool(lab.inventory_path), Node(lab), lab.root(HOST), lab.mqtt_port(HOST)
    estate = Estate("kept")
    estate.leave(port)
    before = {path: path.read_bytes() for path in (lab.host(HOST).etc / "emqx.conf", root / "releases" / "emqx_vars")}

    def upgrade(version: str) -> None:
        target = installation.target(lab.tarball(version), folder / f"{version}.tar.gz")
        ran = relup.run("upgrade", "--tarball", str(target), "--yes")
        assert ran.status == 0, ran.stdout
        boot = ran.row()["facts"]["boot"]
        assert boot["configuration"]["checked"]
        assert boot["paths"]["EMQX_ETC_DIR"] == str(lab.host(HOST).etc)
        # Nothing was asked by the wrapper for want of a way in.
        assert {each["err_type"] for each in ran.row()["warnings"]} <= {"no_process", "code_left_old", "not_covered"}
        good(version)

    def good(version: str) -> None:
        estate.check(port, rejoin=True)
        for command in ("verify", "postcheck"):
            ran = relup.run(command, "--target", version)
            assert ran.status == 0, ran.stdout

    upgrade(FIRST)
    estate.add(port)
    node.restart()
    node.runs(FIRST, root / "relup" / FIRST)
    node.console(FIRST)
    good(FIRST)
    upgrade(SECOND)
    estate.add(port)
    node.restart()
    node.runs(SECOND, root / "relup" / SECOND)
    good(SECOND)
    ran = relup.run("rollback", "--yes")
    assert ran.status == 0, ran.stdout
    estate.check(port, rejoin=True)
    node.restart()
    node.runs(BASE, root)
    node.console(BASE)
    estate.check(port)
    assert relup.run("verify", "--target", BASE).status == 0
    assert {path: path.read_bytes() for path in before} == before
    # Whatever was booted, the node's files are where they always were.
    assert not [path for tree in (root / "relup").iterdir() for path in tree.glob("*") if path.name in ("etc", "data")]
    assert (lab.host(HOST).log / "emqx.log").is_file()
