"""A lab as one thing: hosts, nodes, inventory; up, status, reset, down.

What each call finds and leaves:

=========  ==================================  =======================================================
call       on a host that is up                on a host that is down
=========  ==================================  =======================================================
`up`       nothing                             root unpacked if there is none, node booted as it was
`reset`    node back to the first release      the same, and started
`down`     node and SSH server stopped, the    nothing
           root kept for the next `up`
=========  ==================================  =======================================================

Nothing is started by a call that finds a port in use.
"""

import json
import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from lab import certificates, config_files, epmd, node, processes, sshd
from lab.build import build_all
from lab.errors import LabError
from lab.layout import DEFAULT_STATE, Host, Layout, Ports, state_dir
from lab.ports import Claim, require_free
from lab.release.sources import USUAL, Traits

H = TypeVar("H")
T = TypeVar("T")

FIRST_RELEASE = "5.10.4-lab"
CLUSTER_TIMEOUT = 60.0
JOINED = (
    "length([Node || Node <- emqx:running_nodes(), maps:is_key(Node, emqx_cluster:joined_at()),"
    " erpc:call(Node, mnesia, system_info, [use_dir])])"
)
"""How many running nodes have joined: a node connects before its schema is on disc, and takes no tables until it is."""
READY = (
    "emqx:is_running() andalso (emqx:cluster_nodes(stopped) =/= []"
    " orelse maps:is_key(node(), emqx_cluster:joined_at())"
    " andalso [emqx_session | [emqx_passing || application:get_env(mria, external_tables, true)]]"
    " -- mnesia:system_info(local_tables) =:= []"
    " andalso mnesia:wait_for_tables(mnesia:system_info(local_tables), 1000) =:= ok"
    " andalso nodes() -- emqx:running_nodes() =:= [])"
)
"""Whether a node has joined, has all tables, and shares them with all nodes that it sees: it takes clients before.

While others of the cluster are down it may have to wait for them to load a table."""
STATUS = "{emqx_release:version(), emqx_stats:getstat('live_connections.count')}"


@dataclass(frozen=True)
class Row:
    """What `Lab.status` says of a host; None where there is nothing to say."""

    host: str
    ssh_port: int
    sshd_pid: int | None
    node: str
    role: str
    node_pid: int | None
    running: str | None
    boots: str | None
    mqtt_port: int
    connections: str | None


