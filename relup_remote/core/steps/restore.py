"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that puts a backup back.

Of a node that is stopped. Everything is copied beside what is there and made durable; then what is there is moved
aside, a name at a time, and the copies take its place (see backup/swap.py). Where that is cut off, every command but
those that only look refuses, and the next restore goes on with it by itself.
"""

import os
import stat
from typing import Any, Dict, Iterator, Optional, Tuple

from .. import checks, history
from ..backup import manifest, mnesia, mounts, movable, places, state, store, swap
from ..backup.checking import damaged
from ..backup.copying import Progress, Told, finish, put_back
from ..backup.manifest import Manifest
from ..backup.store import Backup
from ..backup.swap import Place, Swap
from ..context import Context
from ..files import make_dirs, private_dir, remove_tree, space, sync_all, writing_failure
from ..lock import held, holder
from ..protocol import Failure
from ..release import RESTORED

_NO_SUCH_BACKUP = "`inv backup.list` lists the backups."
_NO_BACKUP = "`inv backup` makes one. If there are backups in another folder, set `backup_dir` in the inventory."


def chosen(context: Context) -> Backup:
    """The backup that is asked for by name, else that of a restore which has to begin again, else the newest of the
    node, damaged or not. Raises `Failure` no_backup."""
    folder, name = context.site.backups, context.option("backup") or _again(context)
    kept = store.backups(folder)
    named = next((backup for backup in kept if backup.name == name), None)
    found = named if name else store.latest(kept, places.node_of(context))
    if found is None:
        message = "There is no backup {} in {}.".format(name, folder) if name else None
        ahead = [backup.name for backup in kept if backup.is_ahead and not backup.cut_short]
        if ahead and not name:
            message = "All backups are dated in the future: {}. Name one with --backup.".format(", ".join(ahead))
        hint = _NO_SUCH_BACKUP if kept else _NO_BACKUP
        raise Failure("no_backup", message, hint=hint, detail={"folder": folder, "backup": name})
    return found


def checked(context: Context, backup: Backup) -> Manifest:
    """What the backup says of itself, once every file of it was read. Raises `Failure` backup_damaged, naming them."""
    # Not what was looked up: that says no more than that something is missing.
    try:
        says = manifest.read(backup.path)
    except OSError as error:
        why = error.strerror or ""
        detail = {"damaged": [{"path": manifest.FILE, "why": why}]}
        told = "{} has no {}: {}.".format(backup.path, manifest.FILE, why)
        raise Failure("backup_damaged", told, detail=detail)
    found = damaged(backup.path, says, Progress(context.emit, context.request["command"], says["bytes"]))
    if found:
        named = ", ".join(item["path"] for item in found[:5])
        message = "{} of {} files of {} are not what was written: {}.".format(
            len(found), len(says["files"]), backup.name, named
        )
        raise Failure("backup_damaged", message, detail={"damaged": found[:50], "count": len(found)})
    return says


# ------------------------------------------------------------------------------------------------ refusing


def refuse_halfway(context: Context) -> None:
    """Raises `Failure` half_restored where a restore was cut off, upgrade_in_progress while one is under way."""
    left = swap.unfinished(context.site.ours)
    if left is not None and left.is_halfway():
        by = holder(context.site.ours)
        if by is not None:
            raise held(by)
        message = "The restore of {} in run {} was cut off half-way.".format(left.backup, left.said["run"])
        raise Failure("half_restored", message, detail={"backup": left.backup, "run": left.said["run"]})


def left_half_way(context: Context) -> Optional[str]:
    """The name of the backup whose restore was cut off half-way, or None. Raises `Failure` half_restored."""
    left = swap.unfinished(context.site.ours)
    return left.backup if left is not None and left.is_halfway() else None


def left_over(context: Context) -> Optional[Swap]:
    """The swap that the restore asked for is to go on with; None where it is to begin with another backup."""
    left, asked = swap.unfinished(context.site.ours), context.option("backup")
    if left is None or not left.is_halfway() or left.is_broken():
        return None
    return left if asked in ("", left.backup) else None


def _again(context: Context) -> str:
    """The backup of a restore that was cut off, and whose copies were removed since; empty if there is none."""
    if context.request["command"] != "restore":
        return ""
    left = swap.unfinished(context.site.ours)
    return left.backup if left is not None and left.is_broken() else ""


def _whole(context: Context) -> None:
    checked(context, chosen(context))


def _all_there(context: Context) -> None:
    backup = chosen(context)
    if not backup.whole:
        raise Failure("backup_damaged", "{} is not complete: {}.".format(backup.name, backup.why))


def _same_node(context: Context) -> None:
    says, node = _says(context), places.node_of(context)
    if None not in (node, says["node"]) and node != says["node"]:
        message = "The backup is of {}, not of {}.".format(says["node"], node)
        hint = "Name a backup of this node. Mnesia starts only under the name under which the tables were saved."
        raise Failure("backup_of_another_node", message, detail=_pair(says["node"], node), hint=hint)
    pairs = ((says["root"], context.site.base), (says["data_dir"], context.site.data_dir))
    for theirs, ours in pairs:
        if theirs != ours and not context.option("restore_force"):
            message = "The backup is of a node with {}, not {}.".format(theirs, ours)
            raise Failure("backup_of_another_node", message, detail=_pair(theirs, ours))


def _same_release(context: Context) -> None:
    says, boots = _says(context), places.boots(context.site.base)
    if says["release"] != boots and not context.option("restore_force"):
        message = "The backup is of {}, and the root boots {}.".format(says["release"], boots)
        raise Failure("backup_version_differs", message, detail=_pair(says["release"], boots))


def _mounted(context: Context) -> None:
    """The folders lie on the disks that they lay on: without its disk a mount point is an empty folder."""
    told = _says(context).get("mounts", {})
    for place in places.restored(context):
        why = mounts.missing(place, told.get(place.name, {}))
        if why is not None and not context.option("restore_force"):
            raise Failure("not_mounted", why, detail={"path": place.path})


def _room(context: Context) -> None:
    says = _says(context)
    # As the node starts from tables, Mnesia writes each of them once more.
    tables = sum(told["size"] for told in says["files"] if told["path"] == manifest.TABLES)
    for place in places.restored(context):
        space(place.path, says["bytes"] + tables, len(says["files"]))
        checks.writable(place.path)


def _movable(context: Context) -> None:
    for place in places.restored(context):
        found = movable.fixed(place)
        if found is not None:
            raise Failure("cannot_write_file", found[0], hint=found[1], detail={"path": place.path})


def _checks(is_whole: checks.Check) -> Tuple[Tuple[str, checks.Check], ...]:
    found = (state.require_stopped, is_whole, _same_node, _same_release, _mounted, _room, _movable)
    return tuple(("restore", check) for check in found)


CHECKS = _checks(_whole)
"""What has to be right for a restore to begin; see `checks.refusals`."""

QUICK_CHECKS = _checks(_all_there)
"""The same, without reading every file of the backup, which may take minutes."""

CHECKS_TO_GO_ON = (("restore", state.require_stopped),)
"""What has to be right for one that was cut off to be gone on with: the copies are whole and in their folders."""


def _says(context: Context) -> Manifest:
    says = chosen(context).says
    # What is damaged is told by another check.
    if says is None:
        raise Failure("backup_damaged")
    return says


def _pair(theirs: Optional[str], ours: Optional[str]) -> Dict[str, Any]:
    return {"backup": theirs, "here": ours}


# ------------------------------------------------------------------------------------------------ restoring


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Puts the backup in the place of the node's data and settings, which are put aside.

    Goes on with what an earlier restore left, if it did. Raises `Failure` backup_damaged, disk_full, cannot_write_file,
    node_started.
    """
    wanted = left_over(context)
    left = swap.unfinished(context.site.ours)
    if wanted is None:
        backup, says = chosen(context), _says(context)
    if left is not None and not left.is_halfway():
        # All is done, or nothing: what is there now may be what the node has written since.
        left.end()
    elif left is not None and left.is_broken():
        # It begins again, from what was there before.
        context.changed = True
        left.back()
        left.end()
    elif left is not None:
        _do(context, left)
    if wanted is not None:
        return "ok", _told(context, wanted, goes_on=True)
    both = places.restored(context)
    try:
        _copy_all(context, both, backup.path, says)
        # Copying may have taken minutes.
        state.require_stopped(context)
        begun = {
            "backup": backup.name,
            "run": context.request["run"],
            "release": says["release"],
            "bytes": says["bytes"],
            "files": len(says["files"]),
        }
        made = swap.begin(context.site.make_ours(), begun, list(both))
    except BaseException:
        # They would take the space that the next try needs.
        for place in both:
            remove_tree(place.fresh)
        raise
    _do(context, made)
    return "ok", _told(context, made, goes_on=False)


