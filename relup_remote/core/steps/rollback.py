"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that goes back to the base release.

The boot path only: the marker goes, the node restarts, and boots what it booted before any hop.
"""

import os
from typing import Any, Dict, Tuple

from .. import release
from ..context import Context
from ..files import remove_file, sync_dir
from ..history import half_done
from ..protocol import Failure
from .extract import discard
from .restart import check_restart, restart


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Removes the marker (and the trees, if asked), restarts the node, and waits until it stays up.

    Raises `Failure` nothing_to_roll_back, service_not_permitted, restart_failed, node_not_back, verify_failed.
    """
    base = context.site.base
    version = release.marker(base)
    if version is None and (context.result.running is None or not half_done(context)):
        raise Failure("nothing_to_roll_back")
    check_restart(context)
    context.note(changed=True)
    context.changed = True
    remove_file(os.path.join(base, release.MARKER))
    if version is not None:
        sync_dir(os.path.join(base, "relup"))
    by = restart(context)
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
