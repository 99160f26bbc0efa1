"""Payload, shipped to hosts (Python 3.6 and up, standard library only): finding the VM of a node on this host.

A VM's command line, in /proc, carries all that is needed to reach it. Its first word is the short node name; that the
process is a VM shows from its name, ``beam.smp``. Tools are VMs too, and some carry the node's own name: what stands
after ``-extra`` is not the VM's, and one with ``-remsh`` or an escript is no node.

All of that anyone can write into a process of his own. So a process is taken for the node of a root only if its user is
one that may run it (see `_may_run`), and if what it executes lies in that root, where this can be seen. Roots are the
same if device and inode are, whatever the path.

What `find` says of a root, by the VMs that name it:

====================================================  ============================================================
there is                                              it is
====================================================  ============================================================
one that is trusted, with the name that is asked for  the node
several of them, for longer than a moment             ambiguous_node
one that is trusted, with another name                node_name_differs, but where its data folder is another one
one in a container                                    node_in_container
only such that are not trusted                        untrusted_process
none, and other users' processes can't be seen        wrong_user: it is looked at again as root
none                                                  None; `check_stopped` then asks for more evidence
====================================================  ============================================================
"""

import itertools
import os
import pwd
import re
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set

from . import processes, sockets
from .emqx_vars import Unclear
from .erlang.link import Peer
from .opening import read_small
from .protocol import Failure
from .release import variables_of
from .trust import check_reachable, us, user_name

_LONGEST_COOKIE = 4096

_SHORT_LIVED = 2.0
"""Seconds within which what is no node has ended, as a VM that has just made a copy of itself to start a program."""

_PAUSE = 0.1

_FIRST = ("wrong_user", "node_in_container", "untrusted_process")
"""The order in which doubts are told."""


class RunningNode(NamedTuple):
    """A VM: `os_pid`, the `uid` it runs as, its full `name`, the `root` whose tree it runs, the `base` that is the
    authority for data, etc and log, its `data_dir`, the `peer` to connect to, and when it `started` (see
    `processes.started`). Whether its command line `tells_data_dir`, or that is where nodes have it by default."""

    os_pid: int
    uid: int
    name: str
    root: str
    base: str
    data_dir: str
    peer: Peer
    started: str = ""
    tells_data_dir: bool = True

    def runs(self, proc: str = "/proc") -> bool:
        """Whether this very process still runs."""
        return processes.started(os.path.join(proc, str(self.os_pid))) == self.started != ""


def find(
    root_dir: Optional[str], name: Optional[str], proc: str = "/proc", data_dir: Optional[str] = None
) -> Optional[RunningNode]:
    """The one running node that has the root (base or running) and the name, where given; None if there is none.

    `data_dir` is the node's data folder, where that is known otherwise than from a command line. Raises `Failure` as
    the table above says.
    """
    deadline = time.monotonic() + _SHORT_LIVED
    found = _fitting(root_dir, name, proc, data_dir)
    while len(found) > 1:
        if time.monotonic() > deadline:
            message = "{} running nodes match.".format(len(found))
            raise Failure("ambiguous_node", message, detail={"nodes": [_told(node) for node in found]})
        time.sleep(_PAUSE)
        found = _fitting(root_dir, name, proc, data_dir)
    return found[0] if found else None


def _fitting(root_dir: Optional[str], name: Optional[str], proc: str, data_dir: Optional[str]) -> List[RunningNode]:
    of_root = [node for node in all_nodes(proc) if root_dir is None or _is_of(node, root_dir)]
    claims = [node for node in of_root if name is None or name in (node.name, node.name.partition("@")[0])]
    doubts = {node.os_pid: _doubt(node, proc, data_dir) for node in (of_root if root_dir is not None else claims)}
    fitting = [node for node in claims if doubts[node.os_pid] is None]
    if fitting:
        return fitting
    # The doubt about a process that can't be the node is for the operator only where he has taken it for the node.
    told = [failure for failure in (doubts[node.os_pid] for node in claims) if failure is not None]
    if told:
        # One that could not be seen may be the node; one that is not trusted was seen not to be.
        raise min(told, key=lambda failure: _FIRST.index(failure.err_type))
    if root_dir is not None:
        for node in of_root:
            if doubts[node.os_pid] is None and not _is_another(node, data_dir):
                message = "The node that runs from {} is {}, not {}.".format(root_dir, node.name, name)
                raise Failure("node_name_differs", message, detail=dict(_told(node), wanted=name))
    if processes.hidden(proc):
        message = "Whether the node runs can't be seen: /proc hides the processes of other users (hidepid)."
        hint = (
            "Mount /proc with the gid of a group that the node's user is in. For a node that runs it is enough that the"
            " SSH user may become root by sudo."
        )
        raise Failure("wrong_user", message, detail={"owner": "root"}, hint=hint)
    return []


def _is_of(node: RunningNode, root_dir: str) -> bool:
    return any(is_same(root_dir, path) for path in (node.base, node.root))


