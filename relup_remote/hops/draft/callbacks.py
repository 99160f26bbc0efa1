"""The callbacks that an author declares, and the module that a catalogue has for them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.compare import Release
from relup_remote.hops.draft import knowledge
from relup_remote.hops.draft.questions import CALLBACKS
from relup_remote.hops.draft.text import REVIEW
from relup_remote.hops.reading.writing import atom

_DECLARED = re.compile(r"([a-z][0-9A-Za-z_@]*)(?:/([0-9]{1,3}))?")
_MOST_ARGUMENTS = 255
_RESERVED = ("module_info", "record_info")


@dataclass(frozen=True, order=True)
class Callback:
    """A function to be called with the version that the node comes from, and whatever the hop says."""

    name: str
    arity: int = 1

    @property
    def others(self) -> int:
        """How many arguments come after the version."""
        return self.arity - 1

    @property
    def term(self) -> str:
        """It as the hop names it, what its arguments are left open."""
        return f"{{{self._atom}, [{', '.join(['undefined'] * self.others)}]}}" if self.others else self._atom

    @property
    def _atom(self) -> str:
        return atom(self.name)

    @property
    def exported(self) -> str:
        """It as a list of exports has it."""
        return f"{self._atom}/{self.arity}"

    def call(self, arguments: Sequence[str]) -> str:
        """A call of it, or the head of a clause."""
        return f"{self._atom}({', '.join(arguments)})"


def parse(declared: str) -> Callback:
    """The callback of ``NAME`` or ``NAME/ARITY``, the version counted. Raises ValueError with what it must be."""
    found = _DECLARED.fullmatch(declared)
    if not found:
        raise ValueError(f"must be NAME or NAME/ARITY of an Erlang function, not {declared!r}")
    if found[1] in _RESERVED:
        raise ValueError(f"can't be {found[1]}, which Erlang itself has in every module")
    arity = int(found[2] or 1)
    if not 1 <= arity <= _MOST_ARGUMENTS:
        raise ValueError(
            f"must have between 1 and {_MOST_ARGUMENTS} arguments, of which the version is the first: {declared}"
        )
    return Callback(found[1], arity)


def helper(callbacks: Sequence[Callback], release: Release) -> Helper | None:
    """The module that has the callbacks, as far as it can be written; None where the release's own has all of them.

    It takes the place of the release's, so what that one has is passed on to it.
    """
    wanted = sorted(set(callbacks))
    own = release.exported.of(CALLBACKS)
    if all((callback.name, callback.arity) in own for callback in wanted):
        return None
    name = f"emqx_post_upgrade_{release.version}"
    head = f"""\
%% @doc The callbacks of the hops to {release.version}, in place of the release's own. A hop that fails in one of them
%% is finished by calling all of them again: each must be safe to repeat.
-module({atom(name)}).
-export([{", ".join(callback.exported for callback in wanted)}]).
"""
    bodies = [_body(callback, (callback.name, callback.arity) in own) for callback in wanted]
    return Helper(f"{name}.erl", "\n".join([head, *bodies]))


def _body(callback: Callback, passed_on: bool) -> str:
    extra = [f"Arg{number}" for number in range(1, callback.others + 1)]
    types = ", ".join(["FromVsn :: string()", *(f"{name} :: term()" for name in extra)])
    spec = f"-spec {atom(callback.name)}({types}) -> term().\n"
    if passed_on:
        arguments = ["FromVsn", *extra]
        return f"{spec}{callback.call(arguments)} -> {CALLBACKS}:{callback.call(arguments)}.\n"
    if callback.name in knowledge.CALLBACKS and not extra:
        return f"{spec}{callback.call(['_FromVsn'])} -> {knowledge.CALLBACKS[callback.name]}.\n"
    ignored = ["_FromVsn", *(f"_{name}" for name in extra)]
    return f"{REVIEW}What has to be done here?\n{spec}{callback.call(ignored)} -> ok.\n"
