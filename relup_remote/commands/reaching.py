"""How hosts are found and reached. Every command that goes to hosts has the options; `options.command` adds them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from relup_remote.settings import TRANSPORTS
from relup_remote.ways import CONNECTS, Ways

OPTIONS = TRANSPORT, LOGINS, CODE = "transport", "connects", "allow_inventory_code"

_wanted: ContextVar[Mapping[str, Any]] = ContextVar("wanted")
"""What the operator said for the command that is carried out."""


def may_choose(body: Callable[..., None]) -> Callable[..., None]:
    """``body`` with the `OPTIONS` more, for the `transport` and the `ways` of what it does."""

    @functools.wraps(body)
    def with_options(*arguments: Any, **rest: Any) -> None:
        token = _wanted.set({name: rest.pop(name) for name in OPTIONS if name in rest})
        try:
            body(*arguments, **rest)
        finally:
            _wanted.reset(token)

    own = inspect.signature(body)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    more = [inspect.Parameter(name, kind, default=False if name == CODE else "") for name in OPTIONS]
    vars(with_options)["__signature__"] = own.replace(parameters=[*own.parameters.values(), *more])
    return with_options


def transport() -> dict[str, str]:
    """The setting ``transport``, if the operator named it. Raises `UsageError` (``bad_option``)."""
    # The table of options has words from here.
    from relup_remote.commands import options  # noqa: PLC0415

    given = _said(TRANSPORT)
    return {TRANSPORT: options.choice(TRANSPORT, given, TRANSPORTS)} if given else {}


def ways() -> Ways:
    """What the connections of the command share. Raises `UsageError` (``bad_option``)."""
    from relup_remote.commands import options  # noqa: PLC0415

    return Ways(options.numbers(connects=_said(LOGINS)).get(LOGINS, CONNECTS))


def may_run_inventory() -> bool:
    """Whether an inventory that is a program, or asks a plugin, may be run."""
    return bool(_wanted.get({}).get(CODE))


def _said(name: str) -> str:
    return str(_wanted.get({}).get(name, ""))
