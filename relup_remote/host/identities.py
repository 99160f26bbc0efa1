"""What to log in with: which private keys to offer a server, in which order, and a password if there is one."""

import base64
import io
import os
import shlex
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from paramiko import (
    AuthenticationException,
    BadAuthenticationType,
    ECDSAKey,
    Ed25519Key,
    PKey,
    RSAKey,
    SSHException,
    Transport,
)
from paramiko.agent import AgentKey, AgentSSH

from relup_remote.core.protocol import Failure
from relup_remote.files import read_bytes
from relup_remote.secrets import NotTried, Password

AT_ONCE = 5
"""Keys offered in one connection: OpenSSH's server hangs up after six, unless its `MaxAuthTries` says otherwise."""

PASSWORD_WAYS = {"password", "keyboard-interactive"}


class ConnectAgain(Exception):
    """The server has had enough of this connection, and there is more to offer in another one."""


class Unsigned(Failure):
    """The agent did not sign with a key that it holds. It may do so for OpenSSH, to which it can bind a key."""


@dataclass(frozen=True)
class Keys:
    """The keys ``found``, in the order in which to offer them; the others are ``unusable``, each with its reason."""

    found: list[PKey] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


class Identities:
    """What to offer as ``user``: paramiko's ``auth_strategy``, for one connection after the other.

    ``keys`` are offered in order, then the ``password`` if there is one, as that for the host of that ``name``. With
    ``may_leave`` no password is tried where the agent did not sign with one of its keys: that raises `Unsigned`.
    """

    def __init__(
        self, user: str, keys: Keys, password: Password | None = None, name: str = "", may_leave: bool = False
    ) -> None:
        self._user = user
        self._name = name
        self._may_leave = may_leave
        self._unsigned: str | None = None
        self._accepted: list[PKey] = []
        self._unusable = list(keys.unusable)
        self._empty = not keys.found
        self._left = deque(keys.found)
        self._password = password
        self._is_password_accepted = False
        self._is_key_too_early = False
        self._refused: list[str] = []

    def authenticate(self, transport: Transport) -> None:
        """Log in with the first key that is accepted, or with several if the server wants them, else the password.

        Where the server wants the password first, the keys come after it. Raises `ConnectAgain`; `Failure`
        (``auth_failed``, ``ssh_timeout``), OSError, EOFError, SSHException.
        """
        # What was accepted on an earlier connection has to be shown again on this one.
        self._left.extendleft(reversed(self._accepted))
        self._accepted = []
        self._is_password_accepted = self._is_key_too_early = False
        wanted = self._offer_keys(transport)
        if wanted is None:
            return
        if self._unsigned is not None and self._may_leave:
            raise self._failure(Unsigned, key=self._unsigned)
        if wanted and (self._password is None or not PASSWORD_WAYS & set(wanted)):
            raise self._failure(server_wants_also=wanted)
        if self._password is None:
            raise self._failure()
        wanted = self._log_in_by_password(transport, self._password)
        self._is_password_accepted = True
        if wanted and "publickey" in wanted and self._left:
            wanted = self._offer_keys(transport, wanted)
        if wanted:
            raise self._failure(server_wants_also=wanted)

    def _offer_keys(self, transport: Transport, also: Sequence[str] = ()) -> Sequence[str] | None:
        """Offer the keys that are left to a server that wants ``also`` that; returns what it wants then.

        That is None once it has let us in, and nothing if it takes none of them. Raises as `authenticate`.
        """
        refused = 0
        self._is_key_too_early = False
        while self._left and refused < AT_ONCE and (not also or "publickey" in also) and not self._is_key_too_early:
            key = self._left.popleft()
            wanted = self._offer(transport, key)
            if wanted is None:
                refused += 1
            elif not wanted:
                return None
            else:
                self._accepted.append(key)
                also = wanted
        if self._left and (not also or "publickey" in also) and not self._is_key_too_early:
            raise ConnectAgain
        return also

    def _offer(self, transport: Transport, key: PKey) -> Sequence[str] | None:
        """What the server wants besides a key that it accepts, nothing if it lets us in; None if it refuses the key."""
        started = time.monotonic()
        try:
            return transport.auth_publickey(self._user, key)
        except BadAuthenticationType as error:
            if self._password is None:
                raise self._failure(server_accepts=error.allowed_types) from None
            # It may want the key after the password.
            self._left.appendleft(key)
            self._is_key_too_early = True
            return None
        except AuthenticationException:
            if time.monotonic() - started >= transport.auth_timeout:
                raise Failure("ssh_timeout", "The SSH server did not answer to a key in time.") from None
            self._refused.append(_shown(key))
            if not transport.is_active():
                if self._left or self._password is not None:
                    raise ConnectAgain from None
                raise self._failure(note="the server hung up, perhaps after too many keys") from None
            return None
        except (OSError, SSHException) as error:
            # An agent's key that can't sign ends the connection. The other keys are no worse for it.
            if not isinstance(key, AgentKey):
                raise
            is_late = isinstance(error, TimeoutError)
            self._unusable.append(f"{_shown(key)}: {'the agent did not answer in time' if is_late else error}")
            if not is_late:
                self._unsigned = _shown(key)
            if self._unsigned is not None and self._may_leave and not self._left:
                raise self._failure(Unsigned, key=self._unsigned) from None
            if self._left or self._password is not None:
                raise ConnectAgain from None
            raise self._failure() from None

    def _log_in_by_password(self, transport: Transport, password: Password) -> Sequence[str]:
        """What the server wants besides, nothing if it lets us in."""
        started = time.monotonic()
        try:
            with password.tried_at(self._name, self._user, transport.auth_timeout) as trial:
                try:
                    wanted = self._by_password(transport, trial.text)
                    trial.is_right = True
                except BadAuthenticationType:
                    raise
                except AuthenticationException:
                    # This is also how paramiko says that there was no answer.
                    if transport.is_active() or time.monotonic() - started < transport.auth_timeout:
                        trial.is_right = False
                    raise
        except NotTried as reason:
            raise self._failure(note=f"the password was not tried: {reason}") from None
        except BadAuthenticationType as error:
            raise self._failure(server_accepts=error.allowed_types) from None
        except AuthenticationException:
            raise self._failure(note="the password was refused") from None
        return wanted

    def _by_password(self, transport: Transport, password: str) -> Sequence[str]:
        """What the server wants besides. One that takes no passwords may ask for it as a question."""
        try:
            return transport.auth_password(self._user, password, fallback=False)
        except BadAuthenticationType as error:
            if "keyboard-interactive" not in error.allowed_types:
                raise
        answers = [password]

        def answer(_title: str, _text: str, asked: Sequence[tuple[str, bool]]) -> list[str]:
            # One hidden answer, once. Other questions are not ours to answer, and a second one means that it was wrong.
            is_ours = len(asked) == 1 and not asked[0][1] and bool(answers)
            return [answers.pop()] if is_ours else []

        return transport.auth_interactive(self._user, answer)

    def _failure(self, kind: type[Failure] = Failure, **facts: object) -> Failure:
        message = None
        if self._empty and self._password is None:
            why = f" Not used: {'; '.join(self._unusable)}." if self._unusable else ""
            message = f"There is no key to offer to the SSH server.{why}"
        elif self._accepted or self._is_password_accepted:
            shown = [*map(_shown, self._accepted), *(["the password"] if self._is_password_accepted else [])]
            message = f"The SSH server accepted {' and '.join(shown)}, which is not all that it wants to see."
        detail = {"user": self._user, "keys_refused": self._refused, "keys_not_used": self._unusable, **facts}
        return kind("auth_failed", message, detail=detail)


