"""Payload, shipped to hosts (Python 3.6 and up, standard library only): one operator at a time in a cluster.

Who is going to change a cluster puts a lock on each of its hosts first: a file that says who, since when, why and in
which run, as JSON. It stays until it is taken off, whatever becomes of who put it there. What a command does:

=====================  ==================  =============  ==========================================================
the command            without a lock      its own run's  another run's
=====================  ==================  =============  ==========================================================
lock                   puts its own there  leaves it      is refused
unlock                 does nothing        takes it off   is refused; with `lock_force` takes it off, as with
                                                          `unlock_by` operator where that is the same
one that changes       goes on             goes on        is refused
=====================  ==================  =============  ==========================================================

A lock on this host alone would let another operator begin on other hosts of the cluster. So `lock` looks at those of
all other running nodes, through the VM, and where one is another run's it gives its own back. It looks only after it
has written: of two who lock different hosts at the same moment, the later to write sees the other's. In the same manner
it looks for a command at work on this host, which in its turn looks for the lock. A node that can't be asked may hide
another's lock, so nothing is locked then; but with `lock_blind` it is, for that node may be what has to be mended.
"""

import fcntl
import json
import os
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Tuple

from .context import Context
from .erlang.link import CallFailed, Link
from .erlang.term import Atom, text
from .files import remove_file, sync_dir, write_whole
from .lock import held, holder, moment
from .opening import open_folder, read_small
from .protocol import Failure
from .site import OURS
from .trust import us

FILE = "cluster_lock"

_OWN = (
    "The lock is of a run of yours. If that run is still at work, wait until it ends. Else resume it "
    "(`inv upgrade --resume` or `inv rollback --resume`), or remove the lock: `inv unlock`."
)
_OWN_BY_HAND = "You locked the cluster by hand with `inv lock`. `inv unlock` removes the lock."
_BY_HAND = "Ask the operator who locked the cluster. `inv unlock --force` removes a lock that was left behind."

LockFacts = Dict[str, Any]
"""A lock: `run`, `operator`, `since` in milliseconds since the epoch (None: not known), `why`, and whether it was
put there `by_hand`, for no run (None: not known)."""

_MAX_WHY = 1000
"""Letters of the reason that are kept."""

_CALL_MS = 10_000


def read(folder: str) -> Optional[LockFacts]:
    """The lock in a folder of ours, or None. Raises `Failure` untrusted_file, cannot_read_file."""
    content = read_small(os.path.join(folder, FILE), owners=us())
    return None if content is None else understood(content)


def understood(content: bytes) -> LockFacts:
    """What the file of a lock says. One that says nothing of the kind is a lock all the same, of nobody knows whom."""
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        found = None
    said = found if isinstance(found, dict) else {}
    texts = {key: said[key] if isinstance(said.get(key), str) else "" for key in ("run", "operator", "why")}
    since = said["since"] if isinstance(said.get("since"), int) else None
    by_hand = said["by_hand"] if isinstance(said.get("by_hand"), bool) else None
    return dict(texts, since=since, by_hand=by_hand)


def locked(by: LockFacts, node: Optional[str], operator: Any = None) -> Failure:
    """The failure that names who holds the lock, found on the host of `node`, to the `operator`."""
    who = "The cluster is locked by {} since {}".format(by["operator"] or "someone unknown", moment(by["since"]))
    where = " on {}".format(node) if node else ""
    reason = ": {}".format(by["why"].rstrip(".")) if by["why"] else ""
    how = "with `inv lock`" if by["by_hand"] else "run {}".format(by["run"] or "unknown")
    message = "{} ({}{}){}.".format(who, how, where, reason)
    is_own = by["operator"] == operator
    hint = (_OWN_BY_HAND if is_own else _BY_HAND) if by["by_hand"] else (_OWN if is_own else None)
    return Failure("cluster_locked", message, detail=dict(by, node=node), hint=hint)


def refuse(context: Context) -> None:
    """Raises `Failure` cluster_locked where the host's lock is of another run than the request's."""
    found = read(context.site.ours)
    if found is not None and found["run"] != context.request["run"]:
        raise locked(found, context.result.node, context.request["operator"])


