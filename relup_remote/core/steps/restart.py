"""Payload, shipped to hosts (Python 3.6 and up, standard library only): restarting the node by its wrapper."""

import os

from ..context import Context
from ..protocol import Failure
from ..site import await_node


def restart(context: Context) -> None:
    """Restarts the node, or starts one that is down, and waits until it stays up. The context's site is the new one.

    Raises `Failure` restart_failed, and node_not_back, also where it runs from another tree than the marker names.
    """
    tree = context.site.booted_by_marker()
    # Connected until the VM ends: an agent that sees its core go would restart the VM itself.
    _wrapper(context, "restart" if context.vm_runs() else "start")
    context.leave_vm()
    context.site = await_node(context.request["node"], context.option("boot_timeout"), context.option("settle"))
    running = context.site.node and context.site.node.root
    if os.path.realpath(running or "") != os.path.realpath(tree):
        raise Failure("node_not_back", "The node came back from {}, not from {}.".format(running, tree), changed=True)


def _wrapper(context: Context, command: str) -> None:
    # Late, for it is slow to import, and most requests restart nothing.
    import subprocess  # noqa: PLC0415

    # The wrapper must not inherit our pipes: the node it starts would keep the SSH session open.
    log = os.path.join(context.work(), "wrapper.log")
    with open(log, "wb") as output:
        try:
            status = subprocess.call(
                [context.site.wrapper(), command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=context.site.base,
                timeout=context.option("boot_timeout") + 60,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failure("restart_failed", "The wrapper: {}.".format(error), changed=True)
    if status != 0:
        with open(log, "rb") as file:
            said = file.read()[-2000:].decode("utf-8", "replace")
        message = "The wrapper's {} ended with {}.".format(command, status)
        raise Failure("restart_failed", message, detail={"said": said}, changed=True)
