"""The way to a host, as OpenSSH's configuration has it: asked of OpenSSH itself, by ``ssh -G``.

paramiko's own reading of that configuration was weighed: it knows no ``Include``, not every ``Match``, and of a file
that OpenSSH refuses it makes what it can; and Fabric goes through a list of jump hosts from its end. ``ssh -G`` is
right by definition, costs some milliseconds a host, and the client is where operators are. Only quotes are lost in what
it says, see `_files`.
"""

import functools
import getpass
import os
import pwd
import re
import socket
import subprocess
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from relup_remote.core.protocol import Failure
from relup_remote.files import expanded

if TYPE_CHECKING:
    from relup_remote.inventory import HostSettings

KNOWN_HOSTS = ("userknownhostsfile", "globalknownhostsfile")
JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.*)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?")
"""A jump host as ssh_config(5) has it, "ProxyJump"."""

Place = tuple[str, str, str, int]
Tokens = Mapping[str, str]


@dataclass(frozen=True)
class Station:
    """A server on the way: a jump host, or the host itself. ``name`` is what it was looked up by.

    ``agent`` is the agent's socket, None where there is none or none is wanted. ``key_name`` is the name under which
    its host key is filed, if another. ``revoked`` is the file of host keys that are accepted nowhere. ``jumps`` and
    ``command`` are how it is connected to, if not simply by TCP. ``given`` is what the way itself says of user and
    port, as options of `ssh`. ``options`` are all that OpenSSH says of it.
    """

    name: str
    address: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent: Path | None
    known_hosts: tuple[Path, ...]
    key_name: str | None
    revoked: Path | None
    jumps: tuple[str, ...]
    command: str | None
    given: tuple[str, ...] = ()
    options: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def place(self) -> Place:
        """What makes it another than others on the same way."""
        return self.name, self.user, self.address, self.port

    @property
    def key(self) -> Hashable:
        """All that decides how it is connected to, and by which keys it is known: of what is shared with others."""
        return self, tuple((option, *values) for option, values in self.options.items())


def to(settings: "HostSettings") -> list[Station]:
    """The stations to a host, the first to connect to first and the host last.

    Raises `Failure`: ``host_unreachable`` if the configuration can't be read or leads in a circle, ``ssh_timeout``.
    """
    words = [*_option("-p", settings.port), *_option("-l", settings.user)]
    host = _station(settings, settings.address, words, settings.ssh_args)
    return [*_before(settings, host, {host.place}), host]


def _before(settings: "HostSettings", station: Station, passed: Set[Place]) -> list[Station]:
    """The jump hosts to a station. Each leads to the next, so only of the first one its own jump hosts count.

    ``passed`` are the stations behind them.
    """
    if not station.jumps:
        return []
    config = list(configuration(settings.ssh_args))
    hops = [_station(settings, *_jump(settings, each), config) for each in station.jumps]
    first = hops[0]
    if first.place == station.place:
        # A pattern that fits the jump host as well: it is not reached by itself.
        return []
    if first.place in passed:
        raise _unreadable(settings.address, f"its jump hosts lead in a circle, by {first.name}")
    return [*_before(settings, first, {*passed, first.place}), *hops]


def _jump(settings: "HostSettings", jump: str) -> tuple[str, list[str]]:
    """What to look a jump host up by, and the options that say the rest of it. Raises `Failure`."""
    parts = JUMP.fullmatch(jump)
    if parts is None:
        raise _unreadable(settings.address, f"{jump!r} is not a jump host")
    return parts["host"].strip("[]"), [*_option("-p", parts["port"]), *_option("-l", parts["user"])]


def _option(flag: str, value: object) -> list[str]:
    return [] if value is None else [flag, str(value)]


def configuration(arguments: Iterable[str]) -> Iterable[str]:
    """The ``-F`` of some arguments: it holds for jump hosts too, as with `ssh`."""
    words = iter(arguments)
    for word in words:
        if word == "-F":
            yield from (word, next(words, ""))
        elif word.startswith("-F"):
            yield word


def _station(settings: "HostSettings", name: str, words: Sequence[str], more: Sequence[str]) -> Station:
    """The station that `ssh` would make of ``name`` with the options ``words``, which the way says, and ``more``."""
    given = [] if settings.ssh_config is None else ["-F", str(settings.ssh_config)]
    found = _asked(settings, ["ssh", "-G", "-T", *given, *words, *more, "--", name])

    def first(option: str) -> str | None:
        value = found.get(option, [""])[0]
        return None if value.lower() in ("", "none") else value

    address, port, user = first("hostname") or name, int(first("port") or 22), first("user") or getpass.getuser()
    alias, command, jumps = first("hostkeyalias"), first("proxycommand"), first("proxyjump")
    revoked = first("revokedhostkeys")
    tokens = {**_local_tokens(), "h": address, "k": alias or name, "n": name, "p": str(port), "r": user}
    return Station(
        name=name,
        address=address,
        port=port,
        user=user,
        identity_files=tuple(_path(file, tokens) for file in found.get("identityfile", []) if file.lower() != "none"),
        identities_only=first("identitiesonly") == "yes",
        agent=_agent(found.get("identityagent", ["SSH_AUTH_SOCK"])[0], tokens),
        known_hosts=tuple(_path(file, tokens) for option in KNOWN_HOSTS for file in _files(first(option) or "")),
        key_name=alias,
        # Whether it fills anything in depends on OpenSSH's version. A file that is not there revokes every key.
        revoked=Path(revoked) if revoked else None,
        jumps=tuple(_expanded(jumps, tokens).split(",")) if jumps else (),
        command=_expanded(command, tokens) if command else None,
        given=tuple(words),
        options=found,
    )


