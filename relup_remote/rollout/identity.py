"""Who asks, and under which name the asking is remembered."""

import getpass
import secrets
import socket
from datetime import UTC, datetime

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def run_id(now: datetime | None = None) -> str:
    """A name for one run of a command: the time (UTC) and four random characters, ``2026-11-24T08-15-03-k3f9``."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H-%M-%S}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"


def operator() -> str:
    """The operator for the hosts' history: ``user@machine``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
