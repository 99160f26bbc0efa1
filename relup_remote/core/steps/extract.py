"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that deploys the target's tree.

A tree may be deployed hours before it is used (see the command `prepare`). The marker alone makes it the node's, so
until then it does no harm. Its stamp says of which tarball it is, how many files and bytes it has, what all of its
files looked like to the file system, and whether a hop has used it. An upgrade takes a tree that is there only where
all of that still holds: a file that was written since, also with as many bytes as before, has another time of change.
That is the clock's; no program can choose it, other than by setting the clock. To read all files again would take a
second of CPU for each tree; to look at them takes 0.05 s.
"""

import hashlib
import json
import os
from typing import Any, Dict, List, Optional, Tuple

from .. import boot, release
from ..context import Context
from ..files import remove_tree, size_of, sync_dir, tree_files, tree_size, write_whole, writing_failure
from ..opening import names_in, read_small
from ..protocol import Failure
from ..site import PARTIAL, STAMP

_NAMED = 3
"""Files that are named of those that were changed."""

_NOT_OURS = "Nothing needs to be done for this upgrade. Find out who deployed the tree, or removed {} in it.".format(
    STAMP
)
_OF_ANOTHER_TARBALL = (
    "Nothing needs to be done if you meant to use another tarball. If not, compare its SHA-256 with the one before."
)

_NOT_COUNTED = "{}/log".format(STAMP)
"""What comes to be in a tree without a change to its release: the stamp, and a folder for logs that a wrapper makes."""

_NOT_WHILE_IN_USE = "{}/relup".format(_NOT_COUNTED)
"""The same of a tree in use, below which there may be others. None may be below a tree that is only prepared: the
wrapper would go on to the one that a marker there names."""


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Unpacks bin, lib, releases and erts-* beside the final place and renames: the tree is there whole or not at all.
    Before anything runs from it, it shows that it would boot.

    A tree that is there already, whole and from the same tarball, is left as it is; one that is not is replaced, unless
    the node runs from it. Raises `Failure` unsafe_tarball, bad_tarball, sha256_mismatch, disk_full,
    no_write_permission, would_not_boot, boot_unclear, cannot_read_file.
    """
    status, detail = _deploy(context)
    try:
        told = context.prove_boot(context.tree)
    except Failure:
        if context.deployed and release.marker(context.site.base) != context.target:
            discard(context.tree)
        raise
    boot.tell(context.result, dict(told, set=stamp_of(context.tree).get("set", detail["set"])), context.site.base)
    return status, detail


def _deploy(context: Context) -> Tuple[str, Dict[str, Any]]:
    # Late, for most requests read no archive.
    from .. import archive  # noqa: PLC0415

    for path in context.site.partial_trees():
        remove_tree(path)
    # A tree that takes the place of one that a hop has used may be used by the VM as well.
    used = os.path.lexists(context.tree) and _was_used(context.tree)
    if _is_ours_and_whole(context):
        # The base's values may be others than they were.
        changed = [setting.to_json() for setting in boot.repair(context.tree, context.site.base)]
        if changed:
            before = [each for each in stamp_of(context.tree).get("set", ()) if each["name"] not in _names(changed)]
            _stamp(context.tree, context.tarball["sha256"], context.target, used, before + changed)
        return ("ok" if changed else "unchanged"), {"tree": context.tree, "set": changed}
    why, hint = _changed(context)
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
        told = [setting.to_json() for setting in settings]
        _stamp(temporary, sha256, found, used, told)
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
    if why:
        message = "{} was there, but {}. It was removed and unpacked again.".format(context.tree, why)
        context.result.warnings.append(Failure("tree_replaced", message, hint=hint, stage="extract").to_json())
    return "ok", {"tree": context.tree, "files": done.files, "bytes": done.bytes, "set": told}


def _names(settings: List[Dict[str, Any]]) -> List[str]:
    return [setting["name"] for setting in settings]


def _stamp(tree: str, sha256: str, version: str, used: bool, settings: List[Dict[str, Any]]) -> None:
    """Stamps a tree; `settings` are those that were set in it for its boot."""
    _write_stamp(tree, dict(_seen(tree), sha256=sha256, version=version, used=used, set=settings))