def is_same(path: str, other: str) -> bool:
    """Whether two paths lead to the same file or folder."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        # What is not there, or hidden from us.
        return os.path.realpath(path) == os.path.realpath(other)


def _is_another(node: RunningNode, data_dir: Optional[str]) -> bool:
    """Whether a node of the same root is sure to be another than the one with that data folder."""
    return data_dir is not None and os.path.isdir(node.data_dir) and not is_same(node.data_dir, data_dir)


def _told(node: RunningNode) -> Dict[str, Any]:
    return {"name": node.name, "root": node.root, "pid": node.os_pid, "user": user_name(node.uid)}


def _doubt(node: RunningNode, proc: str, data_dir: Optional[str]) -> Optional[Failure]:
    """Why a process is not the node that its command line says, or None."""
    folder = os.path.join(proc, str(node.os_pid))
    elsewhere = processes.elsewhere(folder, (node.base, node.data_dir))
    if elsewhere is not None:
        message = "{} (process {}) runs in a container: {}.".format(node.name, node.os_pid, elsewhere)
        return Failure("node_in_container", message, detail=dict(_told(node), reason=elsewhere))
    try:
        check_reachable(os.path.join(node.base, "releases", "emqx_vars"), (node.uid,))
    except Failure as failure:
        return failure
    reason = _not_the_node(node, folder, data_dir)
    if reason is None:
        return None
    message = "Process {} of {} is not taken for the node: {}.".format(node.os_pid, user_name(node.uid), reason)
    return Failure("untrusted_process", message, detail={"processes": [dict(_told(node), reason=reason)]})


def _not_the_node(node: RunningNode, folder: str, data_dir: Optional[str]) -> Optional[str]:
    if node.uid not in _may_run(node.base, data_dir):
        return "that user does not own {}, nor the data folder in it".format(node.base)
    running = processes.executes(folder)
    # Where that can't be seen, it is another user's, which we see before we become that user.
    if running is not None:
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
    try:
        named = variables_of(base).get("RUNNER_USER")
    except (Failure, Unclear):
        return uids
    try:
        return uids | {pwd.getpwnam(named).pw_uid} if named else uids
    except (KeyError, ValueError):
        return uids


def check_stopped(base: str, data_dir: str, ours: str, proc: str = "/proc") -> None:
    """Raises `Failure` data_in_use where a node of the root runs all the same, which `find` knows nothing of.

    That no process names the root proves nothing: a root may have been moved, or a process may say what it likes. So no
    VM may execute what lies in the root, and no process may have files below the data folder open to write; those below
    `ours`, a folder in it, are our own.
    """
    within = os.path.realpath(base) + "/"
    for node in all_nodes(proc):
        running = processes.executes(os.path.join(proc, str(node.os_pid)))
        if running is not None and running.startswith(within) and not _is_another(node, data_dir):
            message = "{name} (process {pid}) runs {}, and says that its root is {root}.".format(running, **_told(node))
            raise Failure("data_in_use", message, detail=dict(_told(node), executes=running))
    written = [each for each in processes.open_below(os.path.realpath(data_dir), ours, proc) if each.writes]
    if written:
        first = written[0]
        message = "Process {} of {} has {} open to write.".format(first.pid, first.user, first.path)
        raise Failure("data_in_use", message, detail={"open": [each.told() for each in written[:20]]})


def all_nodes(proc: str = "/proc") -> List[RunningNode]:
    """Every VM with a node name on this host."""
    return [node for node in map(_read, processes.folders(proc)) if node is not None]


def _read(folder: str) -> Optional[RunningNode]:
    if not processes.is_vm(folder):
        return None
    try:
        line, uid = CommandLine(processes.words_of(folder)), processes.uid_of(folder)
    except OSError:
        return None
    root, name = line.value("-root"), line.value("-name") or line.value("-sname")
    if root is None or name is None or line.is_tool:
        return None
    base = base_of(root)
    data_dir = line.rest("-emqx_data_dir")
    return RunningNode(
        os_pid=int(os.path.basename(folder)),
        uid=uid,
        name=_full_name(name),
        root=root,
        base=base,
        data_dir=os.path.join(base, data_dir or "data"),
        peer=_peer(line, _full_name(name), base, folder, uid),
        started=processes.started(folder),
        tells_data_dir=data_dir is not None,
    )


class CommandLine:
    """The words of a VM's command line, options and their values. What comes after ``-extra`` is not the VM's."""

    def __init__(self, words: List[str]) -> None:
        self.words = list(itertools.takewhile(lambda word: word != "-extra", words))
        # A shell on another node, and an escript: both may carry a name.
        pairs = list(zip(self.words, self.words[1:]))
        self.is_tool = "-remsh" in self.words or ("-run", "escript") in pairs or ("-s", "escript") in pairs

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


def _full_name(name: str) -> str:
    return name if "@" in name else "{}@{}".format(name, os.uname().nodename.partition(".")[0])


def _peer(line: CommandLine, name: str, base: str, folder: str, uid: int) -> Peer:
    """How the process can be reached. What is not told by its command line is looked up when it is connected to: until
    then it is a process of anybody."""
    peer = Peer(name, line.value("-setcookie") or "", wrapper_of(base), lambda: sockets.of_process(folder, uid))
    peer.home_cookie = lambda: _home_cookie(uid)
    peer.others = lambda: sockets.of_others({0, uid}, os.path.dirname(folder))
    protocol = line.value("-ekka_proto_dist") or line.value("-proto_dist") or "inet_tcp"
    peer.protocol = "inet_tcp" if protocol == "ekka" else protocol
    peer.options_file = line.value("-ssl_dist_optfile")
    peer.working_dir = lambda: processes.working_dir(folder) or base
    peer.uses_epmd = line.value("-epmd_module") is None
    peer.epmd_port = _number((processes.environment(folder) or {}).get("ERL_EPMD_PORT"), peer.epmd_port)
    peer.port_base = _number(line.kernel("inet_dist_base_port"), peer.port_base)
    return peer


def _number(text: Optional[str], default: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,5}", text) else default


def _home_cookie(uid: int) -> str:
    """The cookie that a VM without one on its command line takes. Raises `Failure` untrusted_file, cannot_read_file."""
    try:
        path = os.path.join(pwd.getpwuid(uid).pw_dir, ".erlang.cookie")
    except KeyError:
        return ""
    content = read_small(path, _LONGEST_COOKIE, owners={0, uid})
    return (content or b"").decode("utf-8", "replace").strip()
