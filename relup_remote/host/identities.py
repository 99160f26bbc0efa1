"""Which private keys to offer a server, and offering them."""

import base64
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from paramiko import Agent, AuthenticationException, BadAuthenticationType, PKey, SSHException, Transport
from paramiko.pkey import UnknownKeyType

from relup_remote.core.protocol import Failure

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
"""The keys that OpenSSH would use where ssh_config names none."""


class Identities:
    """Keys to offer as ``user``, in order: paramiko's ``auth_strategy``. Only keys are ever offered."""

    def __init__(self, user: str, keys: Sequence[PKey]) -> None:
        self._user = user
        self._keys = keys

    def authenticate(self, transport: Transport) -> None:
        """Log in with the first key that is accepted.

        Raises `Failure` (``auth_failed``, ``ssh_timeout``), OSError, EOFError, SSHException.
        """
        refused: list[str] = []
        for key in self._keys:
            started = time.monotonic()
            try:
                wanted = transport.auth_publickey(self._user, key)
            except BadAuthenticationType as error:
                raise self._failure(refused, server_accepts=error.allowed_types) from None
            except AuthenticationException:
                if time.monotonic() - started >= transport.auth_timeout:
                    raise Failure("ssh_timeout", "The SSH server did not answer to a key in time.") from None
                refused.append(f"{key.get_name()} {key.fingerprint}")
                if not transport.is_active():
                    raise self._failure(refused, note="the server hung up, perhaps after too many keys") from None
            else:
                if wanted:
                    raise self._failure(refused, server_wants_also=wanted)
                return
        raise self._failure(refused)

    def _failure(self, refused: list[str], **facts: object) -> Failure:
        message = None if self._keys else "There is no key to offer to the SSH server."
        return Failure("auth_failed", message, detail={"user": self._user, "keys_refused": refused, **facts})


def only(file: Path, agent: Iterable[PKey]) -> list[PKey]:
    """The key in ``file``, and no other; where it has a passphrase, the same key from the agent.

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
        held = _held([file], agent)
        if held:
            return held
        reason = "it has a passphrase, and the SSH agent does not hold it"
    raise Failure("key_unusable", f"The private key {file} can't be used: {reason}.", detail={"key": str(file)})


def usual(configured: Sequence[str], identities_only: bool, agent: Sequence[PKey]) -> list[PKey]:
    """The keys OpenSSH would offer: ssh_config's files or the default ones, then the agent's.

    Files that can't be used are passed over. With ``identities_only`` the agent is asked for the keys of those files
    alone.
    """
    files = [Path(file).expanduser() for file in configured or DEFAULT_FILES]
    keys = [key for file in files for key in _loaded(file)]
    keys += _held(files, agent) if identities_only else agent
    return list({key.asbytes(): key for key in keys}.values())


def of_agent() -> list[PKey]:
    """The keys of the SSH agent, if there is one that answers."""
    try:
        return list(Agent().get_keys())
    except (SSHException, OSError):
        return []


def _loaded(file: Path) -> list[PKey]:
    try:
        return [PKey.from_path(file)]
    except (OSError, ValueError, TypeError, SSHException, UnknownKeyType):
        return []


def _held(files: Iterable[Path], agent: Iterable[PKey]) -> list[PKey]:
    """Those of the agent's keys whose public half lies beside one of ``files``."""
    public = {half for file in files if (half := _public_half(file)) is not None}
    return [key for key in agent if key.asbytes() in public]


def _public_half(file: Path) -> bytes | None:
    try:
        return base64.b64decode(file.with_name(f"{file.name}.pub").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
