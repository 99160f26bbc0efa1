"""The settings that a host of the inventory can have: the fields of `HostSettings` are the one table of them.

The inventory's validator and `docs/inventory.md` come from it.
"""

import getopt
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from relup_remote.files import expanded
from relup_remote.pins import Pin
from relup_remote.secrets import NO_SECRETS, Secrets
from relup_remote.ways import Ways


@dataclass(frozen=True)
class Kind:
    """A type of setting: what to call it, and how a YAML value becomes one (ValueError if it can't).

    ``read`` gets the value and the inventory's folder. The text of its ValueError says what to write instead, if that
    is known. ``is_text``: a plain value that YAML takes for another type wants quotes.
    """

    label: str
    read: Callable[[Any, Path], Any]
    is_text: bool = True


def _word(value: Any, _base: Path) -> str:
    # A leading dash would be an option to ssh or sudo.
    if not isinstance(value, str) or not value or value.startswith("-") or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError
    return value


def _address(value: Any, base: Path) -> str:
    word = _word(value, base)
    if re.fullmatch(r"(?:\[.*\]|[^:/\[\]]*):\d*", word):
        raise ValueError("the port goes into `port`")
    if re.fullmatch(r"\[.*\]", word):
        raise ValueError("an IPv6 address has no brackets here")
    return word


def _become(value: Any, base: Path) -> str:
    if value is False:
        raise ValueError("write `never` for no sudo")
    return _word(value, base)


