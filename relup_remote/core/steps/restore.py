"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that puts a backup back.

Of a node that is stopped. Everything is copied beside what is there and made durable; then what is there is moved
aside, a name at a time, and the copies take its place. Where that is cut off, `status` says so, and the next restore
begins anew: what is there then is moved aside once more, and nothing that was put aside before is touched.
"""

import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .. import checks, history, journal
from ..backup import manifest, mnesia, places, store
from ..backup.checking import damaged
from ..backup.copying import Progress, Told, finish, put_back
from ..backup.manifest import Manifest
from ..backup.store import Backup
from ..context import Context
from ..files import make_dirs, private_dir, remove_file, remove_tree, sync_all, sync_dir, write_whole, writing_failure
from ..protocol import Failure
from ..site import OURS

HALFWAY = "restoring"
"""The file of ours that is there while a restore moves things."""


class Place(NamedTuple):
    """A folder that is restored: its `name` in the backup, where it is, and the run that restores it."""

    name: str
    path: str
    run: str

    @property
    def fresh(self) -> str:
        """Where the copies are until they take their place."""
        return os.path.join(self.path, places.RESTORED + self.run)

    @property
    def aside(self) -> str:
        """Where what was there is put."""
        return os.path.join(self.path, places.BEFORE + self.run)

    def present(self) -> List[str]:
        """The names of what is there and has to make room."""
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        return sorted(name for name in names if name != OURS and not name.startswith((places.BEFORE, places.RESTORED)))


def places_of(context: Context) -> Tuple[Place, Place]:
    """The folders of the node that are restored."""
    run = context.request["run"]
    return Place("data", places.data_of(context), run), Place("etc", places.etc_of(context.site.base), run)


def chosen(context: Context) -> Backup:
    """The backup that is asked for, by name, or the newest of the node, damaged or not. Raises `Failure` no_backup."""
    folder, name = context.site.backups, context.option("backup")
    kept = store.backups(folder)
    named = next((backup for backup in kept if backup.name == name), None)
    found = named if name else store.latest(kept, places.node_of(context))
    if found is None:
        message = "There is no backup {} in {}.".format(name, folder) if name else None
        raise Failure("no_backup", message, detail={"folder": folder, "backup": name})
    return found


def checked(context: Context, backup: Backup) -> Manifest:
    """What the backup says of itself, once every file of it was read. Raises `Failure` backup_damaged, naming them."""
    # Not what was looked up: that says no more than that something is missing.
    try:
        says = manifest.read(backup.path)
    except OSError as error:
        why = error.strerror or ""
        detail = {"damaged": [{"path": manifest.FILE, "why": why}]}
        raise Failure("backup_damaged", "{} has no manifest: {}.".format(backup.path, why), detail=detail)
    found = damaged(backup.path, says, Progress(context.emit, context.request["command"], says["bytes"]))
    if found:
        named = ", ".join(item["path"] for item in found[:5])
        message = "{} of {} files of {} are not what was written: {}.".format(
            len(found), len(says["files"]), backup.name, named
        )
        raise Failure("backup_damaged", message, detail={"damaged": found[:50], "count": len(found)})
    return says


# ------------------------------------------------------------------------------------------------ refusing


def _stopped(context: Context) -> None:
    if context.site.node is not None:
        raise Failure("node_running", detail={"os_pid": context.site.node.os_pid})


def _whole(context: Context) -> None:
    checked(context, chosen(context))


def _same_node(context: Context) -> None:
    says, node = _says(context), context.request["node"].get("name")
    if None not in (node, says["node"]) and node != says["node"]:
        message = "The backup is of {}, not of {}.".format(says["node"], node)
        hint = "Name a backup of this node. Mnesia starts under no other name than the tables were saved under."
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


def _room(context: Context) -> None:
    size = _says(context)["bytes"]
    for place in places_of(context):
        checks.space(place.path, size)
        checks.writable(place.path)


def _movable(context: Context) -> None:
    for place in places_of(context):
        fixed = [name for name in place.present() if os.path.ismount(os.path.join(place.path, name))]
        if fixed:
            path = os.path.join(place.path, fixed[0])
            raise Failure(
                "cannot_write_file", "{} is a mount point and can't be moved aside.".format(path), detail={"path": path}
            )


CHECKS = tuple(("restore", check) for check in (_stopped, _whole, _same_node, _same_release, _room, _movable))
"""What has to be right for a restore to begin; see `checks.refusals`."""


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

    Raises `Failure` backup_damaged, disk_full, cannot_write_file.
    """
    backup, says = chosen(context), _says(context)
    both = places_of(context)
    try:
        _copy_all(context, both, backup.path, says)
    except BaseException:
        # They would take the space that the next try needs.
        for place in both:
            remove_tree(place.fresh)
        raise
    context.changed = True
    mark = os.path.join(context.site.ours, HALFWAY)
    write_whole(mark, json.dumps({"backup": backup.name, "run": context.request["run"]}).encode("utf-8"))
    for place in both:
        _swap(place)
    remove_file(mark)
    sync_dir(context.site.ours)
    _record(context, backup.name, says)
    context.result.facts["restored"] = backup.facts()
    aside = [place.aside for place in both if os.path.isdir(place.aside)]
    return "ok", {"name": backup.name, "bytes": says["bytes"], "files": len(says["files"]), "aside": aside}