def take(context: Context) -> bool:
    """Puts the lock of the request's run on this host; whether it was not there before.

    Raises `Failure` cluster_locked, upgrade_in_progress while another run's command works on the node, call_failed
    where the lock of a running node of the cluster can't be looked at. What was written is gone again then.
    """
    request, folder = context.request, context.site.make_ours()
    with _alone(folder):
        refuse(context)
        is_new = read(folder) is None
        if is_new:
            own = {"since": int(time.time() * 1000), "why": context.option("why")[:_MAX_WHY]}
            own.update({key: request[key] for key in ("operator", "run")}, by_hand=context.option("by_hand"))
            write_whole(os.path.join(folder, FILE), json.dumps(own, sort_keys=True).encode("utf-8"))
    try:
        _refuse_beside_others(context)
    except BaseException:
        if is_new:
            remove(folder, request["run"])
        raise
    return is_new


def release(context: Context) -> bool:
    """Takes the lock off this host; whether there was one.

    Raises `Failure` cluster_locked, and unless forced upgrade_in_progress while the lock's run works on this host.
    """
    folder = context.site.ours
    found = read(folder)
    if found is None:
        return False
    whose = context.option("unlock_by")
    if whose not in ("run", "operator"):
        raise Failure("bad_request", "A lock can't be removed by {!r}.".format(whose))
    if found[whose] != context.request[whose]:
        if not context.option("lock_force"):
            raise locked(found, context.result.node)
        whom = found["operator"] or "someone unknown"
        message = "The lock of {} (run {}) is removed.".format(whom, found["run"] or "unknown")
        context.emit({"event": "note", "message": message})
    by = holder(folder)
    if whose == "operator" and by is not None and by.get("run") == found["run"] and not context.option("lock_force"):
        raise held(by)
    return remove(folder, found["run"])


def remove(folder: str, run: str) -> bool:
    """Removes the lock of that run from a folder of ours; whether it was there."""
    with _alone(folder):
        found = read(folder)
        if found is None or found["run"] != run:
            return False
        remove_file(os.path.join(folder, FILE))
        sync_dir(folder)
    return True


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """For the time of looking and writing, which is short, nobody else does either."""
    descriptor = open_folder(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _refuse_beside_others(context: Context) -> None:
    """Raises `Failure` where another run works on this node, or has its lock on the host of another node."""
    run = context.request["run"]
    by = holder(context.site.ours)
    if by is not None and by.get("run") != run:
        raise held(by)
    for node, found in _elsewhere(context):
        if found is not None and found["run"] != run:
            raise locked(found, node, context.request["operator"])


def _elsewhere(context: Context) -> Iterator[Tuple[str, Optional[LockFacts]]]:
    """The other running nodes of the cluster, and the locks on their hosts. Raises `Failure` unless `lock_blind`."""
    if context.site.node is None:
        return
    blind = context.option("lock_blind")
    try:
        nodes = context.view.nodes()
        if nodes is None:
            raise Failure("call_failed", "The node does not tell which nodes of the cluster run.")
    except Failure:
        if not blind:
            raise
        return
    for node in nodes:
        if node == context.site.node.name:
            continue
        try:
            yield node, on_host_of(node, context.link)
        except Failure:
            if not blind:
                raise


def on_host_of(node: str, link: Link) -> Optional[LockFacts]:
    """The lock on the host of another node of the cluster, or None. Raises `Failure` call_failed, call_timeout."""
    data_dir = _ask(link, node, "emqx", "data_dir")
    # A relative one is meant from where that VM works, and that is where it reads it from.
    answer = _ask(link, node, "file", "read_file", os.path.join(text(data_dir), OURS, FILE))
    if answer == ("error", "enoent"):
        return None
    if isinstance(data_dir, (list, bytes)) and isinstance(answer, tuple) and answer[0] == "ok":
        return understood(answer[1])
    raise Failure("call_failed", "The cluster lock on {} can't be read.".format(node), detail={"node": node})


def _ask(link: Link, node: str, module: str, function: str, *args: Any) -> Any:
    try:
        return link.call("rpc", "call", [Atom(node), Atom(module), Atom(function), list(args), _CALL_MS])
    except CallFailed:
        return None