def _port(value: Any, _base: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise ValueError
    return value


def _seconds(value: Any, _base: Path) -> float:
    # What waits can't wait for billions of seconds.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 10**9:
        raise ValueError
    return float(value)


def _local_path(value: Any, base: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return base / expanded(value)


def _remote_path(value: Any, _base: Path) -> str:
    if not isinstance(value, str) or not value.startswith("/") or re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError
    return value.rstrip("/") or "/"


def _role(value: Any, _base: Path) -> str:
    if value not in ("core", "replicant"):
        raise ValueError
    return str(value)


def _labels(value: Any, base: Path) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError
    for name, word in value.items():
        # What parts labels on a command line.
        if {",", "="} & {*_word(name, base), *_word(word, base)}:
            raise ValueError
    return dict(value)


def _restart(value: Any, base: Path) -> str:
    way, colon, unit = _word(value, base).partition(":")
    if (way, colon) == ("service", ":") and re.fullmatch(r"[A-Za-z0-9:_.\\@-]+", unit) and not unit.startswith("-"):
        return str(value)
    if value not in ("auto", "wrapper"):
        raise ValueError
    return str(value)


def _arguments(value: Any, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, str) or not value.strip() or re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError
    words = shlex.split(value)
    try:
        options, others = getopt.getopt(words, SSH_OPTIONS)
    except getopt.GetoptError as error:
        raise ValueError(str(error)) from error
    if others or "--" in words:
        # `ssh` would take it for the host, and the host for a command.
        raise ValueError(f"'{others[0] if others else '--'}' is no option, and a value with spaces wants quotes")
    found: list[str] = []
    for option, argument in options:
        if option[1] in SSH_DOES_ELSE:
            raise ValueError(f"with {option} `ssh` makes no connection of its own")
        if option == "-S":
            found += ["-o", f"ControlPath={argument}"]
        elif option[1] in SSH_CONNECTS:
            found += [option, argument] if f"{option[1]}:" in SSH_OPTIONS else [option]
    return tuple(found)


def _transport(value: Any, _base: Path) -> str:
    if value not in TRANSPORTS:
        raise ValueError
    return str(value)


SSH_OPTIONS = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:Q:R:S:TVw:W:XYy"
"""The options of `ssh`, as getopt(3) has them; not ``-P``, which is another option in each version."""

SSH_CONNECTS = "1246bcikmlopBCFIJK"
"""Those that are about the connection. The others, as ``-q``, ``-t`` and ``-A``, mean nothing here."""

SSH_DOES_ELSE = "sGOQVW"
"""Those with which `ssh` does something else."""

TRANSPORTS = ("auto", "fabric", "openssh", "local")

WORD = Kind("text without spaces", _word)
ADDRESS = Kind("text without spaces", _address)
BECOME = Kind("text without spaces", _become)
PORT = Kind("whole number from 1 to 65535", _port, is_text=False)
SECONDS = Kind("seconds, more than 0", _seconds, is_text=False)
LOCAL_PATH = Kind("path on this machine", _local_path)
REMOTE_PATH = Kind("absolute path on the host", _remote_path)
ROLE = Kind("`core` or `replicant`", _role)
LABELS = Kind("mapping of words without commas and `=`", _labels, is_text=False)
RESTART = Kind("`auto`, `wrapper` or `service:UNIT`", _restart)
TRANSPORT = Kind("`auto`, `fabric`, `openssh` or `local`", _transport)
ARGUMENTS = Kind("options as on the command line of `ssh`", _arguments)


def _about(kind: Kind, description: str) -> dict[str, Any]:
    return {"kind": kind, "description": description}


@dataclass(frozen=True)
class HostSettings:
    """One host: its name in the inventory, and all that is set for it. None means: found out, or ssh_config's."""

    name: str
    address: str = field(
        default="",
        metadata=_about(ADDRESS, "what to connect to: a name, an address, or an alias of ssh_config (the host's name)"),
    )
    port: int | None = field(default=None, metadata=_about(PORT, "port of the SSH server (ssh_config's, else 22)"))
    user: str | None = field(default=None, metadata=_about(WORD, "SSH user (ssh_config's, else yours)"))
    key: Path | None = field(
        default=None,
        metadata=_about(
            LOCAL_PATH,
            "private key, or the public half of one that the agent holds, relative to the inventory's folder"
            " (ssh_config's and the agent's)",
        ),
    )
    transport: str = field(
        default="auto",
        metadata=_about(
            TRANSPORT,
            "way to the host: `fabric`, a library; `openssh`, the system's `ssh`; `local`, this very machine; `auto` is"
            " `fabric`, or `openssh` where ssh_config asks for what only that can do",
        ),
    )
    ssh_config: Path | None = field(
        default=None,
        metadata=_about(
            LOCAL_PATH, "OpenSSH's configuration, relative to the inventory's folder (~/.ssh/config and the system's)"
        ),
    )
    ssh_args: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            ARGUMENTS,
            "what comes before ssh_config, as `-J bastion` or `-o 'ProxyCommand=…'`; about the connection only, other"
            " options mean nothing here",
        ),
    )
    known_hosts: Path | None = field(
        default=None,
        metadata=_about(
            LOCAL_PATH, "known host keys, relative to the inventory's folder (ssh_config's, else ~/.ssh/known_hosts)"
        ),
    )
    become: str = field(
        default="auto",
        metadata=_about(
            BECOME, "user to run as, by sudo; `auto` is the user that owns the node, `never` means no sudo"
        ),
    )
    python: str | None = field(
        default=None, metadata=_about(WORD, "the host's python3, 3.6 or newer (the one on its PATH)")
    )
    connect_timeout: float = field(default=10.0, metadata=_about(SECONDS, "time limit for connecting"))
    command_timeout: float = field(
        default=60.0, metadata=_about(SECONDS, "how long a host may be silent while a command runs there")
    )
    keepalive: float = field(
        default=15.0, metadata=_about(SECONDS, "time between keep-alive messages on an idle connection")
    )
    root_dir: str | None = field(
        default=None, metadata=_about(REMOTE_PATH, "root of the node (that of the one node that runs)")
    )
    node: str | None = field(default=None, metadata=_about(WORD, "name of the node (that of the one node that runs)"))
    data_dir: str | None = field(
        default=None,
        metadata=_about(
            REMOTE_PATH, "data folder of the node (from its command line; while it is stopped, from emqx.conf)"
        ),
    )
    staging_dir: str | None = field(
        default=None, metadata=_about(REMOTE_PATH, "where tarballs are staged (below the data folder)")
    )
    backup_dir: str | None = field(
        default=None,
        metadata=_about(
            REMOTE_PATH, "where backups lie, each host's in a folder of its name (`relup_backups` in the root)"
        ),
    )
    role: str | None = field(
        default=None, metadata=_about(ROLE, "what the node is in its cluster (what the node says itself)")
    )
    restart: str = field(
        default="auto",
        metadata=_about(
            RESTART, "how a node is restarted: by its wrapper, by a service; `auto` is the service that runs it, if any"
        ),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        hash=False,
        metadata=_about(LABELS, "for `--host label:NAME=VALUE`; those of defaults, groups and host are put together"),
    )
    secrets: Secrets = field(default=NO_SECRETS, repr=False, compare=False)
    """What the operator was asked for: no setting, and in no file."""
    ways: Ways | None = field(default=None, repr=False, compare=False)
    """What the connections of one command share. No setting either."""
    pin: Pin | None = field(default=None, repr=False, compare=False)
    """Who the host was when it was first met; None where that does not matter. No setting either."""


SETTINGS: dict[str, Field[Any]] = {setting.name: setting for setting in fields(HostSettings) if setting.metadata}
"""The settings a host can have, by name. A description ends with what holds where the setting is absent."""
