"""How long a command may take in all. Every command that goes to hosts has the option; `options.command` adds it."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from relup_remote.deadline import Deadline

OPTION = "deadline"

_HOUR = 3600
DEFAULTS: Mapping[str, str] = {
    "stage": "12h",
    "prepare": "12h",
    "backup": "12h",
    "backup.verify": "12h",
    "restore": "24h",
    "upgrade": "48h",
    "rollback": "48h",
}
"""The time of commands that move data, or that wait between waves; for all others it is `DEFAULT`."""

DEFAULT = "1h"

MEANING = "time limit of the whole command, such as 30m; after it no more hosts are started"

SPARE = 600
"""Seconds for what comes before and after what an operator wants to wait for."""

_given: ContextVar[str] = ContextVar("given", default="")
"""What the operator said for the command that is carried out."""


def may_take(body: Callable[..., None]) -> Callable[..., None]:
    """``body`` with the option more, for the `deadline` of what it does."""

    @functools.wraps(body)
    def with_option(*arguments: Any, deadline: str = "", **rest: Any) -> None:
        token = _given.set(deadline)
        try:
            body(*arguments, **rest)
        finally:
            _given.reset(token)

    own = inspect.signature(body)
    more = inspect.Parameter(OPTION, inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")
    vars(with_option)["__signature__"] = own.replace(parameters=[*own.parameters.values(), more])
    return with_option


def is_given() -> bool:
    """Whether the operator has named a deadline."""
    return bool(_given.get())


def deadline(command: str) -> Deadline:
    """The deadline of ``command``, counted from now. Raises `UsageError` (``bad_option``)."""
    # The table of options needs the default above.
    from relup_remote.commands import options  # noqa: PLC0415

    seconds = options.duration(OPTION, _given.get() or DEFAULTS.get(command, DEFAULT), _HOUR, minimum=1)
    return Deadline(seconds)