def _do(context: Context, made: Swap) -> None:
    """Makes all moves. Makes none where one fails, or where the node does not stay stopped meanwhile.

    Raises `Failure` node_started, and those of a move.
    """
    context.changed = True
    try:
        made.forward(lambda: state.require_stopped(context))
    except (Failure, OSError) as met:
        failure = met if isinstance(met, Failure) else writing_failure(met, str(met.filename or ""))
        if failure.err_type in ("node_running", "node_starting"):
            failure = Failure("node_started", "Somebody started the node. " + failure.message, detail=failure.detail)
        try:
            made.back()
            made.end()
        except (Failure, OSError):
            failure.message += " The moved files could not be moved back: the node is half restored."
            failure.hint = "Remove the cause and run the restore again: it goes on by itself."
            failure.changed = True
            raise failure
        context.changed = False
        raise failure
    made.end()
    _record(context, made)


def _told(context: Context, made: Swap, goes_on: bool) -> Dict[str, Any]:
    kept = next((each for each in store.backups(context.site.backups) if each.name == made.backup), None)
    if kept is not None:
        context.result.facts["restored"] = kept.facts()
    more = {"bytes": made.said["bytes"], "files": made.said["files"], "aside": made.put_aside()}
    return dict(more, name=made.backup, went_on=goes_on)


