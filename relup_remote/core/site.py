"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the node of a request, and its places."""

import os
import time
from typing import Any, Dict, List, Optional, Tuple

from . import release, running_node, trust
from .erlang.link import CallFailed, Link, connect
from .erlang.term import Atom, text
from .files import nearest, private_dir
from .opening import names_in
from .protocol import Failure
from .running_node import RunningNode

OURS = "relup_remote"
"""The folder of ours below the data folder: history, lock, staging and work."""

_TRIES = 20

BACKUPS = "relup_backups"
"""The folder of ours in the root where backups lie, unless the inventory names another."""

PARTIAL = ".relup_remote-"
"""How the names of trees begin that are not whole yet, beside those that are."""

STAMP = ".relup_remote.json"
"""In the root of a tree of ours: the digest of its tarball, and what makes it whole."""


class Site:
    """A root on this host, with the node that runs from it, or without one.

    `base` is the first root of the chain, `data_dir` the node's data folder, `node` the VM or None.
    """

    def __init__(
        self,
        base: str,
        data_dir: str,
        staging: Optional[str],
        node: Optional[RunningNode],
        backups: Optional[str] = None,
    ) -> None:
        self.base = base
        self.data_dir = data_dir
        self.node = node
        self.ours = os.path.join(data_dir, OURS)
        # In a folder that others use as well, ours is one below it.
        self.staging = os.path.join(self.ours, "staging") if staging is None else os.path.join(staging, OURS)
        # Outside the data folder, of which it holds copies.
        self.backups = os.path.join(base, BACKUPS) if backups is None else backups
        self.work = os.path.join(self.ours, "work")
        self.outcome = os.path.join(self.ours, "outcome")

    def owner(self) -> int:
        """The uid that the core has to run as: the VM's, or while there is none that of the data folder."""
        if self.node is not None:
            return self.node.uid
        # Where the data is gone, backups were made by the node's user, while the root may be root's.
        places = (self.data_dir, self.backups, self.base)
        return os.stat(next(path for path in places if os.path.isdir(path))).st_uid

    def make_ours(self, *names: str) -> str:
        """Makes our folder below the data folder, and folders in it; returns the last. Raises `Failure`."""
        tries = 0
        while True:
            try:
                return self._made(names)
            except (Failure, FileNotFoundError):
                # A core that ends beside this one takes away folders that are empty.
                tries += 1
                if tries == _TRIES:
                    raise

    def _made(self, names: Tuple[str, ...]) -> str:
        path = private_dir(self.ours)
        for name in names:
            path = private_dir(os.path.join(path, name))
        return path

    def make_staging(self) -> None:
        """Makes the staging folder, and the one it lies in. Raises `Failure`."""
        parent = os.path.dirname(self.staging)
        if not os.path.isdir(parent):
            private_dir(parent)
        private_dir(self.staging)

    def make_backups(self) -> None:
        """Makes the folder of backups, and the one it lies in. Raises `Failure`."""
        parent = os.path.dirname(self.backups)
        if not os.path.isdir(parent):
            private_dir(parent)
        private_dir(self.backups)

    def wrapper(self) -> str:
        """The node's ``bin/emqx``."""
        return running_node.wrapper_of(self.base)

    def booted_by_marker(self) -> str:
        """The root that the next boot runs."""
        return release.boot_chain(self.base)[-1]

    def partial_trees(self) -> List[str]:
        """Trees that an extraction left unfinished. Raises `Failure` cannot_read_file."""
        folder = os.path.join(self.base, "relup")
        return [os.path.join(folder, name) for name in names_in(folder) if name.startswith(PARTIAL)]


_NO_ROOT = (
    "If it should run, start it. A node that is stopped, as for a restore, is only found where the inventory sets "
    "root_dir; packages install it in /usr/lib/emqx."
)
"""What to do where nothing runs, and nothing says where to look for what is stopped."""


