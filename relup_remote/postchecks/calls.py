"""Calls of a node's functions by its own script over SSH, and their values as Python has them."""

from collections.abc import Callable
from typing import Any

from relup_remote.core.erlang import term
from relup_remote.core.erlang.link import WrapperLink, show
from relup_remote.core.erlang.term import Atom

Eval = Callable[[str], tuple[int, bytes]]
"""Has the node evaluate an expression; the exit status of its script, and what it prints."""


class EvalLink(WrapperLink):
    """A link to a node whose script is run elsewhere. Arguments and value travel as base64: nothing needs quotes."""

    def __init__(self, run: Eval) -> None:
        super().__init__("")
        self._run = run

    def eval(self, expression: str, what: str, timeout: float) -> tuple[int, bytes]:
        """What the script ended with and prints; how long it may take is up to who runs it."""
        return self._run(expression)


def data(value: Any) -> Any:
    """A term as plain data.

    Binaries and lists of printable characters are str; true, false and undefined are True, False and None, other atoms
    str; tuples stay tuples, maps are dicts. Pids, funs and the like are shown as text.
    """
    if isinstance(value, Atom):
        return {"true": True, "false": False, "undefined": None}.get(value, str(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        if value and all(isinstance(item, int) and 32 <= item < 0x110000 for item in value):
            return "".join(map(chr, value))
        return [data(item) for item in value]
    if type(value) is tuple:
        return tuple(data(item) for item in value)
    if isinstance(value, dict):
        return {data(key): data(item) for key, item in value.items()}
    return value if isinstance(value, int | float) else show(value)


def argument(value: Any) -> Any:
    """A Python value as the argument of a call: str is a binary, as the broker has its texts; see `Atom` for atoms."""
    if isinstance(value, Atom):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [argument(item) for item in value]
    if type(value) is tuple:
        return tuple(argument(item) for item in value)
    if isinstance(value, dict):
        return term.Map([(argument(key), argument(item)) for key, item in value.items()])
    return value
