"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Mnesia's tables, out of a VM and into the next.

**Out.** A checkpoint of the tables that this node has a copy of is one consistent state of them, whatever is written
meanwhile, and needs no other node. Two things of mnesia:backup/1 are not wanted: it needs every node of the cluster up,
and it gives its copy of the schema a new cookie (see relup_agent_backup.erl). How each table is saved:

======================================  ============  =================================================================
storage of the table                    the manifest  what a restore brings back
======================================  ============  =================================================================
disc_copies, disc_only_copies           snapshot      its rows as they were at one moment, the same for all of these
ram_copies                              definition    the table, empty, as after any restart
external, on disk (rocksdb_copies …)    rows          its rows, each as it was when it was read, after all others
external, not on disk (null_copies …)   definition    the table, empty
anything else                           --            the backup is refused: it would not be whole
======================================  ============  =================================================================

Tables of external storage are in no checkpoint, for then code of others would run within Mnesia's transaction manager.
The checkpoint has an owner in the VM (see agent/owner.py), a name of letters, digits and `_` alone, and no step of it
is waited for without end:

==========  ==================================================  =======================================================
step        its limit                                           when that is over
==========  ==================================================  =======================================================
activating  `ACTIVATING` seconds, with the loading of tables    the checkpoint is taken back; backup_failed
writing     `STILL` seconds in which the file does not grow     the same
releasing   `RELEASING` seconds                                 backup_failed; the VM goes on trying
==========  ==================================================  =======================================================

**In.** What Mnesia finds in its folder as FALLBACK.BUP when it starts, it starts from: it puts all else in that folder
away, and removes the file when the tables are on disk, so a start that is cut off is repeated. That file is simply put
there. mnesia:install_fallback/2 would do no more: it writes the same, byte for byte, once it has made sure that the
backup's schema has a copy on disk on this node, which is known when the backup is made. And it would need a VM of the
node's name, with the cookie, ports and name service of a cluster that runs.
"""

import os
import re
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, Optional, Tuple

from ..agent import Agent
from ..context import Context
from ..erlang.link import show
from ..erlang.term import Atom
from ..protocol import Failure

FALLBACK = "FALLBACK.BUP"

ACTIVATING = 60.0
STILL = 120.0
RELEASING = 60.0

_LOOK = 0.2
"""Seconds between two looks at how far a VM is with its tables."""

SNAPSHOT, ROWS, DEFINITION = "snapshot", "rows", "definition"


def save(context: Context, path: str, written: Callable[[int], None]) -> Dict[str, Dict[str, str]]:
    """Has the VM write its tables to the file `path`, telling by `written` how many bytes there are.

    Returns of each table its storage and how it was saved, see above. Raises `Failure` backup_failed.
    """
    tables = _tables(context.agent.tables())
    plain = [name for name, (_, _, external) in tables.items() if not external]
    read = [Atom(name) for name, (_, saved, _) in tables.items() if saved == ROWS]
    try:
        context.agent.save(checkpoint_name(context.request["run"]), plain, (path, read))
        _follow(context.agent, path, written)
    finally:
        with suppress(Failure):
            # Where the VM is gone, or out of reach, it sees us go.
            context.agent.leave_saving()
    os.chmod(path, 0o600)
    return {name: {"storage": storage, "saved": saved} for name, (storage, saved, _) in sorted(tables.items())}


def checkpoint_name(run: str) -> str:
    """The name of a run's checkpoint: letters, digits and `_`, for storage makes files and shell commands of it."""
    return "relup_" + re.sub("[^A-Za-z0-9_]", "_", run)


def _tables(told: Iterable[Tuple[Any, Any, Any, Any]]) -> Dict[str, Tuple[str, str, bool]]:
    """Of each table its storage, how it is to be saved, and whether the storage is external."""
    found = {}
    for name, storage, semantics, external in told:
        if semantics == "ram_copies":
            saved = DEFINITION
        elif semantics in ("disc_copies", "disc_only_copies"):
            saved = ROWS if external == "true" else SNAPSHOT
        else:
            message = "How the table {} is to be saved is not known: its storage is {}.".format(name, storage)
            raise Failure("backup_failed", message, detail={"table": str(name), "storage": str(storage)})
        found[str(name)] = (str(storage), saved, external == "true")
    return found


def _follow(agent: Agent, path: str, written: Callable[[int], None]) -> None:
    """Waits for the VM to be done, however that ends, but no step longer than its limit."""
    over: Optional[Failure] = None
    step, size, since = "activating", 0, time.monotonic()
    while True:
        now, result, gone = agent.saving()
        if now in ("done", "gone"):
            break
        grown = _size(path)
        if now != step or grown != size:
            step, size, since = now, grown, time.monotonic()
            written(size)
        limit = {"activating": ACTIVATING, "writing": STILL}.get(step, RELEASING)
        if time.monotonic() - since > limit:
            if over is not None or step == "releasing":
                raise over or _failed("Mnesia does not remove the checkpoint", "releasing")
            over = _failed("Mnesia made no progress for {:g} s".format(limit), step)
            agent.stop_saving()
            step, since = "releasing", time.monotonic()
        time.sleep(_LOOK)
    if over is not None:
        raise over
    if now == "gone" or not (isinstance(result, tuple) and result[0] == "written"):
        raise _failed("Mnesia does not give a consistent view of its tables", result)
    if result[1] != "ok":
        raise _failed("Mnesia could not write its tables", result[1])
    if not gone:
        raise _failed("Mnesia does not remove the checkpoint", "releasing")


def _size(path: str) -> int:
    """How much is written of a backup: Mnesia gives the file its name when it is whole."""
    sizes = [0]
    for name in (path, path + ".BUPTMP"):
        try:
            sizes.append(os.stat(name).st_size)
        except OSError:
            continue
    return max(sizes)


def _failed(what: str, reason: Any) -> Failure:
    return Failure("backup_failed", "{}.".format(what), detail={"reason": show(reason)})
