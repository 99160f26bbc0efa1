"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that removes what is not needed on."""

import os
from typing import Any, Dict, List, Tuple

from .. import release
from ..context import Context
from ..files import remove_file, remove_tree


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Removes staged tarballs, sidecars and partial trees, once every node of the cluster runs the target.

    Until then, unless told otherwise, it is skipped: the files may be needed to try again.
    """
    if not context.option("clean_anyway"):
        behind = _behind(context)
        if behind:
            return "skipped", {"waiting_for": behind}
    removed, size = [], 0
    for path in _staged(context):
        size += os.path.getsize(path)
        remove_file(path)
        removed.append(path)
    for path in context.site.partial_trees():
        remove_tree(path)
        removed.append(path)
    return ("ok" if removed else "unchanged"), {"removed": removed, "bytes": size}


def _behind(context: Context) -> List[str]:
    """The nodes of the cluster that do not run the version of this one's marker, or that are down."""
    target = release.marked_version(context.site.base) or context.result.running
    return sorted(
        "{} runs {}".format(name, version or "an unknown version")
        for name, version in context.view.versions().items()
        if version != target
    )


def _staged(context: Context) -> List[str]:
    folder = context.site.staging
    if not os.path.isdir(folder):
        return []
    endings = (".tar.gz", ".tar.gz.sha256", ".tar.gz.part", ".tgz", ".tgz.sha256", ".tgz.part", ".tmp")
    return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(endings))
