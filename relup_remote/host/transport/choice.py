"""Which way is taken to a host, and why."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relup_remote.core.protocol import Failure
from relup_remote.files import read_bytes
from relup_remote.host import identities, known_hosts, route
from relup_remote.host.route import Station
from relup_remote.host.transport import Connection, fabric, local, openssh
from relup_remote.host.transport.options import unmet

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings


def connect(settings: "HostSettings", tell: Callable[[str], None]) -> Connection:
    """A connection to a host, by the way that its settings name.

    ``tell`` gets a sentence where OpenSSH is taken by ourselves, and where Fabric is taken although it can't honour
    all of ssh_config: the first time in a command. Raises `Failure`, stage ``connect``.
    """
    if settings.transport == "local":
        return local.Connection(settings)
    if settings.transport == "openssh":
        return openssh.Connection(settings)
    try:
        stations, shared = route.to(settings), openssh.Shared(settings)
        reasons = _reasons(settings, stations, shared)
    except Failure as failure:
        failure.stage = "connect"
        raise
    if settings.transport == "fabric":
        if reasons:
            _tell(settings, tell, f"Not honoured by the transport fabric: {'; '.join(reasons)}.")
        return fabric.Connection(settings, stations)
    if not reasons:
        try:
            return fabric.Connection(settings, stations)
        except fabric.Incompatible as failure:
            why = f"the library and the server have nothing in common ({failure.detail['error']})"
        except identities.Unsigned as failure:
            why = f"the agent does not sign for the library with its key {failure.detail['key']}"
    else:
        why = f"nothing else can honour {'; '.join(reasons)}"
    _tell(settings, tell, f"`ssh` makes this connection: {why}.")
    return openssh.Connection(settings, stations, shared)


def _tell(settings: "HostSettings", tell: Callable[[str], None], sentence: str) -> None:
    if settings.ways is None or settings.ways.is_news((settings.name, sentence)):
        tell(sentence)


def _reasons(settings: "HostSettings", stations: Sequence[Station], shared: openssh.Shared) -> list[str]:
    """What only OpenSSH can honour, of the host and its jump hosts."""
    found = list[str]()
    for station in stations:
        is_host = station is stations[-1]
        of_it = unmet(station.options, route.usual(route.ASKED), fabric.KNOWN, _has_ticket())
        given = [settings.known_hosts] if settings.known_hosts else []
        files = [*given, *([] if given and is_host else station.known_hosts)]
        if master := shared.at(station):
            of_it.append(f"your master connection {master}")
        if not (given and is_host):
            of_it += [
                f"{option} {' '.join(station.options[option])} (several names, or one with a space, a token or no path)"
                for option in route.KNOWN_HOSTS
                if route.unclear(station, option)
            ]
        if route.is_unclear_list_of_revoked(station):
            of_it.append(f"revokedhostkeys {station.options['revokedhostkeys'][0]} (a name to be filled in)")
        options = (
            "identityagent",
            "proxycommand",
            "proxyjump",
            *(() if settings.key and is_host else ("identityfile",)),
        )
        tokens = [(option, value) for option in options for value in route.unknown_tokens(station, option)]
        of_it += [f"{option} {value} (a token)" for option, value in tokens]
        of_it += _of_keys(station, files, () if settings.key and is_host else station.identity_files)
        found += of_it if is_host else [f"{reason} of the jump host {station.name}" for reason in of_it]
    return found


def _of_keys(station: Station, files: Sequence[Path], keys: Sequence[Path]) -> list[str]:
    name = known_hosts.host_name(station.address, station.port, station.key_name)
    found = list[str]()
    if known_hosts.has_authority(files, station.address, station.port, station.key_name):
        found.append(f"{known_hosts.AUTHORITY} in known_hosts")
    types = {entry.key_type for entry in known_hosts.find(files, name) if not entry.revoked}
    if types and not types & {"ssh-rsa", *fabric.KNOWN["hostkeyalgorithms"]}:
        found.append(f"the kind of the host's key ({', '.join(sorted(types))})")
    found += [f"the security key {file}" for file in keys if _is_security_key(file)]
    return found


def _is_security_key(file: Path) -> bool:
    """Whether a file, or its public half, is a key that lies on a token."""
    for each in (file.with_name(f"{file.name}.pub"), file):
        try:
            if read_bytes(each, LONGEST_KEY).startswith(b"sk-"):
                return True
        except OSError:
            continue
    return False


LONGEST_KEY = 1 << 20


def _has_ticket() -> bool:
    """Whether there may be a Kerberos ticket: that is where one is looked for, unless told otherwise."""
    return bool(os.environ.get("KRB5CCNAME")) or Path(f"/tmp/krb5cc_{os.getuid()}").exists()  # noqa: S108
