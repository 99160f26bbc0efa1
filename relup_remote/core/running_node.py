"""Payload, shipped to hosts (Python 3.6 and up, standard library only): finding the VM of a node on this host.

A VM's command line, in /proc, carries all that is needed to reach it. Its first word is the short node name; that the
process is a VM shows from its name, ``beam.smp``.

All of that anyone can write into a process of his own. So a process is taken for the node of a root only if its user is
one that may run it (see `_may_run`), and if what it executes lies in that root, where this can be seen. A port is the
node's only if its process listens there, and no process of another user does.
"""

import itertools
import os
import pwd
import re
from typing import AbstractSet, Dict, List, NamedTuple, Optional, Set

from .erlang.link import Peer
from .opening import of_kernel, open_table, read_small
from .protocol import Failure
from .release import parse_pairs
from .trust import us, user_name

_LONGEST_LINE = 8 << 20
"""Bytes: more than Linux allows for the arguments of a process."""

_LONGEST_COOKIE = 4096


class RunningNode(NamedTuple):
    """A VM: `os_pid`, the `uid` it runs as, its full `name`, the `root` whose tree it runs, the `base` that is the
    authority for data, etc and log, its `data_dir`, and the `peer` to connect to."""

    os_pid: int
    uid: int
    name: str
    root: str
    base: str
    data_dir: str
    peer: Peer


def find(
    root_dir: Optional[str], name: Optional[str], proc: str = "/proc", data_dir: Optional[str] = None
) -> Optional[RunningNode]:
    """The one running node that has the root (base or running) and the name, where given; None if there is none.

    `data_dir` is the node's data folder, where that is known otherwise than from a command line. Raises `Failure`
    ambiguous_node with those that fit, untrusted_process where there are only processes that claim to.
    """
    claims = [node for node in all_nodes(proc) if _fits(node, root_dir, name)]
    doubts = [_doubt(node, proc, data_dir) for node in claims]
    fitting = [node for node, doubt in zip(claims, doubts) if doubt is None]
    if len(fitting) > 1:
        raise Failure(
            "ambiguous_node",
            "{} running nodes fit.".format(len(fitting)),
            detail={"nodes": [_told(node) for node in fitting]},
        )
    if claims and not fitting:
        raise Failure(
            "untrusted_process",
            "Process {} of {} is not taken for the node: {}.".format(
                claims[0].os_pid, user_name(claims[0].uid), doubts[0]
            ),
            detail={"processes": [dict(_told(node), reason=doubt) for node, doubt in zip(claims, doubts)]},
        )
    return fitting[0] if fitting else None


def _told(node: RunningNode) -> Dict[str, object]:
    return {"name": node.name, "root": node.root, "pid": node.os_pid, "user": user_name(node.uid)}


def _doubt(node: RunningNode, proc: str, data_dir: Optional[str]) -> Optional[str]:
    """Why a process is not what its command line says, or None."""
    if node.uid not in _may_run(node.base, data_dir):
        return "that user does not own {}, nor the data folder in it".format(node.base)
    try:
        running = os.readlink(os.path.join(proc, str(node.os_pid), "exe"))
    except OSError:
        # Another user's, which we see before we become that user.
        return None
    expected = os.path.join(os.path.realpath(node.root), "erts-")
    if not running.startswith(expected) or os.path.basename(running).split(" ")[0] != "beam.smp":
        return "it runs {}".format(running)
    return None


def _may_run(base: str, data_dir: Optional[str]) -> Set[int]:
    """The users whose process may be the node of a root: root, we, who owns the root or the data folder in it, or the
    `data_dir` that the operator has named, and the user whom the release itself names to its wrapper."""
    uids = us()
    for path in (base, os.path.join(base, "data"), data_dir):
        try:
            uids.add(os.stat(path or base).st_uid)
        except OSError:
            continue
    emqx_vars = read_small(os.path.join(base, "releases", "emqx_vars")) or b""
    named = parse_pairs(emqx_vars.decode("utf-8", "replace"), "=").get("RUNNER_USER")
    try:
        return uids | {pwd.getpwnam(named).pw_uid} if named else uids
    except (KeyError, ValueError):
        return uids


