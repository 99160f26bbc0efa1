"""What is interrupted: a command, on a node in some state, and how it is finished afterwards."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import node
from relup_remote import inventory
from relup_remote.core import boot
from relup_remote.core.protocol import NOTHING_LEFT
from relup_remote.hops.catalogue import load
from relup_remote.rollout import tarball
from relup_remote.rollout.identity import run_id
from relup_remote.rollout.request import Order, Request, request
from relup_remote.rollout.tarball import Tarball
from tests.lab.cluster import BASE, FIRST, SECOND
from tests.lab.sweep import disk
from tests.lab.sweep.disk import Manifest
from tests.lab.sweep.machine import Machine, Ran

QUICK = {"settle": 0.0}
"""Options of every request: a node that answers again is taken at its word."""


class Releases:
    """The releases, read once: tarballs, what a tree of each has to hold, and the MD5s of their modules.

    ``folder`` gets each unpacked.
    """

    def __init__(self, tarballs: Mapping[str, Path], folder: Path, catalogue: Path) -> None:
        self.tarballs = {version: tarball.read(path) for version, path in tarballs.items()}
        self.unpacked = {version: _unpacked(path, folder / version) for version, path in tarballs.items()}
        self.manifests = {version: dict(disk.of_release(path)) for version, path in self.unpacked.items()}
        self.beams: dict[str, dict[str, bytes]] = {}
        self.catalogue = load(catalogue)

    def learn(self, machine: Machine) -> None:
        """Have a machine's node tell the MD5s of all modules."""
        base = str(machine.root)
        for version, path in self.unpacked.items():
            # What boots in front of this base: where its wrapper looks is set at the end of one file.
            text = boot.read_vars(str(path))
            whole = boot.repaired(text, boot.places(text, f"{base}/relup/{version}", base))
            self.manifests[version] |= {boot.VARS: "-" + hashlib.sha256(whole.encode()).hexdigest()}
        self.beams = {version: machine.beams(path) for version, path in self.unpacked.items()}


def _unpacked(tarball_: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.unpack_archive(tarball_, folder, filter="fully_trusted")
    return folder


@dataclass(frozen=True)
class Scene:
    """A machine and the releases, to put states on and to give commands to."""

    machine: Machine
    releases: Releases

    def request(self, command: str, target: str, **options: Any) -> tuple[Request, Path]:
        """A request of a run of its own, and the file that it may ask for."""
        release: Tarball = self.releases.tarballs[target]
        host = inventory.load(self.machine.lab.inventory_path).select(["n1"])[0]
        order = Order(
            command,
            run_id(),
            "sweep@lab",
            tarball=release.to_json(),
            target=target,
            hops=self.releases.catalogue.to(target),
            helpers=self.releases.catalogue.helpers,
            options={**QUICK, **options},
        )
        return request(order, host), release.path

    def command(self, command: str, target: str, **options: Any) -> Ran:
        """Have the core carry out a command; the machine's power stays."""
        ran = self.machine.run(*self.request(command, target, **options))
        assert ran.result, "the core ended without a result"
        return ran

    def base(self) -> None:
        """The node as it was first, with nothing deployed, staged or recorded, up."""
        with self.machine.spending("back to the base"):
            self.machine.lose_power()
            for path in (self.machine.root / "relup", self.machine.ours):
                shutil.rmtree(path, ignore_errors=True)
        self.machine.boot()

    def upgraded(self, target: str) -> None:
        """The node hot-upgraded."""
        self.base()
        with self.machine.spending("upgrade before"):
            ran = self.command("upgrade", target)
        assert ran.result
        assert ran.result["outcome"] == "upgraded", ran.result["error"]

    def plant(self, name: str, release: str) -> Manifest:
        """A damaged tree below ``relup``, as of another tarball; returns what it holds."""
        folder = self.machine.root / "relup" / name
        source = self.releases.unpacked[release]
        for file in sorted(self.releases.manifests[release])[::3]:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / file, folder / file)
        (folder / disk.STAMP).write_text('{"sha256": "of another", "version": "of another", "files": 1, "bytes": 1}')
        return disk.manifest(folder)


@dataclass(frozen=True, eq=False)
class Scenario:
    """A command to be killed, from the release ``old`` towards ``new``, and the command that finishes it.

    ``before`` puts the machine into its state and returns the trees that are not whole in it. ``again`` is what is
    commanded after the power is back; ``done`` is what it may come to, by the release that was booted.
    """

    name: str
    command: str
    old: str
    new: str
    before: Callable[[Scene], Mapping[str, Manifest]]
    again: str = "upgrade"
    target: str = FIRST
    options: Mapping[str, Any] = field(default_factory=dict)
    done: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def kill(self, scene: Scene) -> tuple[Request, Path]:
        """The request of the command to be killed."""
        return scene.request(self.command, self.target, **self.options)

    def finish(self, scene: Scene) -> Ran:
        """Give the command that finishes it."""
        return scene.command(self.again, self.target, **(self.options if self.again == self.command else {}))

    def allows(self, booted: str, result: Mapping[str, Any]) -> bool:
        """Whether the command that finishes it came to what it should, from the booted release."""
        refused = result["outcome"] == "refused" and result["error"]["err_type"] in NOTHING_LEFT
        return ("nothing left" if refused else result["outcome"]) in self.done[booted]


def _base(scene: Scene) -> Mapping[str, Manifest]:
    scene.base()
    return {}


def _upgraded(scene: Scene) -> Mapping[str, Manifest]:
    scene.upgraded(FIRST)
    return {}


def _other_tree(scene: Scene) -> Mapping[str, Manifest]:
    scene.base()
    return {FIRST: scene.plant(FIRST, FIRST)}


def _littered(scene: Scene) -> Mapping[str, Manifest]:
    scene.upgraded(FIRST)
    scene.command("stage", FIRST)
    scene.plant(f"{disk.TEMPORARY}{FIRST}-0123456789ab", FIRST)
    return {}


_PURGE = {"purge": True}
_HOP = {BASE: ("upgraded",), FIRST: ("nothing left",)}
_SECOND_HOP = {FIRST: ("upgraded",), SECOND: ("nothing left",)}
_ROLLBACK = {FIRST: ("rolled back",), BASE: ("nothing left",)}
_CLEANUP = {FIRST: ("cleaned", "unchanged")}

SCENARIOS = (
    Scenario("upgrade", "upgrade", BASE, FIRST, before=_base, done=_HOP),
    Scenario("second hop", "upgrade", FIRST, SECOND, before=_upgraded, target=SECOND, done=_SECOND_HOP),
    Scenario("upgrade over another tree", "upgrade", BASE, FIRST, before=_other_tree, done=_HOP),
    Scenario("rollback", "rollback", FIRST, BASE, before=_upgraded, again="rollback", options=_PURGE, done=_ROLLBACK),
    Scenario("cleanup", "cleanup", FIRST, FIRST, before=_littered, again="cleanup", done=_CLEANUP),
    Scenario("stage", "stage", BASE, BASE, before=_base, done=_HOP),
    Scenario("plan", "plan", BASE, BASE, before=_base, done=_HOP),
)
"""All that is swept, the first by far the most."""


def boots(machine: Machine) -> str:
    """The release that the next boot is of, by the markers on disk."""
    tree = node.boot_root(machine.host)
    return BASE if tree == machine.root else tree.name