def _shown(key: PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"


class _Unusable(Exception):
    """A key that can't be used. Its text is the reason."""


def only(file: Path, agent: Keys, passphrase: str | None = None) -> Keys:
    """The key in ``file``, and no other; where it can't be used as it is, the same key from the agent.

    Raises `Failure` (``key_unusable``).
    """
    try:
        return Keys(_of_file(file, agent, passphrase))
    except _Unusable as reason:
        message = f"The private key {file} can't be used: {reason}, and the SSH agent does not hold it."
        raise Failure("key_unusable", message, detail={"key": str(file), "agent": agent.unusable}) from None


def usual(
    files: Iterable[Path],
    identities_only: bool,
    agent: Keys,
    passphrase: str | None = None,
    are_named: bool = True,
) -> Keys:
    """The keys OpenSSH would offer: those of ``files``, by themselves or held by the agent, then the agent's others.

    With ``identities_only`` the agent's others are left out. ``are_named``: somebody has named the files, so that one
    that is not there is told.
    """
    keys, unusable = list[PKey](), list(agent.unusable)
    for file in files:
        try:
            keys += _of_file(file, agent, passphrase)
        except _Unusable as reason:
            # OpenSSH's usual names are looked for on every machine.
            if are_named or os.path.lexists(file):
                unusable.append(f"{file}: {reason}")
    others = [] if identities_only else agent.found
    return Keys(list({(key.asbytes(), key.public_blob is None): key for key in (*keys, *others)}.values()), unusable)


def accepted(keys: Keys, algorithms: Collection[str], rsa_bits: int) -> Keys:
    """Those of the keys that can sign by one of the ``algorithms``, any where there is none.

    RSA keys must have so many bits.
    """
    found, unusable = list[PKey](), list(keys.unusable)
    for key in keys.found:
        names = RSA if key.get_name() == "ssh-rsa" else (key.get_name(),)
        names_of_all = {*names, *(f"{name}{CERTIFIED}" for name in names)}
        if key.get_name() == "ssh-rsa" and 0 < key.get_bits() < rsa_bits:
            unusable.append(f"{_shown(key)}: it has less than the {rsa_bits} bits that ssh_config demands")
        elif not algorithms or names_of_all & set(algorithms):
            found.append(key)
        else:
            unusable.append(f"{_shown(key)}: its kind is not in PubkeyAcceptedAlgorithms of ssh_config")
    return Keys(found, unusable)


RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
"""What RSA keys sign by."""


def of_agent(path: Path | None, seconds: float) -> Keys:
    """The keys of the SSH agent at a socket. It is given so many seconds for each answer."""
    if path is None:
        return Keys()
    try:
        return Keys(list(_Agent(path, seconds).get_keys()))
    except TimeoutError:
        return Keys(unusable=[f"the agent at {path}: it did not answer within {seconds:g} s"])
    except OSError as error:
        return Keys(unusable=[f"the agent at {path}: {error.strerror}"])
    except (SSHException, struct.error) as error:
        return Keys(unusable=[f"the agent at {path}: {error}"])


class _Agent(AgentSSH):
    """An agent at a socket of our choice: paramiko's own is always the one of the environment."""

    # paramiko's stubs leave it out; its own agents call it.
    _connect: Callable[[socket.socket], None]

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(seconds)
        connection.connect(str(path))
        self._connect(connection)


def _of_file(file: Path, agent: Keys, passphrase: str | None) -> list[PKey]:
    """The key of a file: itself, with its certificate and then without; else the agent's. Raises `_Unusable`."""
    opened_by = None
    try:
        key = _read(file, None)
    except _Unusable as reason:
        if held := _held(file, agent.found):
            return [*_certified_by_agent(file, held), *held]
        if passphrase is None or not isinstance(reason.__cause__, TypeError):
            raise
        try:
            key, opened_by = _read(file, passphrase), passphrase
        except _Unusable as error:
            raise _Unusable("the passphrase that was given does not open it") from error
    return [*_certified(file, opened_by), key]


LONGEST_KEY = 1 << 20
"""Bytes of a file with a private key."""


def _read(file: Path, passphrase: str | None) -> PKey:
    """The private key in a file, in any of the formats of OpenSSH, and in PKCS#8. Raises `_Unusable`.

    cryptography reads them all; paramiko makes a key of one of them.
    """
    password = None if passphrase is None else passphrase.encode()
    try:
        content = read_bytes(file, LONGEST_KEY)
        _check_is_private(file, content)
        try:
            key: Any = serialization.load_ssh_private_key(content, password)
        except ValueError:
            key = serialization.load_pem_private_key(content, password)
        kind = next(made for read, made in _KINDS if isinstance(key, read))
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        return kind.from_private_key(io.StringIO(text.decode()))
    except OSError as error:
        raise _Unusable(error.strerror or "it can't be read") from error
    except TypeError as error:
        # This is how cryptography says that a passphrase is needed.
        raise _Unusable("it has a passphrase" if passphrase is None else "it has no passphrase") from error
    except (ValueError, SSHException, UnsupportedAlgorithm, StopIteration) as error:
        raise _Unusable("it is not a private key of a known kind") from error


def _check_is_private(file: Path, content: bytes) -> None:
    """Refuse a private key of ours that others may read, as OpenSSH does. Raises `_Unusable`, OSError."""
    found = file.stat()
    if b"PRIVATE KEY-" in content and found.st_uid == os.getuid() and found.st_mode & 0o077:
        raise _Unusable(open_to_others(file, found.st_mode))


def open_to_others(file: Path, mode: int) -> str:
    """Why a private key with such a mode is not used, and what mends it."""
    return f"others may read it (mode {stat.S_IMODE(mode):04o}; `chmod 600 {shlex.quote(str(file))}` mends that)"


_KINDS: tuple[tuple[type, type[PKey]], ...] = (
    (rsa.RSAPrivateKey, RSAKey),
    (ed25519.Ed25519PrivateKey, Ed25519Key),
    (ec.EllipticCurvePrivateKey, ECDSAKey),
)


def _certified(file: Path, passphrase: str | None) -> list[PKey]:
    """The key with the certificate beside its file, if there is one that fits it.

    It comes before the key alone, as with OpenSSH: a certificate that has expired keeps no key from being tried.
    """
    certificate = file.with_name(f"{file.name}-cert.pub")
    try:
        certified = _read(file, passphrase)
        read_bytes(certificate, LONGEST_KEY)
        certified.load_certificate(str(certificate))
        return [certified]
    except (OSError, ValueError, SSHException, _Unusable):
        return []


def _certified_by_agent(file: Path, held: Iterable[PKey]) -> list[PKey]:
    """The same of keys that an agent holds without their certificate."""
    certificate = file.with_name(f"{file.name}-cert.pub")
    found = list[PKey]()
    for key in held:
        if isinstance(key, AgentKey) and not key.get_name().endswith(CERTIFIED):
            certified = AgentKey(key.agent, key.blob, key.comment)
            with suppress(OSError, ValueError, SSHException):
                read_bytes(certificate, LONGEST_KEY)
                certified.load_certificate(str(certificate))
                found.append(certified)
    return found


CERTIFIED = "-cert-v01@openssh.com"
"""How names of the kinds of certificates end."""


def _held(file: Path, agent: Iterable[PKey]) -> list[PKey]:
    """The agent's key whose public half lies beside ``file``, or in it: that is how one of many is named."""
    halves = {_public_half(file.with_name(f"{file.name}.pub")), _public_half(file)}
    return [key for key in agent if key.asbytes() in halves]


def _public_half(file: Path) -> bytes | None:
    try:
        return base64.b64decode(read_bytes(file, LONGEST_KEY).split()[1])
    except (OSError, ValueError, IndexError):
        return None