def locate(settings: Dict[str, Any], proc: str = "/proc", must_run: bool = False) -> Site:
    """The site of a request's ``node``; with `must_run` only one whose node runs.

    Without a running node the root_dir must be given, for there is nothing else to go by. That the node is stopped is
    not concluded from having found none: see `running_node.check_stopped`. Raises `Failure` as that and
    `running_node.find`, and root_dir_not_found, wrong_user, node_not_running, data_dir_differs, data_dir_unknown.
    """
    root_dir, name, told = settings.get("root_dir"), settings.get("name"), settings.get("data_dir")
    if root_dir is not None:
        _check_root(root_dir, name, proc)
    node = running_node.find(root_dir, name, proc, told)
    if node is None and root_dir is not None and not must_run:
        base = running_node.base_of(os.path.realpath(root_dir))
        data_dir = told or release.data_dir_of(base)
        try:
            running_node.check_stopped(base, data_dir, os.path.join(data_dir, OURS), proc)
            return Site(base, data_dir, settings.get("staging_dir"), None, settings.get("backup_dir"))
        except Failure:
            # Somebody may have started it since it was looked for.
            node = running_node.find(root_dir, name, proc, told)
            if node is None:
                raise
    if node is None:
        raise Failure("node_not_running", hint=_NO_ROOT if root_dir is None else None, detail={"node": name})
    _check_places_of(node, told)
    return Site(node.base, told or node.data_dir, settings.get("staging_dir"), node, settings.get("backup_dir"))


def _check_root(root_dir: str, name: Optional[str], proc: str) -> None:
    """Raises `Failure` wrong_user where the root can't be seen by us, and root_dir_not_found where it is none."""
    release_file = os.path.join(root_dir, "releases", "emqx_vars")
    trust.check_reachable(release_file, (node.uid for node in running_node.all_nodes(proc)))
    if os.path.isfile(release_file):
        return
    try:
        running_node.find(root_dir, name, proc)
    except Failure as failure:
        # It may be there for the node, and not for us.
        if failure.err_type == "node_in_container":
            raise
    raise Failure("root_dir_not_found", "{} is not an EMQX release.".format(root_dir), detail={"root_dir": root_dir})


def _check_places_of(node: RunningNode, data_dir: Optional[str]) -> None:
    """Raises `Failure` where the folders of a running node are not there, or are not those of the inventory."""
    if not os.path.isdir(node.base):
        message = "{}, from which {} runs, is not there any more.".format(node.base, node.name)
        raise Failure("root_dir_not_found", message, detail={"root_dir": node.base})
    if data_dir is not None and node.tells_data_dir and not _may_be_same(node.data_dir, data_dir):
        message = "The data folder of {} is {}, not {}.".format(node.name, node.data_dir, data_dir)
        raise Failure("data_dir_differs", message, detail={"data_dir": node.data_dir, "inventory": data_dir})


