"""Payload, shipped to hosts (Python 3.6 and up, standard library only): Mnesia's tables, out of a VM and into the next.

**Out.** A checkpoint of all tables that this node has a copy of is one consistent state of them, whatever is written
meanwhile, and needs no other node. Tables in RAM are in it by their definition only, as after any restart. Two things
of mnesia:backup/1 are not wanted: it needs every node of the cluster up, and it gives its copy of the schema a new
cookie (see relup_agent_backup.erl).

**In.** What Mnesia finds in its folder as FALLBACK.BUP when it starts, it starts from: it puts all else in that folder
away, and removes the file when the tables are on disk, so a start that is cut off is repeated. That file is simply put
there. mnesia:install_fallback/2 would do no more: it writes the same, byte for byte, once it has made sure that the
backup's schema has a copy on disk on this node, which is known when the backup is made. And it would need a VM of the
node's name, with the cookie, ports and name service of a cluster that runs.
"""

import os
from typing import NamedTuple, Optional

from ..context import Context
from ..erlang.link import Link, show
from ..erlang.term import Atom, text
from ..files import tree_size
from ..protocol import Failure

FALLBACK = "FALLBACK.BUP"

_HOURS = 4 * 3600.0
"""Seconds that the tables may take: the VM works on its own, and says nothing before it is done."""


class Mnesia(NamedTuple):
    """The Mnesia of a running node: the `folder` it keeps on disk, and the `bytes` in there."""

    folder: str
    bytes: int


def of_node(link: Link) -> Optional[Mnesia]:
    """The Mnesia that runs in the VM and has its schema on disk, or None. Raises `Failure`."""
    if link.call("erlang", "whereis", [Atom("mnesia_sup")]) == "undefined":
        return None
    if link.attempt("mnesia", "table_info", [Atom("schema"), Atom("storage_type")]) != "disc_copies":
        return None
    folder = os.path.realpath(text(link.call("mnesia", "system_info", [Atom("directory")])))
    return Mnesia(folder, tree_size(folder)["bytes"])


def save(context: Context, path: str) -> int:
    """Has the VM write its tables to the file `path`; returns how many. Raises `Failure` backup_failed."""
    link, agent = context.link, context.agent
    tables = link.call("mnesia", "system_info", [Atom("local_tables")])
    name = "relup_remote {}".format(context.request["run"]).encode("utf-8")
    module = agent.backup_module()
    with agent.undoing("mnesia", "deactivate_checkpoint", [name]):
        made = link.call("mnesia", "activate_checkpoint", [[(Atom("name"), name), (Atom("min"), tables)]], _HOURS)
        if made[0] != "ok":
            raise _failed("Mnesia does not give a consistent view of its tables", made)
        saved = link.call("mnesia", "backup_checkpoint", [name, path, module], _HOURS)
        if saved != "ok":
            raise _failed("Mnesia could not write its tables", saved)
    os.chmod(path, 0o600)
    return len(tables)


def _failed(what: str, reason: object) -> Failure:
    return Failure("backup_failed", "{}.".format(what), detail={"reason": show(reason)})
