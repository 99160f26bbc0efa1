"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that removes what is not needed on."""

import os
from typing import Any, Dict, List, Tuple

from .. import release
from ..context import Context
from ..files import remove_file, tree_size
from ..history import last_change
from ..opening import cannot_read, names_in
from ..protocol import Failure
from .extract import discard, unused_trees

_STAGED = (".tar.gz", ".tar.gz.sha256", ".tar.gz.part", ".tgz", ".tgz.sha256", ".tgz.part", ".tmp")
"""How the names end of what staging leaves."""

Thing = Dict[str, Any]
"""A file or tree that is not needed: its `path` and `bytes`."""


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Removes staged tarballs, sidecars, partial trees and trees that no hop has used, once every node of the cluster
    runs the target; with the option `trees` deployed trees as well that nothing needs any more (see `spare_trees`).

    Until then, unless told otherwise, it is skipped: the files may be needed to try again. A request with a tarball, as
    at the end of a run, removes the files of that one, and only partial trees: what else is there may be prepared for a
    later run. With `dry_run` nothing is removed: what would be is told, also in the result's facts. Raises `Failure`
    nodes_behind only then, and cannot_read_file.
    """
    behind = [] if context.option("clean_anyway") else _behind(context)
    if behind and not context.option("dry_run"):
        return "skipped", {"waiting_for": behind}
    unused = [] if context.request.get("tarball") else unused_trees(context)
    things = _things([*_staged(context), *context.site.partial_trees(), *unused])
    trees = [tree for tree in _spare(context) if tree["path"] not in unused]
    if context.option("trees"):
        things += trees
    size = sum(thing["bytes"] for thing in things)
    if context.option("dry_run"):
        told = {"would_remove": things, "bytes": size, "trees": trees}
        context.result.facts.update(told)
        if behind:
            raise Failure("nodes_behind", detail={"waiting_for": behind})
        return ("ok" if things else "unchanged"), told
    for thing in things:
        if os.path.isdir(thing["path"]):
            discard(thing["path"])
        else:
            remove_file(thing["path"])
    return ("ok" if things else "unchanged"), {"removed": [thing["path"] for thing in things], "bytes": size}


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
    paths = [os.path.join(folder, name) for name in names_in(folder) if name.endswith(_STAGED)]
    return [path for path in paths if path.startswith(context.staged)] if context.request.get("tarball") else paths


def _things(paths: List[str]) -> List[Thing]:
    found = []
    for path in paths:
        try:
            size = tree_size(path)["bytes"] if os.path.isdir(path) else os.path.getsize(path)
        except FileNotFoundError:
            # Who only looks has no lock: it may be gone by now.
            continue
        except OSError as error:
            raise cannot_read(path, error)
        found.append({"path": path, "bytes": size})
    return found


def _spare(context: Context) -> List[Thing]:
    """Nothing where nobody asks: going through a tree takes its time."""
    if not (context.option("dry_run") or context.option("trees")):
        return []
    return _things(spare_trees(context))


def spare_trees(context: Context) -> List[str]:
    """The deployed trees that neither the next boot nor the VM needs.

    A VM that has gone through a hop since it started may have files open, or know paths, of any tree it came through:
    as long as it runs, none is spare. A rollback needs none, for it goes back to the base.
    """
    site = context.site
    chain = release.boot_chain(site.base)
    if site.node is not None:
        is_booted = os.path.realpath(site.node.root) == os.path.realpath(chain[-1])
        if (
            not is_booted
            or context.result.running != (release.version_of(chain[-1]) or "")
            or last_change(context) is not None
        ):
            return []
    folder = os.path.join(site.base, "relup")
    trees = [os.path.join(folder, name) for name in names_in(folder)]
    booted = [root + "/" for root in chain]
    return [
        tree
        for tree in trees
        if release.version_of(tree) == os.path.basename(tree)
        and not any(root.startswith(tree + "/") for root in booted)
    ]