def _copy_all(context: Context, both: Tuple[Place, Place], backup: str, says: Manifest) -> None:
    """Copies all of the backup beside what it is to replace, and makes that durable."""
    progress = Progress(context.emit, "restore", says["bytes"])
    for place in both:
        _copy(place, backup, says, progress)
    if says["mnesia"]["saved"] == "tables":
        _put_tables(both[0], backup, says, progress)
    progress.tell()
    for place in both:
        sync_all(place.path)


def _record(context: Context, name: str, says: Manifest) -> None:
    """Writes into the history that it was done: no attempt, so nothing of it is left to be finished or mirrored."""
    request = context.request
    try:
        options = {"restore": name, "force": context.option("restore_force")}
        row = context.journal.begin(request["run"], request["operator"], None, says["release"], options, "")
        context.journal.finish(row, "success")
        context.journal.mark_mirrored(row)
    except Failure as failure:
        history.warn(context, "The restore could not be written into the history. " + failure.message)


def _copy(place: Place, backup: str, says: Manifest, progress: Progress) -> None:
    """Copies what is the place's into a fresh folder in it."""
    make_dirs(place.path, 0o755)
    for name in os.listdir(place.path):
        if name.startswith(places.RESTORED):
            remove_tree(os.path.join(place.path, name))
    private_dir(place.fresh)
    told = list(_in_place(place, says))
    for each, inner in told:
        put_back(each, os.path.join(backup, each["path"]), os.path.join(place.fresh, inner), progress)
    # From within: in a folder that is closed again nothing could be made.
    for each, inner in reversed(told):
        if each["kind"] == "folder":
            finish(each, os.path.join(place.fresh, inner))


def _in_place(place: Place, says: Manifest) -> Iterator[Tuple[Told, str]]:
    """What the backup has of a place, with its path in there."""
    for told in says["files"]:
        name, _, inner = told["path"].partition("/")
        if name == place.name and inner:
            yield told, inner


def _put_tables(place: Place, backup: str, says: Manifest, progress: Progress) -> None:
    """Puts the tables where Mnesia starts from them."""
    folder = os.path.join(place.fresh, says["mnesia"]["folder"])
    make_dirs(folder, 0o700)
    told = next(told for told in says["files"] if told["path"] == manifest.TABLES)
    put_back(told, os.path.join(backup, manifest.TABLES), os.path.join(folder, mnesia.FALLBACK), progress)


def _swap(place: Place) -> None:
    """Moves what is there aside, and the copies into its place."""
    try:
        present = place.present()
        if present:
            private_dir(place.aside)
        for name in present:
            os.rename(os.path.join(place.path, name), os.path.join(place.aside, name))
        for name in sorted(os.listdir(place.fresh)):
            if name == OURS:
                _keep_history(place)
            else:
                os.rename(os.path.join(place.fresh, name), os.path.join(place.path, name))
        remove_tree(place.fresh)
        sync_dir(place.path)
    except OSError as error:
        raise writing_failure(error, place.path)


def _keep_history(place: Place) -> None:
    """The history that is there knows more than that of the backup; only where there is none, that one goes on."""
    here = os.path.join(place.path, OURS, journal.FILE)
    theirs = os.path.join(place.fresh, OURS, journal.FILE)
    if os.path.exists(theirs) and not os.path.lexists(here):
        os.rename(theirs, here)
