"""Payload, shipped to hosts (Python 3.6 and up, standard library only): restarting the node, and awaiting it."""

import os
from typing import List

from .. import service
from ..context import Context
from ..files import writing_failure
from ..opening import create
from ..protocol import Failure
from ..site import await_node


def check_restart(context: Context) -> None:
    """Raises `Failure` service_not_permitted where the node's service can't be restarted by us."""
    if context.service is not None:
        service.check_permitted(context.service)


def restart(context: Context) -> str:
    """Restarts the node, or starts one that is down, and waits until it stays up; says by what: a unit, or ``wrapper``.

    The context's site is the new one. Raises `Failure` restart_failed, also where the VM is still the same process, and
    node_not_back, also where it runs from another tree than the marker names.
    """
    tree = context.site.booted_by_marker()
    old = context.site.node.os_pid if context.site.node is not None and context.vm_runs() else None
    by = context.result.facts["restarted_by"] = context.service or "wrapper"
    # Connected until the VM ends: an agent that sees its core go would restart the VM itself.
    if context.service is not None:
        _call(context, "The service", service.restart_command(context.service))
    else:
        _call(context, "The wrapper", [context.site.wrapper(), "start" if old is None else "restart"])
    context.leave_vm()
    context.site = await_node(context.request["node"], context.option("boot_timeout"), context.option("settle"))
    assert context.site.node is not None
    if context.site.node.os_pid == old:
        raise Failure("restart_failed", "Process {} still runs the node: it is not {}'s.".format(old, by), changed=True)
    if os.path.realpath(context.site.node.root) != os.path.realpath(tree):
        message = "The node came back from {}, not from {}.".format(context.site.node.root, tree)
        raise Failure("node_not_back", message, changed=True)
    return by


def _call(context: Context, whose: str, command: List[str]) -> None:
    # Late, for it is slow to import, and most requests restart nothing.
    import subprocess  # noqa: PLC0415

    # What is called must not inherit our pipes: the node that it starts would keep the SSH session open.
    log = os.path.join(context.work(), "restart-{}.log".format(os.urandom(4).hex()))
    try:
        descriptor = create(log)
    except OSError as error:
        raise writing_failure(error, log)
    with os.fdopen(descriptor, "w+b") as output:
        try:
            status = subprocess.call(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=context.site.base,
                timeout=context.option("boot_timeout") + 60,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure("restart_failed", "{}: {}.".format(whose, error), changed=True)
        size = os.fstat(output.fileno()).st_size
        said = os.pread(output.fileno(), 2000, max(0, size - 2000)).decode("utf-8", "replace")
    if status != 0:
        message = "{}: {} ended with {}.".format(whose, " ".join(command), status)
        raise Failure("restart_failed", message, detail={"said": said}, changed=True)