def all_nodes(proc: str = "/proc") -> List[RunningNode]:
    """Every VM with a node name on this host."""
    found = []
    for entry in os.listdir(proc):
        if entry.isdigit():
            node = _read(os.path.join(proc, entry), int(entry))
            if node is not None:
                found.append(node)
    return found


def _fits(node: RunningNode, root_dir: Optional[str], name: Optional[str]) -> bool:
    if name is not None and name not in (node.name, node.name.partition("@")[0]):
        return False
    return root_dir is None or os.path.realpath(root_dir) in (os.path.realpath(node.base), os.path.realpath(node.root))


def _read(folder: str, os_pid: int) -> Optional[RunningNode]:
    try:
        if (of_kernel(os.path.join(folder, "comm")) or b"").strip() != b"beam.smp":
            return None
        told = of_kernel(os.path.join(folder, "cmdline"), _LONGEST_LINE) or b""
        words = [os.fsdecode(word) for word in told.split(b"\0")[:-1]]
        uid = _real_uid(folder)
    except OSError:
        return None
    line = CommandLine(words)
    root, name = line.value("-root"), line.value("-name") or line.value("-sname")
    if root is None or name is None:
        return None
    base = base_of(root)
    data_dir = line.rest("-emqx_data_dir") or os.path.join(base, "data")
    return RunningNode(
        os_pid=os_pid,
        uid=uid,
        name=_full_name(name, folder),
        root=root,
        base=base,
        data_dir=os.path.join(base, data_dir),
        peer=_peer(line, _full_name(name, folder), base, folder, uid),
    )


def _real_uid(folder: str) -> int:
    """The user who started a process, by proc(5): its folder in /proc is root's if it has hidden itself."""
    told = of_kernel(os.path.join(folder, "status"))
    if told is None:
        raise ProcessLookupError(folder)
    (words,) = [line.split() for line in told.splitlines() if line.startswith(b"Uid:")]
    return int(words[1])


class CommandLine:
    """The words of a VM's command line, options and their values."""

    def __init__(self, words: List[str]) -> None:
        self.words = words

    def value(self, option: str) -> Optional[str]:
        """The value of the option's last occurrence."""
        found = None
        for at, word in enumerate(self.words[:-1]):
            if word == option:
                found = self.words[at + 1]
        return found

    def rest(self, option: str) -> Optional[str]:
        """All words between the option's last occurrence and the next option, as one value that may hold spaces."""
        if option not in self.words:
            return None
        after = self.words[len(self.words) - self.words[::-1].index(option) :]
        return " ".join(itertools.takewhile(lambda word: not word.startswith("-"), after)) or None

    def kernel(self, key: str) -> Optional[str]:
        """The value of a parameter of the application kernel."""
        inside, name = False, None
        for word in self.words:
            if name is not None:
                if name == key:
                    return word
                name = None
            elif word.startswith("-"):
                inside = word == "-kernel"
            elif inside:
                name = word
        return None


def base_of(root: str) -> str:
    """The first root of the chain: from ``<base>/relup/<version>`` to ``<base>``, as long as that is a root."""
    while os.path.basename(os.path.dirname(root)) == "relup":
        outer = os.path.dirname(os.path.dirname(root))
        if not os.path.isfile(os.path.join(outer, "releases", "emqx_vars")):
            break
        root = outer
    return root


def wrapper_of(base: str) -> str:
    """The node's wrapper script: in the root, or where packages put it."""
    own = os.path.join(base, "bin", "emqx")
    return own if os.path.exists(own) else "/usr/bin/emqx"


def _full_name(name: str, folder: str) -> str:
    return name if "@" in name else "{}@{}".format(name, os.uname().nodename.partition(".")[0])