@functools.cache
def usual(seconds: float) -> Mapping[str, Sequence[str]]:
    """What OpenSSH says of a host where nothing is configured; nothing if it can't be asked within so many seconds."""
    try:
        command = ["ssh", "-F", "none", "-G", "-T", "--", "host"]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return _read(ended.stdout)


def _local_tokens() -> Tokens:
    name = socket.gethostname()
    return {
        "%": "%",
        "d": _home(),
        "i": str(os.getuid()),
        "L": name.partition(".")[0],
        "l": name,
        "u": getpass.getuser(),
    }


def _expanded(value: str, tokens: Tokens) -> str:
    """``value`` with what stands for its tokens, see ssh_config(5), "TOKENS": `ssh -G` leaves most of them."""
    return re.sub(r"%(.)", lambda token: tokens.get(token[1], token[0]), value)


def _path(value: str, tokens: Tokens) -> Path:
    variables = re.sub(r"\$\{(\w+)\}", lambda variable: os.environ.get(variable[1], ""), value)
    path = _expanded(variables, tokens)
    return Path(_home() + path[1:]) if re.match(r"~(?:/|$)", path) else expanded(path)


def _home() -> str:
    """The home folder as OpenSSH has it, whatever ``HOME`` says."""
    with suppress(KeyError):
        return pwd.getpwuid(os.getuid()).pw_dir
    return str(Path.home())


def _agent(named: str, tokens: Tokens) -> Path | None:
    """The agent's socket: ``named`` is a path, a variable with one, or `none`."""
    if named.lower() == "none":
        return None
    variable = "SSH_AUTH_SOCK" if named == "SSH_AUTH_SOCK" else named[1:] if re.fullmatch(r"\$\w+", named) else None
    if variable is None:
        return _path(named, tokens)
    found = os.environ.get(variable)
    return Path(found) if found else None


def _files(value: str) -> list[str]:
    """The files in a list. A space followed by what begins a path parts two of them: quotes are lost.

    That is a guess where the list is `unclear`.
    """
    return [file for file in re.split(r" (?=[/~$%])", value) if file]


def unclear(station: "Station", option: str) -> bool:
    """Whether `ssh -G` does not tell which files the list of an option has.

    One name with a space looks like two, and a sign of a name like a token. The list that OpenSSH has by itself is
    clear. A relative name is one of the folder that `ssh` runs in.
    """
    files = station.options.get(option, [""])[0]
    if files.lower() in ("", "none") or [files] == list(usual(ASKED).get(option, [])):
        return False
    return re.search(r"[ %$]", files) is not None or not files.startswith(("/", "~/"))


def unknown_tokens(station: "Station", option: str) -> list[str]:
    """The values of an option with a token that only OpenSSH can fill in, or that it does not know there."""
    known = PROXY_TOKENS if option in ("proxycommand", "proxyjump") else TOKENS
    return [
        value
        for value in station.options.get(option, ())
        if any(token not in known for token in re.findall(r"%(.?)", value))
    ]


TOKENS = "%dihkLlnpru"
"""The tokens that we fill in, see `_station`; OpenSSH has more."""

PROXY_TOKENS = "%hknpr"
"""Those of them that OpenSSH knows in what leads to a host: it refuses the others there."""


def is_unclear_list_of_revoked(station: "Station") -> bool:
    """Whether which file `RevokedHostKeys` names depends on OpenSSH's version: only newer ones fill things in."""
    named = station.options.get("revokedhostkeys", ["none"])[0]
    return named.lower() != "none" and (re.search(r"[%$]", named) is not None or not named.startswith("/"))


ASKED = 10.0
"""Seconds in which OpenSSH says what it does where nothing is configured."""


def _asked(settings: "HostSettings", command: Sequence[str]) -> dict[str, list[str]]:
    """What `ssh -G` says: the values of every option, by its name."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=settings.connect_timeout,
        )
    except subprocess.TimeoutExpired:
        # Programs of `Match exec`, and names that are made canonical, may take their time.
        message = f"OpenSSH did not look {settings.address} up within {settings.connect_timeout:g} s."
        raise Failure("ssh_timeout", message) from None
    except OSError as error:
        raise _unreadable(settings.address, f"OpenSSH's client can't be run: {error.strerror}") from error
    if ended.returncode != 0:
        said = [line.strip() for line in ended.stderr.splitlines() if not line.startswith("Pseudo-terminal")]
        reason = said[0] if said else f"ssh ended with {ended.returncode}"
        # Of a file OpenSSH says first which one.
        is_file = reason.startswith("/") or not settings.ssh_args
        raise _unreadable(settings.address, reason, None if is_file else "Correct `ssh_args` of the inventory.")
    return _read(ended.stdout)


def _read(said: str) -> dict[str, list[str]]:
    """The values of each option; OpenSSH has a name or two that is not in small letters."""
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        option, _, value = line.partition(" ")
        found.setdefault(option.lower(), []).append(value)
    return found


def _unreadable(address: str, reason: str, hint: str | None = None) -> Failure:
    return Failure(
        "host_unreachable",
        f"{address} can't be looked up in ssh_config: {reason}.",
        hint=hint or "Correct ~/.ssh/config or /etc/ssh/ssh_config, or the address in the inventory.",
    )