def _may_be_same(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except PermissionError:
        # Looked at again by the node's user.
        return True
    except OSError:
        return False


def check_user(site: Site) -> None:
    """Raises `Failure` wrong_user unless this process runs as the node's user."""
    owner = site.owner()
    if owner == os.geteuid():
        return
    raise trust.wrong_user(owner, "The node belongs to {}.")


def check_trust(site: Site) -> None:
    """Raises `Failure` untrusted_dir or untrusted_file, naming it, where anyone else may have put what is relied on.

    Looked at are folders of ours, and the trees and markers that the next boot follows.
    """
    for path in (site.base, site.data_dir, os.path.dirname(site.staging), os.path.dirname(site.backups)):
        trust.check_way(path)
    for path in (site.ours, site.work, site.staging, site.backups):
        trust.check_ours(path)
    owners = trust.us() | {os.stat(site.base).st_uid}
    trust.check_place(os.path.join(site.base, "relup"), owners)
    for root in release.boot_chain(site.base)[1:]:
        trust.check_place(os.path.join(root, "relup"), owners)


class NodeView:
    """What the running node says of itself; what it does not know is None (see `Link.attempt`)."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def version(self) -> Optional[str]:
        """The version the node reports."""
        found = self.link.attempt("emqx_release", "version", [])
        return text(found) if isinstance(found, (list, bytes)) else None

    def otp_major(self) -> str:
        """The VM's major version of OTP."""
        return text(self.link.call("erlang", "system_info", [Atom("otp_release")]))

    def started_at(self) -> int:
        """When the VM started, in milliseconds since the epoch."""
        native = self.link.call("erlang", "system_info", [Atom("start_time")]) + self.link.call(
            "erlang", "time_offset", []
        )
        return int(self.link.call("erlang", "convert_time_unit", [native, Atom("native"), Atom("millisecond")]))

    def is_ready(self) -> bool:
        """Whether the broker runs; a node that can't tell is taken at its word."""
        return bool(self.link.attempt("emqx", "is_running", [], Atom("true")) == "true")

    def may_write(self, path: str) -> bool:
        """Whether the VM may write into a folder that is there, or into the nearest above it.

        It may see the file system otherwise than we do, as a service does that systemd lets read only.
        """
        # By no process of the VM: the disk may hang.
        found = self.link.call("file", "read_file_info", [nearest(path), [Atom("raw")]])
        return bool(found[0] == "ok" and found[1][3] in ("write", "read_write"))

    def nodes(self) -> Optional[List[str]]:
        """The running nodes of the cluster, this one included."""
        found = self.link.attempt("emqx", "running_nodes", [])
        return [str(name) for name in found] if isinstance(found, list) else None

    def stopped_nodes(self) -> Optional[List[str]]:
        """The nodes of the cluster that are down."""
        found = self.link.attempt("emqx", "cluster_nodes", [Atom("stopped")])
        return [str(name) for name in found] if isinstance(found, list) else None

    def role(self) -> Optional[str]:
        """What the node is in its cluster, ``core`` or ``replicant``."""
        for module, function in (("mria_rlog", "role"), ("mria_config", "whoami")):
            found = self.link.attempt(module, function, [])
            if found in ("core", "replicant"):
                return str(found)
        return None

    def versions(self) -> Dict[str, Optional[str]]:
        """The version that each node of the cluster reports; None for one that is down."""
        known = self.link.attempt("emqx", "cluster_nodes", [Atom("all")])
        versions: Dict[str, Optional[str]] = {}
        for name in known if isinstance(known, list) else self.nodes() or []:
            try:
                found = self.link.call("rpc", "call", [Atom(name), Atom("emqx_release"), Atom("version"), [], 5000])
            except CallFailed:
                found = None
            versions[name] = text(found) if isinstance(found, (list, bytes)) else None
        return versions

    def connections(self) -> Optional[int]:
        """How many clients are connected."""
        for name in ("live_connections.count", "connections.count"):
            found = self.link.attempt("emqx_stats", "getstat", [Atom(name)])
            if isinstance(found, int):
                return found
        return None


def connect_node(site: Site) -> Link:
    """A link to the site's node. Raises `Failure` node_not_running, node_unreachable."""
    if site.node is None:
        raise Failure("node_not_running", "No node runs from {}.".format(site.base), detail={"root_dir": site.base})
    return connect(site.node.peer)


def await_node(settings: Dict[str, Any], timeout: float, settle: float) -> Site:
    """Waits until the node is up, and for `settle` seconds of answering on end. Raises `Failure` node_not_back.

    A boot sends no event that could be awaited from outside, so the node is asked again and again.
    """
    deadline = time.monotonic() + timeout
    steady: Optional[float] = None
    reason = "it did not answer"
    while time.monotonic() < deadline + (settle if steady is not None else 0):
        try:
            site = locate(settings, must_run=True)
            link = connect_node(site)
            try:
                ready = NodeView(link).is_ready()
            finally:
                link.close()
            if ready:
                now = time.monotonic()
                steady = now if steady is None else steady
                if now - steady >= settle:
                    return site
            else:
                steady, reason = None, "the broker in it is not running"
        except Failure as failure:
            reason = failure.message if steady is None else "it went away again: {}".format(failure.message)
            steady = None
        time.sleep(0.2)
    raise Failure("node_not_back", "The node was not back within {:g} s: {}".format(timeout, reason), changed=True)
