"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that backs up a node.

What it leaves where it is killed has a name of its own, by which the next backup knows it and removes it. In the VM
nothing of it is left.
"""

import os
import time
from typing import Any, Dict, List, Tuple

from .. import checks, history, release
from ..backup import manifest, mnesia, mounts, movable, state, store
from ..backup.copying import Progress, Told, copy, told_of, unreadable
from ..backup.places import Sources, boots, lacking, leads_out, node_of, restored, sources
from ..context import Context
from ..files import private_dir, remove_tree, rename, space, sync_all
from ..lock import Lock
from ..protocol import Failure


def _writable(context: Context) -> None:
    checks.writable(context.site.backups)
    if context.site.node is not None and state.mnesia_of(context.link) is not None:
        # The tables are written by the VM.
        checks.writable_by_vm(context, context.site.backups)


def _space(context: Context) -> None:
    space(context.site.backups, *sources(context).size())


def _readable(context: Context) -> None:
    found = [found.source for found in sources(context).found() if found.is_file]
    closed = [path for path in found if not os.access(path, os.R_OK)]
    if closed:
        raise unreadable(closed)


def _known(context: Context) -> None:
    if context.site.node is None:
        state.require_stopped(context)
    else:
        state.mnesia_of(context.link)


def _complete(context: Context) -> None:
    why = lacking(sources(context), context.site.node is None)
    if why is not None:
        raise Failure("backup_incomplete", why)


CHECKS = tuple(("backup", check) for check in (_known, _writable, _complete, _space, _readable))
"""What has to be right for a backup to begin; see `checks.refusals`."""


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Copies the node's data and settings to a folder of their own, and removes the oldest backups beyond `keep`.

    Raises `Failure` backup_failed, cannot_read_file, disk_full, cannot_write_file, untrusted_dir.
    """
    site = context.site
    site.make_backups()
    owner = {key: context.request[key] for key in ("command", "operator", "run")}
    with Lock(site.backups, owner):
        unfinished = store.remove_unfinished(site.backups)
        name = _free(site.backups, context.request["run"])
        folder, partial = (os.path.join(site.backups, begin + name) for begin in ("", store.PARTIAL))
        private_dir(partial)
        try:
            says = _copy(context, name, partial)
            if context.site.node is None:
                # What ran meanwhile has written to files that were copied as those of a stopped node.
                state.require_stopped(context)
            sync_all(partial)
            manifest.write(partial, says)
            rename(partial, folder)
        except BaseException:
            # It would take the space that the next one needs.
            remove_tree(partial)
            raise
        # As long as a marker leads away from it there is a way back to the base.
        base = None if says["marker"] is None else release.read_tree(site.base).version
        removed = store.keep_newest(site.backups, says["node"], context.option("keep"), name, base)
        damaged = store.damaged(site.backups)
    if damaged:
        names = ", ".join(damaged[:20])
        history.warn(context, "These backups are damaged; `inv backup` does not remove them: {}.".format(names))
    changing = says["changing"]
    if changing:
        history.warn(context, "These files changed while they were copied: {}.".format(", ".join(changing[:20])))
    told = store.Backup(folder, name, says["at"], says).facts()
    context.result.facts["backup"] = told
    more = {"files": len(says["files"]), "mnesia": says["mnesia"], "changing": changing}
    return "ok", dict(more, name=name, bytes=told["bytes"], removed=removed, unfinished=unfinished)


def _copy(context: Context, name: str, folder: str) -> manifest.Manifest:
    """Copies all into `folder`; returns what the manifest is to say of the backup of that name."""
    site, request, at = context.site, context.request, int(time.time() * 1000)
    try:
        # Whatever a dead core has left half written in it is put right before it is copied.
        context.journal.check()
    except Failure as failure:
        history.warn(context, "The history is copied as it is. " + failure.message)
    wanted = sources(context)
    progress = Progress(context.emit, "backup", wanted.size()[0])
    saved, files = _copy_tables(context, wanted, folder, progress)
    changing, outside = [], []
    for found in wanted.found():
        if leads_out(wanted, found):
            outside.append("{} to {}".format(found.path, os.path.realpath(found.source)))
        copied = copy(found, os.path.join(folder, found.path), progress)
        if copied is not None:
            files.append(copied[0])
            changing += [] if copied[1] else [found.path]
    progress.tell()
    if outside:
        history.warn(
            context, "These links lead to files that are not in the backup: {}.".format(", ".join(outside[:20]))
        )
    for place in restored(context):
        fixed = movable.fixed(place)
        if fixed is not None:
            history.warn(context, "A restore of this node would be refused as things are now. " + fixed[0])
    return {
        "number": store.next_number(site.backups),
        "name": name,
        "run": request["run"],
        "operator": request["operator"],
        "at": at,
        "node": node_of(context),
        "root": site.base,
        "data_dir": site.data_dir,
        "etc_dir": wanted.etc,
        "mounts": {place.name: mounts.told_of(place) for place in restored(context)},
        "version": context.result.running,
        "marker": release.marked_version(site.base),
        "release": context.result.running or boots(site.base),
        "mnesia": saved,
        "bytes": sum(told.get("size", 0) for told in files),
        "changing": changing,
        "files": files,
    }


def _copy_tables(
    context: Context, wanted: Sources, folder: str, progress: Progress
) -> Tuple[Dict[str, Any], List[Told]]:
    """Has the VM write its tables, if it has any; what the manifest is to say of Mnesia, and of the file."""
    if wanted.mnesia is None:
        return {"saved": "files", "folder": None, "tables": None, "by_table": {}}, []
    path = os.path.join(folder, manifest.TABLES)
    by_table = mnesia.save(context, path, progress.reach)
    inner = os.path.relpath(wanted.mnesia.folder, wanted.data)
    saved = {"saved": "tables", "folder": inner, "tables": len(by_table), "by_table": by_table}
    return saved, [told_of(manifest.TABLES, path, progress)]


def _free(folder: str, run: str) -> str:
    """A name that nothing in the folder has yet: a run may make several backups."""
    number, name = 1, run
    while os.path.lexists(os.path.join(folder, name)):
        number += 1
        name = "{}-{}".format(run, number)
    return name
