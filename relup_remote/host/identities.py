"""What to log in with: which private keys to offer a server, in which order, and a password if there is one."""

import base64
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from paramiko import AuthenticationException, BadAuthenticationType, PKey, SSHException, Transport
from paramiko.agent import AgentSSH
from paramiko.pkey import UnknownKeyType

from relup_remote.core.protocol import Failure
from relup_remote.secrets import NotTried, Password

AT_ONCE = 5
"""Keys offered in one connection: OpenSSH's server hangs up after six, unless its `MaxAuthTries` says otherwise."""

PASSWORD_WAYS = {"password", "keyboard-interactive"}


class ConnectAgain(Exception):
    """The server has had enough of this connection, and there is more to offer in another one."""


class Identities:
    """What to offer as ``user``: paramiko's ``auth_strategy``, for one connection after the other.

    ``keys`` are offered in order, then the ``password`` if there is one, as that for the host of that ``name``.
    """

    def __init__(self, user: str, keys: Sequence[PKey], password: Password | None = None, name: str = "") -> None:
        self._user = user
        self._name = name
        self._empty = not keys
        self._left = deque(keys)
        self._password = password
        self._refused: list[str] = []

    def authenticate(self, transport: Transport) -> None:
        """Log in with the first key that is accepted, else the password.

        Raises `ConnectAgain`; `Failure` (``auth_failed``, ``ssh_timeout``), OSError, EOFError, SSHException.
        """
        for _ in range(min(AT_ONCE, len(self._left))):
            if self._accepts(transport, self._left.popleft()):
                return
        if self._left:
            raise ConnectAgain
        if self._password is None:
            raise self._failure()
        self._log_in_by_password(transport, self._password)

    def _accepts(self, transport: Transport, key: PKey) -> bool:
        """Whether the server lets us in with a key."""
        started = time.monotonic()
        try:
            wanted = transport.auth_publickey(self._user, key)
        except BadAuthenticationType as error:
            self._left.clear()
            if self._password is None:
                raise self._failure(server_accepts=error.allowed_types) from None
            return False
        except AuthenticationException:
            if time.monotonic() - started >= transport.auth_timeout:
                raise Failure("ssh_timeout", "The SSH server did not answer to a key in time.") from None
            self._refused.append(f"{key.get_name()} {key.fingerprint}")
            if not transport.is_active():
                if self._left or self._password is not None:
                    raise ConnectAgain from None
                raise self._failure(note="the server hung up, perhaps after too many keys") from None
            return False
        if not wanted:
            return True
        if self._password is None or not PASSWORD_WAYS & set(wanted):
            raise self._failure(server_wants_also=wanted)
        self._log_in_by_password(transport, self._password)
        return True

    def _log_in_by_password(self, transport: Transport, password: Password) -> None:
        started = time.monotonic()
        try:
            with password.tried_at(self._name, transport.auth_timeout) as trial:
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
        if wanted:
            raise self._failure(server_wants_also=wanted)

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

    def _failure(self, **facts: object) -> Failure:
        nothing = self._empty and self._password is None
        message = "There is no key to offer to the SSH server." if nothing else None
        return Failure("auth_failed", message, detail={"user": self._user, "keys_refused": self._refused, **facts})


def only(file: Path, agent: Iterable[PKey], passphrase: str | None = None) -> list[PKey]:
    """The key in ``file``, and no other; where it can't be used as it is, the same key from the agent.

    Raises `Failure` (``key_unusable``).
    """
    try:
        return [PKey.from_path(file)]
    except OSError as error:
        reason = error.strerror or "it can't be read"
    except (ValueError, SSHException, UnknownKeyType):
        reason = "it is no private key of a kind that is understood"
    except TypeError:
        # This is how the cryptography library says that a passphrase is needed.
        reason = "it has a passphrase" if passphrase is None else "the passphrase that was given does not open it"
    if usable := _held(file, agent) or _opened(file, passphrase):
        return usable
    message = f"The private key {file} can't be used: {reason}, and the SSH agent does not hold it."
    raise Failure("key_unusable", message, detail={"key": str(file)})


def usual(
    files: Iterable[Path], identities_only: bool, agent: Sequence[PKey], passphrase: str | None = None
) -> list[PKey]:
    """The keys OpenSSH would offer: those of ``files``, by themselves or held by the agent, then the agent's others.

    Files that can't be used are passed over. With ``identities_only`` the agent's others are left out.
    """
    keys = [key for file in files for key in _loaded(file) or _held(file, agent) or _opened(file, passphrase)]
    others = [] if identities_only else agent
    return list({key.asbytes(): key for key in (*keys, *others)}.values())


def of_agent(path: Path | None) -> list[PKey]:
    """The keys of the SSH agent at a socket, if there is one that answers."""
    if path is None:
        return []
    try:
        return list(_Agent(path).get_keys())
    except (SSHException, OSError):
        return []


class _Agent(AgentSSH):
    """An agent at a socket of our choice: paramiko's own is always the one of the environment."""

    # paramiko's stubs leave it out; its own agents call it.
    _connect: Callable[[socket.socket], None]

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        self._connect(connection)


def _loaded(file: Path) -> list[PKey]:
    try:
        return [PKey.from_path(file)]
    except (OSError, ValueError, TypeError, SSHException, UnknownKeyType):
        return []


def _opened(file: Path, passphrase: str | None) -> list[PKey]:
    """The key in a file that has a passphrase."""
    if passphrase is None:
        return []
    try:
        # Its stubs say str, but bytes are what works.
        return [PKey.from_path(file, cast("str", passphrase.encode()))]
    except (OSError, ValueError, TypeError, SSHException, UnknownKeyType):
        return []


def _held(file: Path, agent: Iterable[PKey]) -> list[PKey]:
    """The agent's key whose public half lies beside ``file``, or in it: that is how one of many is named."""
    halves = {_public_half(file.with_name(f"{file.name}.pub")), _public_half(file)}
    return [key for key in agent if key.asbytes() in halves]


def _public_half(file: Path) -> bytes | None:
    try:
        return base64.b64decode(file.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
