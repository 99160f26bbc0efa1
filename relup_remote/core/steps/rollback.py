"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that goes back to the base release.

The boot path only: the marker goes, the node restarts, and boots what it booted before any hop.
"""

import os
import subprocess
from typing import Any, Dict, Tuple

from .. import release
from ..context import Context
from ..files import remove_file, remove_tree, sync_dir
from ..protocol import Failure
from ..site import await_node


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Removes the marker (and the trees, if asked), restarts the node by its wrapper, and waits until it stays up.

    Raises `Failure` nothing_to_roll_back, restart_failed, node_not_back, verify_failed.
    """
    base = context.site.base
    version = release.marker(base)
    if version is None and release.boot_chain(base)[-1] == base:
        raise Failure("nothing_to_roll_back")
    context.changed = True
    remove_file(os.path.join(base, release.MARKER))
    sync_dir(os.path.join(base, "relup"))
    context.leave_vm()
    _wrapper(context, "restart" if context.site.node is not None else "start")
    context.site = await_node(context.request["node"], context.option("boot_timeout"), context.option("settle"))
    wanted = release.read_tree(base).version
    running = context.result.running = context.view.version()
    if running != wanted:
        raise Failure("verify_failed", "The node reports {} after its restart, not {}.".format(running, wanted))
    removed = []
    if context.option("purge") and version is not None:
        # Only now: until it had stopped, the node ran from the tree.
        remove_tree(release.tree_of(base, version))
        removed.append(release.tree_of(base, version))
    return "ok", {"marker": version, "booted": wanted, "removed": removed}


def _wrapper(context: Context, command: str) -> None:
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
