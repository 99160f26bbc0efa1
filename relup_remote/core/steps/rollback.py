"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that goes back to the base release.

The boot path only: the marker goes while the node is down, and the node boots what it booted before any hop. The marker
goes no earlier than that, and not before the base has shown that it would boot.
"""

import os
from typing import Any, Dict, Optional, Tuple

from .. import release
from ..context import Context
from ..files import remove_file, sync_dir, write_whole
from ..history import half_done, last_change, vm_answers
from ..protocol import Failure
from .extract import discard
from .restart import Change, check_restart, restart


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Removes the marker (and the trees, if asked), restarts the node, and waits until it stays up.

    Raises `Failure` nothing_to_roll_back, would_not_boot, boot_unclear, service_not_permitted, disk_full,
    restart_failed, node_not_back, verify_failed.
    """
    base = context.site.base
    version = release.marker(base)
    refuse(context)
    context.note(changed=True)
    context.changed = True
    try:
        by = restart(context, _removing_marker(base, version))
    except Failure as failure:
        # A node that could not be stopped is what it was.
        context.changed = failure.changed
        raise
    wanted = release.read_tree(base).version
    running = context.result.running = context.view.version()
    if running != wanted:
        raise Failure("verify_failed", "The node reports {} after its restart, not {}.".format(running, wanted))
    removed = []
    if context.option("purge") and version is not None:
        # Only now: until it had stopped, the node ran from the tree.
        discard(release.tree_of(base, version))
        removed.append(release.tree_of(base, version))
    return "ok", {"marker": version, "booted": wanted, "removed": removed, "restarted_by": by}


def refuse(context: Context) -> None:
    """Raises `Failure` nothing_to_roll_back, or service_not_permitted, disk_full, would_not_boot, boot_unclear for a
    node that could not be restarted into its base."""
    if release.marker(context.site.base) is None and not _is_left_half_way(context):
        raise Failure("nothing_to_roll_back")
    check_restart(context)
    context.prove_boot(context.site.base)


def _is_left_half_way(context: Context) -> bool:
    """Whether there is something to finish although no marker is there."""
    if not vm_answers(context):
        return False
    if context.site.node is not None:
        return half_done(context)
    # A node that is down may be so on purpose, but for one that a rollback has stopped.
    last = last_change(context)
    return last is not None and bool(last["options"].get("rollback")) and last["result"] != "success"


def _removing_marker(base: str, version: Optional[str]) -> Change:
    path = os.path.join(base, release.MARKER)

    def do() -> None:
        if remove_file(path):
            sync_dir(os.path.dirname(path))

    def undo() -> None:
        if version is not None:
            write_whole(path, version.encode("ascii"), 0o644)

    return Change(do, undo)
