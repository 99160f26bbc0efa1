"""Where everything of a lab is, and which ports and names it uses: pure, nothing is touched here.

::

    <state>/                       0700, `.lab` in the project unless told otherwise
      lab.json                     the settings the lab was made with
      cookie                       0600, shared by the nodes
      client_key, client_key.pub   the operator's key, accepted by every host
      known_hosts, ssh_config      `ssh -F <state>/ssh_config n1` just works
      epmd.{pid,log}               only where the lab had to start one
      releases/                    tarballs and sidecars
      hosts/n1/ssh/                host key, sshd_config, pid, log, session wrapper
      hosts/n1/home/               HOME of every session on that host
      hosts/n1/root/               the node's root: a release, unpacked
      hosts/n1/start.log           what the last `bin/emqx start` said

A host on which the node is installed as by a package has, instead of ``root``, below its folder what a package has
below ``/``: ``usr/lib/emqx`` (the root), ``usr/bin/emqx``, ``etc/emqx``, ``var/lib/emqx``, ``var/log/emqx``.

Host *N* listens for SSH on ``ports.ssh + N`` and for MQTT on ``ports.mqtt + N``. Its node is ``emqxN@127.0.0.1``, so
that its distribution port is ``ports.dist + N`` by EMQX's own rule. A lab may have more hosts than nodes: those beyond
have an SSH server and a home of their own, and share the nodes in turn.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"
PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_STATE = PROJECT / ".lab"
STATE_VARIABLE = "RELUP_LAB_DIR"
EPMD_PORT = 4369
"""Port on which a node started with epmd looks for it."""

CORE, REPLICANT = "core", "replicant"
"""What a node is in its cluster, in EMQX's words."""

DEFAULT_DIST_BASE = 4370
"""The base of the distribution ports that needs no setting."""


def state_dir(given: str | os.PathLike[str] | None = None) -> Path:
    """The state folder to use: the one given, else that of ``RELUP_LAB_DIR``, else `.lab` in the project."""
    return Path(given or os.environ.get(STATE_VARIABLE) or DEFAULT_STATE).resolve()


@dataclass(frozen=True)
class Ports:
    """The bases of a lab's ports; host N uses base + N."""

    ssh: int = 22200
    mqtt: int = 18830
    dist: int = DEFAULT_DIST_BASE

    def shifted(self, by: int) -> "Ports":
        """The same bases moved by ``by``, for a lab beside another."""
        return Ports(self.ssh + by, self.mqtt + by, self.dist + by)


@dataclass(frozen=True)
class Host:
    """One host of a lab. ``owner``: the host whose node it leads to, where it has none of its own. ``packaged``:
    whether the node is installed as by a package."""

    number: int
    dir: Path
    ports: Ports
    role: str = CORE
    owner: "Host | None" = None
    packaged: bool = False

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def node(self) -> str:
        return f"emqx{self._at_home.number}@{LOOPBACK}"

    @property
    def ssh_port(self) -> int:
        return self.ports.ssh + self.number

    @property
    def mqtt_port(self) -> int:
        return self.ports.mqtt + self._at_home.number

    @property
    def dist_port(self) -> int:
        return self.ports.dist + self._at_home.number

    @property
    def ssh_dir(self) -> Path:
        return self.dir / "ssh"

    @property
    def home(self) -> Path:
        return self.dir / "home"

    @property
    def root(self) -> Path:
        return self._at_home.dir / ("usr/lib/emqx" if self.packaged else "root")

    @property
    def wrapper(self) -> Path:
        return self._at_home.dir / "usr/bin/emqx" if self.packaged else self.root / "bin" / "emqx"

    @property
    def etc(self) -> Path:
        """The folder of the node's configuration."""
        return self._at_home.dir / "etc/emqx" if self.packaged else self.root / "etc"

    @property
    def data(self) -> Path:
        """The node's data folder."""
        return self._at_home.dir / "var/lib/emqx" if self.packaged else self.root / "data"

    @property
    def log(self) -> Path:
        """The folder of the node's logs."""
        return self._at_home.dir / "var/log/emqx" if self.packaged else self.root / "log"

    @property
    def installed(self) -> list[Path]:
        """All that an installation of the node consists of."""
        return [self._at_home.dir / name for name in ("usr", "etc", "var")] if self.packaged else [self.root]

    @property
    def start_log(self) -> Path:
        return self._at_home.dir / "start.log"

    @property
    def _at_home(self) -> "Host":
        """The host on which this one's node runs."""
        return self.owner or self


@dataclass(frozen=True)
class Layout:
    """A lab's files, ports and names.

    ``replicants``: how many of the nodes, the last ones, are replicants. ``size``: the number of hosts, by default one
    for each node. ``packaged``: whether nodes are installed as by a package. ``tls``: whether they speak to each other
    over TLS.
    """

    state: Path
    nodes: int = 3
    ports: Ports = field(default_factory=Ports)
    epmd: bool = False
    replicants: int = 0
    size: int | None = None
    packaged: bool = False
    tls: bool = False

    @property
    def hosts(self) -> list[Host]:
        """All hosts, those with a node of their own first."""
        return [self._host(number) for number in range(1, (self.size or self.nodes) + 1)]

    @property
    def members(self) -> list[Host]:
        """The hosts with a node of their own."""
        return self.hosts[: self.nodes]

    def _host(self, number: int) -> Host:
        turn, index = divmod(number - 1, self.nodes)
        role = CORE if index < self.nodes - self.replicants else REPLICANT
        owner = self._host(index + 1) if turn else None
        return Host(number, self.state / "hosts" / f"n{number}", self.ports, role, owner, self.packaged)

    @property
    def settings(self) -> Path:
        return self.state / "lab.json"

    @property
    def cookie(self) -> Path:
        return self.state / "cookie"

    @property
    def client_key(self) -> Path:
        return self.state / "client_key"

    @property
    def known_hosts(self) -> Path:
        return self.state / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh_config"

    @property
    def releases(self) -> Path:
        return self.state / "releases"

    @property
    def epmd_pid(self) -> Path:
        return self.state / "epmd.pid"

    @property
    def epmd_log(self) -> Path:
        return self.state / "epmd.log"

    @property
    def inventory(self) -> Path:
        """The project's `inventory/lab.yml` for its own lab; any other lab keeps its inventory in its state folder."""
        own = self.state == DEFAULT_STATE
        return PROJECT / "inventory" / "lab.yml" if own else self.state / "inventory.yml"
