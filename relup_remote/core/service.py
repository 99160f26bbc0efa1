"""Payload, shipped to hosts (Python 3.6 and up, standard library only): a node that systemd runs.

Such a node is restarted by `systemctl`: with its wrapper, the service manager would see its process go, and start or
report what it thinks fit. The VM's control group names the unit. But whatever was started by hand, over SSH say, or by
another service may lie in a unit's group too; so the unit counts only if its main process is the VM, or if what it
executes is the node's wrapper.
"""

import os
import re
from typing import Dict, List, Optional

from .opening import of_kernel
from .protocol import Failure
from .site import Site
from .trust import user_name

PACKAGED = "emqx.service"
"""The unit that EMQX's packages install: where to look while no VM says in which unit it runs."""

_SYSTEMCTL_SECONDS = 20

_BOOTED = "/run/systemd/system"
"""A folder that is there where systemd runs the machine, see sd_booted(3)."""

_SAID = 500
"""As many characters of what systemctl says are told."""


def unit_of(cgroup: str) -> Optional[str]:
    """The service of the system in whose group a process lies, by its file /proc/<pid>/cgroup, or None.

    Source of the format: cgroups(7). Version 2 has one hierarchy, 0; of version 1 only the one ``name=systemd`` counts.
    What lies in the users' slice belongs to a user's own manager; sessions and containers are scopes, not services.
    """
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        parts = path.split("/")
        services = [part for part in parts if part.endswith(".service")]
        if controllers == ("" if number == "0" else "name=systemd") and services and "user.slice" not in parts:
            return services[-1]
    return None


def unit_for(restart_by: str, site: Site, proc: str = "/proc") -> Optional[str]:
    """The unit by which the site's node is restarted, or None where that is done by its wrapper.

    `restart_by` is ``auto``, ``wrapper`` or ``service:<unit>``. Raises `Failure` bad_request for anything else, and
    service_unknown where systemctl does not answer.
    """
    if restart_by == "wrapper":
        return None
    named = re.fullmatch(r"service:([A-Za-z0-9_:.@\\][A-Za-z0-9_:.@\\-]*)", restart_by)
    if named is not None:
        return named.group(1) if named.group(1).endswith(".service") else named.group(1) + ".service"
    if restart_by != "auto":
        raise Failure("bad_request", "A node can't be restarted by {!r}.".format(restart_by))
    cgroup = of_kernel(os.path.join(proc, str(site.node.os_pid), "cgroup")) if site.node is not None else None
    unit = PACKAGED if cgroup is None else unit_of(cgroup.decode("utf-8", "replace"))
    return unit if unit is not None and _runs_node(unit, site) else None


def _runs_node(unit: str, site: Site) -> bool:
    said = _properties(unit)
    if site.node is not None and said.get("MainPID") == str(site.node.os_pid):
        return True
    # As `{ path=/bin/bash ; argv[]=/bin/bash /usr/bin/emqx foreground ; ignore_errors=no ; … }`.
    words = [word for line in re.findall(r"argv\[\]=(.*?) ;", said.get("ExecStart", "")) for word in line.split()]
    wrapper = os.path.realpath(site.wrapper())
    return any(os.path.realpath(word) == wrapper for word in words)


def _properties(unit: str) -> Dict[str, str]:
    # Late, for it is slow to import, and most nodes are run by no service.
    import subprocess  # noqa: PLC0415

    try:
        done = subprocess.run(
            ["systemctl", "show", "--property=MainPID,ExecStart", "--", unit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=_SYSTEMCTL_SECONDS,
        )
    except OSError:
        # There is no systemctl, so no service.
        return {}
    except subprocess.TimeoutExpired:
        message = "systemctl did not say within {:g} s whether {} runs the node.".format(_SYSTEMCTL_SECONDS, unit)
        raise Failure("service_unknown", message, detail={"unit": unit})
    if done.returncode != 0:
        if not os.path.isdir(_BOOTED):
            # systemd does not run this machine, so it runs no service either.
            return {}
        said = done.stderr.decode("utf-8", "replace").strip()[-_SAID:]
        message = "systemctl can't say whether {} runs the node: {}".format(unit, said or "it says nothing.")
        raise Failure("service_unknown", message, detail={"unit": unit, "status": done.returncode})
    pairs = (line.partition("=") for line in done.stdout.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in pairs}


def restart_command(unit: str) -> List[str]:
    """The command that restarts a unit, or starts one that is down."""
    command = ["systemctl", "restart", unit]
    return command if os.geteuid() == 0 else ["sudo", "-n", *command]


def check_permitted(unit: str) -> None:
    """Raises `Failure` service_not_permitted unless we may restart the unit."""
    # Late, as above.
    import shutil  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise Failure("service_not_permitted", "There is no systemctl to restart {} with.".format(unit))
    command = restart_command(unit)
    if command[0] != "sudo":
        return
    try:
        status = subprocess.call(
            [*command[:2], "-l", *command[2:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SYSTEMCTL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        status = None
    if status != 0:
        user = user_name(os.geteuid())
        rule = "{} ALL=(root) NOPASSWD: {} restart {}".format(user, systemctl, unit)
        message = "{} runs the node, and {} may not restart it.".format(unit, user)
        hint = "Allow it in sudoers: {}. Or set `restart` to wrapper in the inventory.".format(rule)
        raise Failure("service_not_permitted", message, hint=hint, detail={"unit": unit, "user": user, "sudoers": rule})
