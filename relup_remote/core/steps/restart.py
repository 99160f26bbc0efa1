"""Payload, shipped to hosts (Python 3.6 and up, standard library only): restarting the node, and awaiting it.

A wrapper has no command for it: the node is stopped, then started. What decides which release boots is changed between
the two, while nothing runs. A service is restarted in one go, so there it is changed just before, and changed back if
the node turns out to run on.

===============================  ==========  ==================  =================================================
what fails                       the node    what was to change  the failure
===============================  ==========  ==================  =================================================
room where its tables are        as it was   as it was           disk_full; nothing was stopped
the stop                         runs on     as it was           restart_failed; nothing was changed
the change itself                is down     as it was           its own
the start                        is down     changed             restart_failed, or node_not_back
nothing, but the node was down,  is down     changed             restart_failed: it is not started, for it would be
and it had settings in its                                       another node without them
environment
the service's restart            runs on     changed back        restart_failed
the service's restart            is down     changed             restart_failed, or node_not_back
===============================  ==========  ==================  =================================================
"""

import os
import signal
import stat
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .. import history, release, service, wrapper
from ..backup.places import node_of
from ..context import Context
from ..files import space
from ..opening import cannot_read, names_in
from ..protocol import Failure
from ..running_node import RunningNode, is_same
from ..site import await_node

_LOOK_AGAIN = 0.1
"""Seconds between two looks at a process of which nothing tells us when it ends, for it is not our child."""

_SLACK = 60
"""Seconds that a wrapper or a service may take beyond the time that the node itself may."""


class Change(NamedTuple):
    """What is done while the node is down, and how it is taken back where the node turns out to run on."""

    do: Callable[[], None]
    undo: Callable[[], None]


NO_CHANGE = Change(lambda: None, lambda: None)


def check_restart(context: Context) -> None:
    """Raises `Failure` service_not_permitted where the node's service can't be restarted by us, disk_full as
    `check_room`."""
    if context.service is not None:
        service.check_permitted(context.service)
    check_room(context)


def check_room(context: Context) -> None:
    """Raises `Failure` disk_full where the node would find too little room when it starts.

    `restart` asks it as well, each time: a disk may fill after what was checked beforehand.
    """
    try:
        tables = _largest_tables(context)
    except Failure as failure:
        failure.message += " So it is not known whether the node will have room for its tables when it starts."
        warning = failure.to_json()
        if warning not in context.result.warnings:
            context.result.warnings.append(warning)
        tables = []
    try:
        # Mnesia may have a file system of its own.
        for folder, size in [(context.site.data_dir, 0), *tables]:
            space(folder, size)
    except Failure as failure:
        failure.message += " A node that starts without room may lose tables, or fail to start."
        raise


def _largest_tables(context: Context) -> List[Tuple[str, int]]:
    """The folder of the node's Mnesia, and the bytes of the largest file in it; folders of several nodes where the
    node's name is not known. Raises `Failure` cannot_read_file.

    Mnesia writes tables anew when it starts, one after the other. A table that it has no room for loses what was not
    written.
    """
    mnesia = os.path.join(context.site.data_dir, "mnesia")
    name = node_of(context)
    # What else is in there, such as a lost+found, is no node's.
    folders = [os.path.join(mnesia, each) for each in ([name] if name else names_in(mnesia)) if "@" in each]
    return [(folder, _largest_file(folder)) for folder in folders]


def _largest_file(folder: str) -> int:
    """The bytes of the largest file directly in a folder; 0 where there is none. Raises `Failure` cannot_read_file."""
    largest = 0
    for name in names_in(folder):
        path = os.path.join(folder, name)
        try:
            seen = os.stat(path)
        except FileNotFoundError:
            # It went meanwhile.
            continue
        except OSError as error:
            raise cannot_read(path, error)
        if stat.S_ISREG(seen.st_mode):
            largest = max(largest, seen.st_size)
    return largest


def restart(context: Context, change: Change = NO_CHANGE) -> str:
    """Restarts the node, or starts one that is down, and waits until it stays up; says by what: a unit, or ``wrapper``.

    `change` is made while the node is down. The context's site is the new one. Raises `Failure` disk_full before
    anything is stopped, restart_failed, node_not_back (also where the node runs from another tree than the marker
    names), and those of the change. The detail says what is there, and how to finish by hand.
    """
    try:
        check_room(context)
    except Failure as failure:
        failure.message += " So it was not restarted."
        failure.hint = "Free some space there. Then run the same command again."
        failure.detail.update(what_is_there(context))
        raise
    old = context.site.node if context.vm_runs() else None
    by = context.result.facts["restarted_by"] = context.service or "wrapper"
    # Of the VM, as long as it is there.
    env = context.environment
    # Connected until the VM ends: an agent that sees its core go would restart the VM itself.
    if context.service is not None:
        _restart_service(context, old, change)
    else:
        if old is not None:
            context.result.facts["stopped_by"] = _stop(context, old, env)
        lost = [name for name in history.environment(context) if name not in env]
        context.leave_vm()
        change.do()
        if lost:
            raise _not_without(context, lost)
        _start(context, env)
    context.leave_vm()
    tree = context.site.booted_by_marker()
    try:
        context.site = await_node(context.request["node"], context.option("boot_timeout"), context.option("settle"))
    except Failure as failure:
        failure.detail.update(what_is_there(context))
        failure.message = _with_remedy(failure.message, failure.detail)
        raise
    assert context.site.node is not None
    if not is_same(context.site.node.root, tree):
        message = "The node came back from {}, not from {}.".format(context.site.node.root, tree)
        raise Failure("node_not_back", message, detail=what_is_there(context), changed=True)
    return by