def _peer(line: CommandLine, name: str, base: str, folder: str, uid: int) -> Peer:
    peer = Peer(name, line.value("-setcookie") or "", wrapper_of(base), lambda: listening_ports(folder))
    # Only when it is connected to: until then it is a process of anybody.
    peer.home_cookie = lambda: _home_cookie(uid)
    peer.foreign = lambda: foreign_ports(folder, {0, uid})
    protocol = line.value("-ekka_proto_dist") or line.value("-proto_dist") or "inet_tcp"
    peer.protocol = "inet_tcp" if protocol == "ekka" else protocol
    peer.options_file = line.value("-ssl_dist_optfile")
    peer.uses_epmd = line.value("-epmd_module") is None
    peer.epmd_port = _number(_environment(folder).get("ERL_EPMD_PORT"), peer.epmd_port)
    peer.port_base = _number(line.kernel("inet_dist_base_port"), peer.port_base)
    return peer


def _number(text: Optional[str], default: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,5}", text) else default


def _environment(folder: str) -> Dict[str, str]:
    try:
        told = of_kernel(os.path.join(folder, "environ"), _LONGEST_LINE) or b""
    except PermissionError:
        return {}
    pairs = [os.fsdecode(item).partition("=") for item in told.split(b"\0")]
    return {name: value for name, _, value in pairs}


def _home_cookie(uid: int) -> str:
    """The cookie that a VM without one on its command line takes. Raises `Failure` untrusted_file, cannot_read_file."""
    try:
        path = os.path.join(pwd.getpwuid(uid).pw_dir, ".erlang.cookie")
    except KeyError:
        return ""
    content = read_small(path, _LONGEST_COOKIE, owners={0, uid})
    return (content or b"").decode("utf-8", "replace").strip()


def listening_ports(folder: str) -> List[int]:
    """The TCP ports on which the process of the /proc folder listens; none where there is no such process.

    One with capabilities of its own shows its sockets to none but root; then all ports of its user count.
    """
    try:
        uid = _real_uid(folder)
    except OSError:
        return []
    try:
        entries = os.listdir(os.path.join(folder, "fd"))
    except PermissionError:
        return sorted({listener.port for listener in _listeners(folder) if listener.uid == uid})
    except OSError:
        return []
    listeners = {listener.inode: listener for listener in _listeners(folder)}
    missing = {inode for inode, listener in listeners.items() if listener.uid == uid} or set(listeners)
    ports = set()
    for entry in sorted(entries, key=int):
        if not missing:
            # What a broker opened after its listeners are a million connections of clients.
            break
        try:
            target = os.readlink(os.path.join(folder, "fd", entry))
        except OSError:
            # Closed meanwhile.
            continue
        inode = target[8:-1] if target.startswith("socket:[") else ""
        if inode in listeners:
            ports.add(listeners[inode].port)
            missing.discard(inode)
    return sorted(ports)


def foreign_ports(folder: str, uids: AbstractSet[int]) -> Set[int]:
    """The TCP ports on which processes of other users than `uids` listen, at any address."""
    return {listener.port for listener in _listeners(folder) if listener.uid not in uids}


class _Listener(NamedTuple):
    port: int
    uid: int
    inode: str


def _listeners(folder: str) -> List[_Listener]:
    """The sockets that listen where we can connect to: in our network, which may be another than the process's.

    Source of the format: the kernel's "proc_net_tcp"; it lists those that listen first, before what may be a million
    connections of clients, which are not read.
    """
    found: List[_Listener] = []
    for table in ("tcp", "tcp6"):
        try:
            with open_table(os.path.join(os.path.dirname(folder), "net", table)) as file:
                rows = (line.split() for line in itertools.islice(file, 1, None))
                listening = itertools.takewhile(lambda row: row[3] == "0A", rows)
                found += [_Listener(int(row[1].rpartition(":")[2], 16), int(row[7]), row[9]) for row in listening]
        except OSError:
            continue
    return found