def _write_stamp(tree: str, stamp: Dict[str, Any]) -> None:
    write_whole(os.path.join(tree, STAMP), json.dumps(stamp, sort_keys=True).encode("utf-8"), 0o644)


def _seen(tree: str) -> Dict[str, Any]:
    """What the file system says of a tree: {"files", "bytes", "seen"}, the last a digest of what each file looks like.

    Folders are left out: only their times tell of what else is in them, and a file more or less counts anyway.
    """
    hasher = hashlib.sha256()
    there = sorted(tree_files(tree, leave_out=_NOT_COUNTED))
    for path, found in there:
        about = (found.st_ino, found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        hasher.update("{}\0{}\n".format(path, about).encode("utf-8", "surrogateescape"))
    return dict(size_of(there), seen=hasher.hexdigest())


def note_used(tree: str) -> None:
    """Notes that a hop is about to use a tree: from now on the VM may know paths in it. Raises `Failure`."""
    stamp = stamp_of(tree)
    if stamp.get("used") is False:
        _write_stamp(tree, dict(stamp, used=True))


def _was_used(tree: str) -> bool:
    """Whether a hop has used a tree, as far as can be told: one without our stamp may have been."""
    return stamp_of(tree).get("used") is not False


def _put_in_place(context: Context, temporary: str) -> None:
    old = None
    if os.path.lexists(context.tree):
        if _runs_from(context, context.tree):
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
        size = tree_size(tree, leave_out=_NOT_WHILE_IN_USE)
        missing = [
            "{} {}, not {}".format(size[key], key, stamp.get(key)) for key in size if size[key] != stamp.get(key)
        ]
    return missing


def is_prepared(context: Context) -> bool:
    """Whether the target's tree is there, whole and unchanged, from the request's tarball, as far as can be told."""
    try:
        return "error" not in context.tarball["release"] and _is_ours_and_whole(context)
    except Failure:
        # The step says what is wrong.
        return False


def _is_ours_and_whole(context: Context) -> bool:
    """Of the tree that the node runs from, which can't be replaced, the number of files and bytes is enough."""
    tree = context.tree
    stamp = stamp_of(tree)
    if stamp.get("sha256") != context.tarball["sha256"] or lacks(tree):
        return False
    return _runs_from(context, tree) or stamp.get("seen") == _seen(tree)["seen"]


def _changed(context: Context) -> Tuple[Optional[str], Optional[str]]:
    """Why a tree that is there is not as it was unpacked, as a part of a sentence, and a hint, if it is not the usual
    one; None where none is there."""
    tree = context.tree
    if not os.path.lexists(tree):
        return None, None
    stamp = stamp_of(tree)
    if not stamp:
        return "it was not unpacked by relup_remote", _NOT_OURS
    if stamp.get("sha256") != context.tarball["sha256"]:
        return "it is of another tarball", _OF_ANOTHER_TARBALL
    missing = lacks(tree)
    said = ["it is not as it was unpacked: {}".format(", ".join(missing))] if missing else []
    # Whoever sets the host's clock hides what was changed, but not that something was.
    since = os.stat(os.path.join(tree, STAMP)).st_ctime_ns
    late = sorted(path for path, found in tree_files(tree, leave_out=_NOT_COUNTED) if found.st_ctime_ns > since)
    if late:
        more = len(late) - _NAMED
        others = " and {} more".format(more) if more > 0 else ""
        said.append("changed since: {}{}".format(", ".join(late[:_NAMED]), others))
    return "; ".join(said) or "files in it were changed since", None


def _runs_from(context: Context, tree: str) -> bool:
    return context.site.node is not None and (context.site.node.root + "/").startswith(tree + "/")


def unused_trees(context: Context) -> List[str]:
    """The deployed trees that were prepared, and that no hop has used: nothing knows of them."""
    base = context.site.base
    folder = os.path.join(base, "relup")
    chain = [root + "/" for root in release.boot_chain(base)]
    found = []
    for name in names_in(folder):
        tree = os.path.join(folder, name)
        is_booted = any(root.startswith(tree + "/") for root in chain) or _runs_from(context, tree)
        try:
            stamp = stamp_of(tree)
        except Failure:
            # It is not ours.
            continue
        is_unused = stamp.get("used") is False and stamp.get("version") == name
        if is_unused and not is_booted and name != context.result.running:
            found.append(tree)
    return found