def _ends(vm: RunningNode, seconds: float) -> bool:
    """Waits for the end of a VM for so many seconds; whether it came."""
    deadline = time.monotonic() + seconds
    while vm.runs():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_AGAIN)
    return True


def _stop(context: Context, vm: RunningNode, env: Dict[str, str]) -> str:
    """Stops the node by its wrapper, else by the signal that an init system would send; says by which."""
    seconds = context.option("stop_timeout")
    ran = _wrapper(context, "stop", env, seconds + _SLACK)
    if (ran.status == 0 and _ends(vm, _SLACK)) or not vm.runs():
        return "wrapper"
    # A wrapper that does not find its configuration can't stop the node either.
    try:
        os.kill(vm.os_pid, signal.SIGTERM)
    except OSError:
        pass
    if _ends(vm, seconds):
        return "signal"
    message = "The node could not be stopped. It still runs, as process {}.".format(vm.os_pid)
    raise Failure("restart_failed", message, detail=dict(what_is_there(context), said=ran.said))


def _start(context: Context, env: Dict[str, str]) -> None:
    ran = _wrapper(context, "start", env, context.option("boot_timeout") + _SLACK)
    if ran.status != 0:
        raise _failed(context, "The wrapper's start", ran)


def _not_without(context: Context, names: List[str]) -> Failure:
    """The `Failure` of a node that is down and had settings in its environment: without them it would be another."""
    detail = dict(what_is_there(context), environment=names)
    message = "The node had settings in its environment that are not known any more: {}.".format(", ".join(names))
    return Failure("restart_failed", _with_remedy(message, detail), detail=detail, changed=True)


def _wrapper(context: Context, command: str, env: Dict[str, str], seconds: float) -> wrapper.Ran:
    words = [context.site.wrapper(), command]
    # How long a wrapper waits by itself.
    limits = {"EMQX_WAIT_FOR_STOP": "stop_timeout", "EMQX_WAIT_FOR_START": "boot_timeout"}
    env = dict(env, **{name: str(int(context.option(option))) for name, option in limits.items()})
    return wrapper.run(words, env, context.site.base, seconds, _log(context, command))


def _restart_service(context: Context, old: Optional[RunningNode], change: Change) -> None:
    assert context.service is not None
    change.do()
    command = service.restart_command(context.service)
    seconds = context.option("stop_timeout") + context.option("boot_timeout") + _SLACK
    ran = wrapper.run(command, dict(os.environ), context.site.base, seconds, _log(context, "restart"))
    if old is not None and old.runs():
        change.undo()
        if ran.status == 0:
            message = "Process {} still runs the node: it is not {}'s.".format(old.os_pid, context.service)
            raise Failure("restart_failed", message, detail=what_is_there(context), changed=True)
    if ran.status != 0:
        raise _failed(context, " ".join(command), ran)


def _log(context: Context, name: str) -> str:
    return os.path.join(context.work(), "{}-{}.log".format(name, os.urandom(4).hex()))


def _failed(context: Context, what: str, ran: wrapper.Ran) -> Failure:
    detail = dict(what_is_there(context), said=ran.said)
    message = _with_remedy("{} {}.".format(what, ran.ended), detail)
    return Failure("restart_failed", message, detail=detail, changed=True)


def _with_remedy(message: str, detail: Dict[str, Any]) -> str:
    if detail["vm"] is not None:
        return "{} Process {} runs the node.".format(message, detail["vm"])
    return "{} The node is down; its next start boots {}. Start it by hand with: {}".format(
        message, detail["next_boot"], " ".join(detail["start"])
    )


def what_is_there(context: Context) -> Dict[str, Any]:
    """The process of the VM (``vm``, None where none runs), the ``marker``, the root of the ``next_boot``, and the
    command that would ``start`` the node."""
    site = context.site
    by_service = ["sudo", "systemctl", "start", context.service] if context.service is not None else None
    start: List[str] = by_service or [site.wrapper(), "start"]
    return {
        "vm": site.node.os_pid if site.node is not None and context.vm_runs() else None,
        "marker": release.marker(site.base),
        "next_boot": site.booted_by_marker(),
        "start": start,
    }
