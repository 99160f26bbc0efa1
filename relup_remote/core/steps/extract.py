"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that deploys the target's tree."""

import json
import os
from typing import Any, Dict, Tuple

from .. import boot, release
from ..context import Context
from ..files import remove_tree, sync_dir, tree_size, write_whole, writing_failure
from ..opening import read_small
from ..protocol import Failure
from ..site import PARTIAL

STAMP = ".relup_remote.json"
"""In the root of a tree of ours: the digest of its tarball, and how many files and bytes make it whole."""

_NOT_COUNTED = "{}/relup/log".format(STAMP)
"""What may come to be in a tree while it is in use; a wrapper may make a folder for logs."""


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Unpacks bin, lib, releases and erts-* beside the final place and renames: the tree is there whole or not at all.
    Before anything runs from it, it shows that it would boot.

    A tree that is there already, whole and from the same tarball, is left as it is; one that is not is replaced, unless
    the node runs from it. Raises `Failure` unsafe_tarball, bad_tarball, sha256_mismatch, disk_full,
    no_write_permission, would_not_boot, boot_unclear.
    """
    status, detail = _deploy(context)
    try:
        told = context.prove_boot(context.tree)
    except Failure:
        if context.deployed and release.marker(context.site.base) != context.target:
            discard(context.tree)
        raise
    boot.tell(context.result, dict(told, set=detail["set"]), context.site.base)
    return status, detail


def _deploy(context: Context) -> Tuple[str, Dict[str, Any]]:
    # Late, for most requests read no archive.
    from .. import archive  # noqa: PLC0415

    for path in context.site.partial_trees():
        remove_tree(path)
    if _is_ours_and_whole(context.tree, context.tarball["sha256"]):
        # The base's values may be others than they were.
        changed = [setting.to_json() for setting in boot.repair(context.tree, context.site.base)]
        if changed:
            _stamp(context.tree, context.tarball["sha256"], context.target)
        return ("ok" if changed else "unchanged"), {"tree": context.tree, "set": changed}
    parent = os.path.dirname(context.tree)
    temporary = _partial(context.tree)
    try:
        if not os.path.isdir(parent):
            os.mkdir(parent)
            # As open as any release, whatever our umask: others follow the marker in it.
            os.chmod(parent, 0o755)  # noqa: S103
        os.mkdir(temporary, 0o700)
    except OSError as error:
        raise writing_failure(error, parent, "cannot_create_dir")
    try:
        sha256 = context.tarball["sha256"]
        done = archive.extract(context.staged, temporary, on_progress=_progress(context), expected_sha256=sha256)
        found = release.read_tree(temporary).version
        if found != context.target:
            raise Failure("bad_tarball", "The tree says it is {}, not {}.".format(found, context.target))
        settings = boot.repair(context.tree, context.site.base, root=temporary)
        _stamp(temporary, sha256, found)
        # As open as any release: what runs from it may be another user's command line tool.
        os.chmod(temporary, 0o755)  # noqa: S103
        _put_in_place(context, temporary)
    except OSError as error:
        remove_tree(temporary)
        raise writing_failure(error, context.tree)
    except BaseException:
        remove_tree(temporary)
        raise
    context.deployed = True
    told = [setting.to_json() for setting in settings]
    return "ok", {"tree": context.tree, "files": done.files, "bytes": done.bytes, "set": told}


def _stamp(tree: str, sha256: str, version: str) -> None:
    stamp = dict(tree_size(tree, leave_out=_NOT_COUNTED), sha256=sha256, version=version)
    write_whole(os.path.join(tree, STAMP), json.dumps(stamp, sort_keys=True).encode("utf-8"), 0o644)


def _put_in_place(context: Context, temporary: str) -> None:
    old = None
    if os.path.lexists(context.tree):
        if context.site.node is not None and (context.site.node.root + "/").startswith(context.tree + "/"):
            raise Failure("cannot_write_file", "The node runs from {}.".format(context.tree))
        old = _partial(context.tree)
        os.rename(context.tree, old)
    os.rename(temporary, context.tree)
    sync_dir(os.path.dirname(context.tree))
    if old is not None:
        remove_tree(old)


def discard(tree: str) -> None:
    """Removes a deployed tree, if it is there. Raises `Failure`.

    The name goes first: a removal that is cut short leaves a partial tree, never a part of a deployed one.
    """
    partial = _partial(tree)
    try:
        os.rename(tree, partial)
    except FileNotFoundError:
        return
    except OSError as error:
        raise writing_failure(error, tree)
    remove_tree(partial)


def _partial(tree: str) -> str:
    """A name beside a tree, for what is not whole yet, or not any more."""
    folder, version = os.path.split(tree)
    return os.path.join(folder, "{}{}-{}".format(PARTIAL, version, os.urandom(6).hex()))


def _progress(context: Context) -> Any:
    shown = [0]

    def show(done: int, total: int) -> None:
        if done - shown[0] >= 8 << 20 or done == total:
            shown[0] = done
            context.emit({"event": "progress", "step": "extract", "done": done, "total": total, "unit": "bytes"})

    return show


def stamp_of(tree: str) -> Dict[str, Any]:
    """The stamp of a tree of ours; empty for any other."""
    try:
        found = json.loads((read_small(os.path.join(tree, STAMP)) or b"{}").decode("utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lacks(tree: str) -> Any:
    """What keeps a deployed tree from being whole, as a list of words; empty when it is."""
    if not os.path.isdir(tree):
        return ["the tree is not there"]
    missing = release.missing_in(tree)
    stamp = stamp_of(tree)
    if stamp and not missing:
        size = tree_size(tree, leave_out=_NOT_COUNTED)
        missing = [
            "{} {}, not {}".format(size[key], key, stamp.get(key)) for key in size if size[key] != stamp.get(key)
        ]
    return missing


def _is_ours_and_whole(tree: str, sha256: str) -> bool:
    return stamp_of(tree).get("sha256") == sha256 and not lacks(tree)