class Lab:
    """A lab in a state folder.

    ``state``: its folder, see `lab.layout.state_dir`. ``nodes``, ``ports``, ``epmd``, ``replicants``, ``hosts`` (how
    many: the layout's ``size``), ``packaged``, ``tls``: as the lab was made, or the defaults of `lab.layout.Layout`,
    where not given.
    ``releases``: the folder of the built tarballs, by default the project's, so that labs share them. ``say``: gets a
    line for each thing done. ``traits``: what the releases take on of real ones.

    Raises `LabError` (``bad_size``).
    """

    def __init__(
        self,
        state: str | os.PathLike[str] | None = None,
        nodes: int | None = None,
        ports: Ports | None = None,
        epmd: bool | None = None,
        *,
        replicants: int | None = None,
        hosts: int | None = None,
        packaged: bool | None = None,
        tls: bool | None = None,
        releases: Path | None = None,
        traits: Traits = USUAL,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        directory = state_dir(state)
        self._made = load(directory)
        known = self._made or Layout(directory)
        self.layout = Layout(
            directory,
            known.nodes if nodes is None else nodes,
            known.ports if ports is None else ports,
            known.epmd if epmd is None else epmd,
            known.replicants if replicants is None else replicants,
            known.size if hosts is None else hosts,
            known.packaged if packaged is None else packaged,
            known.tls if tls is None else tls,
        )
        _check_size(self.layout)
        self.releases = releases or Layout(DEFAULT_STATE).releases
        self.traits = traits
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self._say = say

    # Where things are

    @property
    def hosts(self) -> list[str]:
        """The names of the hosts."""
        return [host.name for host in self.layout.hosts]

    @property
    def inventory_path(self) -> Path:
        """The inventory generated for this lab."""
        return self.layout.inventory

    def host(self, name: str) -> Host:
        """All that is fixed about a host. Raises `LabError` (``unknown_host``)."""
        for host in self.layout.hosts:
            if host.name == name:
                return host
        raise LabError("unknown_host", f"The lab has no host {name}.", f"It has {', '.join(self.hosts)}.")

    def root(self, name: str) -> Path:
        """The root of a host's node."""
        return self.host(name).root

    def mqtt_port(self, name: str) -> int:
        """The port on which a host's node takes MQTT clients."""
        return self.host(name).mqtt_port

    def tarball(self, release: str) -> Path:
        """The tarball of a release, built first if need be. Raises `LabError` (``unknown_release``)."""
        built = build_all(self.releases, self.traits)
        if release not in built:
            raise LabError("unknown_release", f"There is no release {release}.", f"There are {', '.join(built)}.")
        return built[release]

    # The whole lab

    def up(self, release: str = FIRST_RELEASE) -> None:
        """Bring up what is not up yet. A root that is there is booted as it is, else ``release`` is unpacked.

        Raises `LabError` (``port_in_use``, ``lab_differs``, ``sshd_failed``, ``node_failed``, ``cluster_incomplete``).
        """
        self._check_against_made()
        self._require_ports()
        tarball = self.tarball(release)
        self._prepare()
        members = self.layout.members
        each(self.layout.hosts, lambda host: self.start_sshd(host.name))
        if self.layout.epmd and epmd.start(self.layout):
            self._say("epmd started")
        each(members, lambda host: self._unpack(host, tarball))
        self._configure()
        each(members, lambda host: self.start_node(host.name))
        self._await_cluster()

    def reset(self, release: str = FIRST_RELEASE) -> None:
        """Back to the first release, homes empty, nodes running; SSH servers stay up. Raises as `up`."""
        self.tarball(release)
        each(self.layout.members, lambda host: self.stop_node(host.name))
        for host in self.layout.hosts:
            for directory in (*host.installed, host.home):
                shutil.rmtree(directory, ignore_errors=True)
        self._say("roots and homes wiped")
        self.up(release)

    def down(self) -> None:
        """Stop everything the lab runs, and whatever sessions left behind. Roots stay for the next `up`."""
        each(self.layout.members, lambda host: self.stop_node(host.name))
        each(self.layout.hosts, lambda host: self.stop_sshd(host.name))
        for host in self.layout.hosts:
            lives_here = partial(_lives_in, host=host)
            for pid in processes.find(lives_here):
                what = processes.describe(pid)
                if processes.end(pid, lives_here):
                    self._say(f"{host.name}: left by a session, ended: {what}")
        if epmd.stop(self.layout):
            self._say("epmd stopped")

    def status(self) -> list[Row]:
        """A row for each host, by what is really there."""
        said = dict(each(self.layout.members, lambda host: (host.node, _said(host))))
        return [_row(host, *said[host.node]) for host in self.layout.hosts]

    @property
    def is_used(self) -> bool:
        """Whether any host has a root already."""
        return any(host.root.exists() for host in self.layout.hosts)

    # One host

    def start_node(self, name: str) -> bool:
        """Start a host's node and await it, with its tables and its cluster; returns whether it was down.

        Raises `LabError` (``node_failed``, ``cluster_incomplete``).
        """
        host = self.host(name)
        started = self._did(node.start(host), f"{name}: node {host.node} started, MQTT on port {host.mqtt_port}")
        if started:
            self._await_ready(name)
        return started

    def stop_node(self, name: str) -> bool:
        """Stop a host's node by SIGTERM and await its end; returns whether it ran."""
        return self._did(node.stop(self.host(name)), f"{name}: node stopped")

    def kill_node(self, name: str) -> bool:
        """End a host's node by SIGKILL; returns whether it ran."""
        return self._did(node.kill(self.host(name)), f"{name}: node killed")

    def node_pid(self, name: str) -> int | None:
        """The pid of a host's node, None while it doesn't run."""
        return node.pid(self.host(name))

    def start_sshd(self, name: str) -> bool:
        """Start a host's SSH server; returns whether it was down. Raises `LabError` (``sshd_failed``)."""
        host = self.host(name)
        return self._did(sshd.start(host), f"{name}: SSH server started on port {host.ssh_port}")

    def stop_sshd(self, name: str) -> bool:
        """Stop a host's SSH server and its sessions; returns whether it ran."""
        return self._did(sshd.stop(self.host(name)), f"{name}: SSH server stopped")

    def eval(self, name: str, expression: str) -> str:
        """The value of an Erlang expression in a host's node, as printed. Raises `LabError` (``eval_failed``)."""
        return node.evaluate(self.host(name), expression)

    # Steps of `up`

    def _did(self, done: bool, line: str) -> bool:
        if done:
            self._say(line)
        return done

    def _check_against_made(self) -> None:
        """A lab that runs may grow; anything else about it is settled while it runs."""
        made = self._made
        if made is None or (
            (self.layout.epmd, self.layout.packaged, self.layout.tls) == (made.epmd, made.packaged, made.tls)
            and self.layout.nodes >= made.nodes
            and self.layout.hosts[: len(made.hosts)] == made.hosts
        ):
            return
        if any(sshd.pid(host) or node.pid(host) for host in made.hosts):
            raise LabError(
                "lab_differs",
                f"A lab of {made.nodes} nodes with other settings runs from {made.state}.",
                "Stop it with `inv lab.down` first, or use its settings.",
            )

    def _require_ports(self) -> None:
        claims = []
        for host in self.layout.hosts:
            if sshd.pid(host) is None:
                claims.append(Claim(host.ssh_port, f"SSH of {host.name}"))
        for host in self.layout.members:
            if node.pid(host) is None:
                claims.append(Claim(host.mqtt_port, f"MQTT of {host.name}"))
                claims.append(Claim(host.dist_port, f"distribution of {host.node}"))
        require_free(claims)

    def _prepare(self) -> None:
        layout = self.layout
        layout.state.mkdir(parents=True, exist_ok=True)
        layout.state.chmod(0o700)
        client_key = sshd.make_key(layout.client_key, "lab")
        public_keys = dict(each(layout.hosts, lambda host: (host.name, sshd.prepare(host, self.user, client_key))))
        layout.known_hosts.write_text(config_files.known_hosts(layout.hosts, public_keys))
        layout.ssh_config.write_text(config_files.ssh_config(layout, self.user))
        layout.inventory.parent.mkdir(exist_ok=True)
        layout.inventory.write_text(config_files.inventory(layout, self.user))
        save(layout)
        self._made = layout

    def _unpack(self, host: Host, tarball: Path) -> None:
        if not host.root.exists():
            node.unpack(host, tarball)
            self._say(f"{host.name}: {tarball.name} unpacked")

    def _configure(self) -> None:
        hosts = self.layout.members
        cookie = node.make_cookie(self.layout.cookie)
        for host in hosts:
            if self.layout.tls:
                certificates.make(host.etc, host.root)
            node.configure(host, config_files.emqx_conf(host, hosts, cookie, self.layout))

    def _await_ready(self, name: str) -> None:
        if not self._awaited(name, READY, "true"):
            raise LabError(
                "cluster_incomplete",
                f"{name} has not joined its cluster, or not all of its tables.",
                f"See the logs in {self.host(name).log}.",
            )

    def _await_cluster(self) -> None:
        first = self.hosts[0]
        if not self._awaited(first, JOINED, str(self.layout.nodes)):
            raise LabError(
                "cluster_incomplete",
                f"{first} does not see that all {self.layout.nodes} nodes have joined the cluster.",
                f"See the logs in {', '.join(str(host.log) for host in self.layout.members)}.",
            )

    def _awaited(self, name: str, expression: str, wanted: str) -> bool:
        """Whether an expression in a host's node comes to what is wanted, within `CLUSTER_TIMEOUT` seconds."""
        deadline = time.monotonic() + CLUSTER_TIMEOUT
        found = None
        while found != wanted and time.monotonic() < deadline:
            # What it asks for may not be there yet.
            with suppress(LabError):
                found = self.eval(name, expression)
            if found != wanted:
                time.sleep(node.POLL_INTERVAL)
        return found == wanted


def _lives_in(pid: int, host: Host) -> bool:
    """Whether a process was started in a session of ``host`` or as its node."""
    return processes.environment(pid).get("HOME") == str(host.home)


def _said(host: Host) -> tuple[int | None, str | None, str | None]:
    """The pid of a host's node, the release that it says it runs, and how many connections it has."""
    node_pid = node.pid(host)
    if node_pid is None:
        return None, None, None
    try:
        version, _, count = node.evaluate(host, STATUS).strip("{}").partition(",")
    except LabError:
        return node_pid, "does not answer", None
    return node_pid, version.strip('"'), count


def _row(host: Host, node_pid: int | None, running: str | None, connections: str | None) -> Row:
    return Row(
        host=host.name,
        ssh_port=host.ssh_port,
        sshd_pid=sshd.pid(host),
        node=host.node,
        role=host.role,
        node_pid=node_pid,
        running=running,
        boots=_boots(host),
        mqtt_port=host.mqtt_port,
        connections=connections,
    )


def _boots(host: Host) -> str | None:
    if not host.root.exists():
        return None
    tree = node.boot_root(host)
    return "first release" if tree == host.root else str(tree.relative_to(host.root))


def each(hosts: Iterable[H], action: Callable[[H], T]) -> list[T]:
    """``action`` for every host, as many at once as there are processors. A failure is raised once all are through."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        running = [pool.submit(action, host) for host in hosts]
    return [future.result() for future in running]


def _check_size(layout: Layout) -> None:
    if not 0 <= layout.replicants < layout.nodes <= (layout.size or layout.nodes):
        raise LabError(
            "bad_size",
            f"A lab can't have {layout.nodes} nodes of which {layout.replicants} are replicants"
            f" on {layout.size or layout.nodes} hosts.",
            "The first node founds the cluster, so it is a core; and every node needs a host.",
        )


def save(layout: Layout) -> None:
    """Note how a lab was made, in its state folder."""
    settings = {
        "nodes": layout.nodes,
        "ports": asdict(layout.ports),
        "epmd": layout.epmd,
        "replicants": layout.replicants,
        "size": layout.size,
        "packaged": layout.packaged,
        "tls": layout.tls,
    }
    layout.settings.write_text(json.dumps(settings, indent=2) + "\n")


def load(state: Path) -> Layout | None:
    """How the lab in a state folder was made, None if there is none."""
    path = Layout(state).settings
    if not path.exists():
        return None
    settings = json.loads(path.read_text())
    # An older lab's settings say less.
    return Layout(**{**settings, "state": state, "ports": Ports(**settings["ports"])})
