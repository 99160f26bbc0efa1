"""The passwords that an operator may be asked for: once, on the terminal, before anything is contacted; kept nowhere.

Every command that goes to hosts has the options, without a word of its own: `options.command` adds them.
"""

import functools
import getpass
import inspect
import sys
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from relup_remote.secrets import NO_SECRETS, Password, Secrets
from relup_remote.usage import UsageError

OPTIONS = PASSPHRASE, LOGIN, SUDO = "ask_passphrase", "ask_password", "ask_sudo_password"

_wanted: ContextVar[frozenset[str]] = ContextVar("wanted", default=frozenset())
"""Which ones the command that is carried out is to ask for. Never the passwords themselves."""


def may_ask(body: Callable[..., None]) -> Callable[..., None]:
    """``body`` with the `OPTIONS` more, for what it calls to `ask`."""

    @functools.wraps(body)
    def with_options(*arguments: Any, **rest: Any) -> None:
        token = _wanted.set(frozenset(name for name in OPTIONS if rest.pop(name, False)))
        try:
            body(*arguments, **rest)
        finally:
            _wanted.reset(token)

    own = inspect.signature(body)
    more = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False) for name in OPTIONS]
    vars(with_options)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    return with_options


def ask() -> Secrets:
    """What the operator types. Raises `UsageError` (``no_terminal``, ``bad_option``). Ctrl-C passes."""
    wanted = _wanted.get()
    if not wanted:
        return NO_SECRETS
    passphrase = _typed("passphrase of the private key: ") if PASSPHRASE in wanted else None
    login = _typed("login password of the SSH user: ") if LOGIN in wanted else None
    sudo = None
    if SUDO in wanted:
        sudo = _typed(f"sudo password on the hosts{' (empty: the login password)' if login else ''}: ", login)
    return Secrets(passphrase, Password(login) if login else None, Password(sudo) if sudo else None)


def _typed(prompt: str, default: str | None = None) -> str:
    try:
        with warnings.catch_warnings():
            # Without a terminal getpass would go on and show what is typed.
            warnings.simplefilter("error", getpass.GetPassWarning)
            typed = getpass.getpass(prompt, sys.stderr) or default
    except (getpass.GetPassWarning, EOFError, OSError):
        raise UsageError(
            "no_terminal", "there is no terminal to ask for a password on", "Use an SSH agent, and sudo without one."
        ) from None
    except UnicodeDecodeError:
        # The error itself has what was typed.
        raise UsageError("bad_option", "the password is not text of this terminal's encoding") from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
    if not typed or "\n" in typed:
        raise UsageError("bad_option", "no password was given")
    return typed