def _copy_all(context: Context, both: Tuple[Place, Place], backup: str, says: Manifest) -> None:
    """Copies all of the backup beside what it is to replace, and makes that durable."""
    progress = Progress(context.emit, "restore", says["bytes"])
    for place in both:
        _copy(place, backup, says, progress)
    if says["mnesia"]["saved"] == "tables":
        _put_tables(both[1], backup, says, progress)
    progress.tell()
    for place in both:
        sync_all(place.path)


def _record(context: Context, made: Swap) -> None:
    """Writes into the history that it was done: no attempt, so nothing of it is left to be finished or mirrored."""
    request = context.request
    try:
        options = {"restore": made.backup, "force": context.option("restore_force")}
        row = context.journal.begin(request["run"], request["operator"], None, made.said["release"], options, "")
        context.journal.finish(row, "success")
        context.journal.mark_mirrored(row)
    except Failure as failure:
        history.warn(context, "The restore could not be written into the history. " + failure.message)


def _copy(place: Place, backup: str, says: Manifest, progress: Progress) -> None:
    """Copies what is the place's into a fresh folder in it."""
    make_dirs(place.path, 0o755)
    for name in os.listdir(place.path):
        if name.startswith(RESTORED):
            remove_tree(os.path.join(place.path, name))
    if not place.present():
        _as_it_was(place, says)
    private_dir(place.fresh)
    told = list(_in_place(place, says))
    for each, inner in told:
        put_back(each, os.path.join(backup, each["path"]), os.path.join(place.fresh, inner), progress)
    # From within: in a folder that is closed again nothing could be made.
    for each, inner in reversed(told):
        if each["kind"] == "folder":
            finish(each, os.path.join(place.fresh, inner))


def _as_it_was(place: Place, says: Manifest) -> None:
    """Gives a folder that was gone the mode that it had."""
    mode = next((told["mode"] for told in says["files"] if told["path"] == place.name and "mode" in told), None)
    if mode is not None and os.stat(place.path).st_uid == os.geteuid():
        os.chmod(place.path, mode | stat.S_IRWXU)


def _in_place(place: Place, says: Manifest) -> Iterator[Tuple[Told, str]]:
    """What the backup has of a place, with its path in there."""
    for told in says["files"]:
        name, _, inner = told["path"].partition("/")
        if name == place.name and inner and inner.partition("/")[0] not in place.stays:
            yield told, inner


def _put_tables(place: Place, backup: str, says: Manifest, progress: Progress) -> None:
    """Puts the tables where Mnesia starts from them."""
    folder = os.path.join(place.fresh, says["mnesia"]["folder"])
    make_dirs(folder, 0o700)
    told = next(told for told in says["files"] if told["path"] == manifest.TABLES)
    put_back(told, os.path.join(backup, manifest.TABLES), os.path.join(folder, mnesia.FALLBACK), progress)
