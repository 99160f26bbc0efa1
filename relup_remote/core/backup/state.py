"""Payload, shipped to hosts (Python 3.6 and up, standard library only): what is known of a node, and what that allows.

=============================================  =====================================  ==================================
what is known of the node                      backup                                 restore
=============================================  =====================================  ==================================
its VM runs, and Mnesia with its schema on     the tables by the VM, the rest as      node_running
disk                                           files
its VM runs, and Mnesia with its schema in     all as files: Mnesia has none there    node_running
memory only
its VM runs, and knows of no Mnesia            all as files                           node_running
its VM runs; Mnesia is stopped, starting or    mnesia_not_running                     node_running
stopping
its VM boots, or goes down                     mnesia_not_running                     node_running
its VM runs and does not answer                node_unreachable                       node_running
no VM runs, but somebody is starting it        node_starting                          node_starting
it is stopped: nothing runs from the root      all as files, Mnesia's too             put back
it is stopped, and its tables are not in the   backup_incomplete                      put back
data folder
there is no emqx.conf where its settings are   backup_incomplete                      put back
its data or settings were on a file system     saves what is there, if that is whole  not_mounted
that is not mounted now
a restore was cut off in it                    half_restored                          finished first
none is seen to run, but something uses its    data_in_use                            data_in_use
data
what runs can't be seen, or is not what the    the error that says so (see            the same
inventory says                                 running_node.py)
=============================================  =====================================  ==================================

"Stopped" is looked at again whenever it is relied on: after files of a stopped node were copied, and before each thing
that a restore moves.
"""

import os
from typing import NamedTuple, Optional

from ..booting import starting
from ..context import Context
from ..erlang.link import Link
from ..erlang.term import Atom, text
from ..files import tree_size
from ..protocol import Failure
from ..site import locate


class Mnesia(NamedTuple):
    """The Mnesia of a running node: the `folder` it keeps on disk, and the `bytes` in there."""

    folder: str
    bytes: int


def mnesia_of(link: Link) -> Optional[Mnesia]:
    """The Mnesia that runs in the VM with its schema on disk; None where the VM has none on disk.

    Raises `Failure` mnesia_not_running where the VM is not up, or has a Mnesia that is not.
    """
    status = link.call("init", "get_status", [])[0]
    if status != "started":
        raise Failure("mnesia_not_running", "The VM is {}.".format(status), detail={"vm": str(status)})
    state = str(link.attempt("mnesia", "system_info", [Atom("is_running")], "no"))
    if state == "no" and not _knows_mnesia(link):
        return None
    if state != "yes":
        said = "stopped" if state == "no" else state
        raise Failure("mnesia_not_running", "Mnesia is {} in the VM.".format(said), detail={"mnesia": said})
    if link.call("mnesia", "table_info", [Atom("schema"), Atom("storage_type")]) != "disc_copies":
        return None
    folder = os.path.realpath(text(link.call("mnesia", "system_info", [Atom("directory")])))
    return Mnesia(folder, tree_size(folder)["bytes"])


def _knows_mnesia(link: Link) -> bool:
    """Whether the VM has the application; a broker always has, also where it is stopped."""
    return any(app[0] == "mnesia" for app in link.call("application", "loaded_applications", []))


def require_stopped(context: Context) -> None:
    """Raises `Failure` node_running or node_starting unless the node is stopped now, and as `locate`."""
    site = context.site
    node = locate(context.request["node"]).node if context.site.node is None else context.site.node
    if node is not None:
        raise Failure("node_running", detail={"os_pid": node.os_pid})
    pids = starting(site.base, site.wrapper())
    if pids:
        message = "Process {} is starting the node.".format(pids[0])
        raise Failure("node_starting", message, detail={"os_pids": pids})
