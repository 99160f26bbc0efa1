"""Machines as one thing: up, down, status."""

import json
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.cluster import JOINED, each
from lab.errors import LabError
from lab.hosts import files, network, package
from lab.hosts.image import BOOKWORM, STORE, SYSTEMS, VERSIONS, System
from lab.hosts.machine import BOOT_TIMEOUT, Machine
from lab.hosts.network import Network
from lab.hosts.room import Room
from lab.node import POLL_INTERVAL
from lab.sshd import make_key

FIRST_NODE = 11
"""The number of the first machine with a node."""
BASTION = "bastion"
BASTION_NUMBER = 5
MADE = "made.json"
"""How many machines there are, and of which kind."""


@dataclass(frozen=True)
class Row:
    """What `Hosts.status` says of a machine; None where there is nothing to say."""

    machine: str
    system: str
    address: str
    init: int | None
    service: str | None
    running: str | None


class Hosts:
    """Machines with a node each, which are a cluster, and a bastion if wanted.

    ``state``: their folder. ``nodes``: how many have a node. ``system``: what they boot. ``bastion``: whether the
    operator reaches them only by another machine. ``ipv6``: whether nodes have addresses of version 6. ``more``: what
    `emqx.conf` has beside, see `lab.hosts.files.emqx_conf`. ``before_boot``: gets each new machine before
    it boots. ``say``: gets a line for each thing done.
    """

    def __init__(
        self,
        state: Path = STORE / "machines",
        nodes: int = 3,
        system: System = BOOKWORM,
        *,
        bastion: bool = False,
        ipv6: bool = False,
        more: dict[str, str] | None = None,
        before_boot: Callable[[Machine], None] = lambda _machine: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.state = state
        self.system = system
        self.room = Room(state)
        self.network = Network(self.room, state)
        make = partial(Machine, self.room, system=system)
        names = {f"n{index + 1}": FIRST_NODE + index for index in range(nodes)}
        self.nodes = [make(name, number, folder=state / name) for name, number in names.items()]
        self.bastion = make(BASTION, BASTION_NUMBER, folder=state / BASTION) if bastion else None
        self._family = 6 if ipv6 else 4
        self._more = more or {}
        self._before_boot = before_boot
        self._say = say

    @classmethod
    def as_made(cls, state: Path = STORE / "machines", **wishes: Any) -> "Hosts":
        """The machines that are there, whether on or off; without any, new ones by ``wishes`` (see the class).

        Raises `LabError` (``made_otherwise``) where a wish that is not None contradicts them.
        """
        file = state / MADE
        made = json.loads(file.read_text()) if file.is_file() else {}
        say = wishes.pop("say", lambda line: None)
        given = {name: value for name, value in wishes.items() if value is not None}
        if "system" in given:
            given["system"] = given["system"].suite
        other = [name for name, value in given.items() if made and made[name] != value]
        if other:
            raise LabError(
                "made_otherwise",
                f"There are machines that were made otherwise: {', '.join(f'{name} {made[name]}' for name in other)}.",
                "`inv lab.hosts.forget` removes them.",
            )
        settings = {**given, **made}
        if "system" in settings:
            settings["system"] = next(system for system in SYSTEMS if system.suite == settings["system"])
        return cls(state, say=say, **settings)

    @property
    def machines(self) -> list[Machine]:
        """All machines."""
        return [*self.nodes, *([self.bastion] if self.bastion else [])]

    def machine(self, name: str) -> Machine:
        """A machine by its name."""
        return next(machine for machine in self.machines if machine.name == name)

    @property
    def inventory(self) -> Path:
        """The inventory that is generated for the machines."""
        return self.state / "inventory.yml"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    def node(self, machine: Machine) -> str:
        """The name of a machine's node."""
        return f"emqx@{network.address(machine.number, self._family)}"

    def tarball(self, version: str) -> Path:
        """A release that runs on the machines."""
        return self.system.tarball(version)

    def within(self, words: Iterable[str]) -> list[str]:
        """The command that runs ``words`` as the operator does: on this machine, with the lab's network."""
        return self.room.within(list(words), network_only=True)

    # The whole lab

    def up(self) -> None:
        """Bring up what is not up yet. Raises `LabError` (``no_room``, ``no_image``, ``node_failed`` and others)."""
        self.state.mkdir(parents=True, exist_ok=True)
        kind = {"nodes": len(self.nodes), "bastion": self.bastion is not None, "system": self.system.suite}
        (self.state / MADE).write_text(json.dumps(kind))
        self.system.require()
        tarball = self.tarball(VERSIONS[0])
        if self.room.open():
            self.network.up({machine.name: machine.number for machine in self.machines})
            made = each(self.machines, lambda machine: (machine, machine.mount()))
            new = [machine for machine, is_new in made if is_new]
            self._set_up(new, tarball)
            self._describe()
            if self.bastion:
                self.network.hide([machine.number for machine in self.nodes])
        each(self.machines, self._power_on)
        self.await_cluster()

    def down(self) -> None:
        """Shut all machines down. What they have written stays for the next `up`."""
        if self.room.pid is None:
            self._say("no machine is up")
            return
        each(self.machines, lambda machine: machine.halt())
        self.room.close()
        self._say("machines are down")

    def forget(self) -> None:
        """Take all power away and remove what the machines have written."""
        self.room.close()
        for machine in self.machines:
            machine.forget()
        (self.state / MADE).unlink(missing_ok=True)

    def status(self) -> list[Row]:
        """A row for each machine, by what is really there."""
        return each(self.machines, self._row)

    # Steps

    def _set_up(self, machines: list[Machine], tarball: Path) -> None:
        key = make_key(self.state / "client_key", "lab")
        cookie = secrets.token_hex(16)
        seeds = [self.node(machine) for machine in self.nodes]

        def set_up(machine: Machine) -> None:
            machine.write("/etc/ssh/sshd_config.d/lab.conf", files.SSHD)
            machine.chroot("ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key")
            machine.write("/home/ops/.ssh/authorized_keys", key)
            machine.chroot("chown -R ops:ops /home/ops/.ssh; chmod 700 /home/ops/.ssh")
            if machine in self.nodes:
                machine.write("/etc/sudoers.d/ops", files.SUDOERS, 0o440)
                package.install(machine, tarball)
                bind = f"0.0.0.0:{package.MQTT_PORT}"
                package.configure(machine, files.emqx_conf(self.node(machine), seeds, cookie, bind, **self._more))
            self._before_boot(machine)
            self._say(f"{machine.name}: made")

        each(machines, set_up)

    def _describe(self) -> None:
        addresses = {machine.name: machine.address for machine in self.machines}
        keys = {
            machine.name: machine.path("/etc/ssh/ssh_host_ed25519_key.pub").read_text() for machine in self.machines
        }
        bastion = self.bastion.name if self.bastion else None
        (self.state / "known_hosts").write_text(files.known_hosts(addresses, keys))
        self.ssh_config.write_text(files.ssh_config(self.state, addresses, bastion))
        hosts = {machine.name: {"address": machine.name} for machine in self.nodes}
        self.inventory.write_text(files.inventory(self.state, hosts))

    def _power_on(self, machine: Machine) -> None:
        if machine.power_on():
            self.await_port(machine, 22)
            self._say(f"{machine.name}: booted, ssh at {machine.address}")

    def await_port(self, machine: Machine, port: int, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait until a port of a machine takes connections. Raises `LabError` (``machine_failed``)."""
        deadline = time.monotonic() + timeout
        try_it = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        while time.monotonic() < deadline:
            with suppress(LabError):
                machine.run("bash", "-c", try_it)
                return
            time.sleep(POLL_INTERVAL)
        raise LabError(
            "machine_failed", f"{machine.name}: nothing listens on port {port}.", f"See {machine.folder}/console."
        )

    def eval(self, machine: Machine, expression: str) -> str:
        """The value of an Erlang expression in a machine's node, as printed. Raises `LabError` (``command_failed``)."""
        return machine.run("runuser", "-u", "emqx", "--", "/usr/bin/emqx", "eval", expression).strip()

    def await_cluster(self) -> None:
        """Wait until all nodes have joined. Raises `LabError` (``cluster_incomplete``)."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        left = list(self.nodes)
        while left and time.monotonic() < deadline:
            with suppress(LabError):
                if self.eval(left[0], JOINED) == str(len(self.nodes)):
                    left.pop(0)
                    continue
            time.sleep(POLL_INTERVAL)
        if left:
            raise LabError(
                "cluster_incomplete", f"{left[0].name} does not see all nodes.", f"See {package.LOG} on the machines."
            )

    def _row(self, machine: Machine) -> Row:
        init = machine.init if self.room.pid else None
        service = running = None
        if init is not None and machine in self.nodes:
            service = machine.run("sh", "-c", "systemctl is-active emqx || :").strip()
            with suppress(LabError):
                running = self.eval(machine, "emqx_release:version()").strip('"')
        return Row(machine.name, machine.system.name, machine.address, init, service, running)
