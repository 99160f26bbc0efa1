"""Payload, shipped to hosts (Python 3.6 and up, standard library only): which machine this is.

Behind a jump host, a load balancer or a name that moves, an address and a host key are no proof: machines made of one
image may have the same key. So a core says where it runs, and refuses a request that is meant for another machine.
"""

import hashlib
import os
from typing import Any, Dict, Optional

from .opening import of_kernel, read_small
from .protocol import Failure

_CHANGES = ("upgrade", "rollback", "restore")
"""Commands that change what was looked at before; for others it does not matter whether the machine was rebooted."""


def identity() -> Dict[str, Optional[str]]:
    """{"id", "boot"}: digests of what stays and of what each boot of the machine has anew; None is unknown.

    The first is of /etc/machine-id, which has to be kept secret itself, and of the machine's name, for copies of an
    image may share that file.
    """
    try:
        machine = read_small("/etc/machine-id", links=True)
    except Failure:
        machine = None
    try:
        boot = of_kernel("/proc/sys/kernel/random/boot_id")
    except PermissionError:
        boot = None
    return {"id": _digest(machine and machine + os.uname().nodename.encode()), "boot": _digest(boot)}


def _digest(content: Optional[bytes]) -> Optional[str]:
    return hashlib.sha256(b"relup_remote " + content).hexdigest()[:32] if content else None


def check(meant: Optional[Dict[str, Any]], command: str) -> None:
    """Raises `Failure` host_changed for a request that is `meant` for another machine. The unknown is not compared."""
    if meant is None:
        return
    here = identity()
    differ = [name for name, value in here.items() if None not in (value, meant.get(name)) and value != meant[name]]
    if "id" in differ:
        message = "Another machine answers than the one that was looked at, or its name or /etc/machine-id has changed."
    elif "boot" in differ and command in _CHANGES:
        message = "The machine was rebooted after it was looked at, or it is another one."
    else:
        return
    raise Failure("host_changed", message, detail={"here": here, "meant": meant}, stage="connect")
