"""A hop: what its file says, as far as that can be told without a VM.

What it means is said in `priv/relup/README.md`. `relup_remote.hops.hop_file` reads it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from relup_remote.hops.reading.values import Dynamic, Located, Span, Term

Kind = Literal["load_module", "update", "restart_application", "apply", "unknown"]


@dataclass(frozen=True)
class Instruction:
    """A code change. What is None either has no place in its kind, or only a VM can tell it.

    - ``n``: its number in the hop as it will run, from 1. None after elements whose number only a VM can tell.
    - ``term``: all of it, as read.
    - ``name``: the module, or of ``restart_application`` the application; ``named`` is where the file names it.
    - ``function`` and ``arguments``: of ``apply``.
    - ``extra``: of ``update``, what ``code_change`` gets as its last argument.
    - ``span``: the place to point at. Where several instructions come from one piece of the file, as from a list
      comprehension, that is where this one is named.
    - ``text``: it as Erlang text, on one line, with the source of what only a VM can tell.
    - ``problem``: why the ``kind`` is ``unknown``.
    """

    n: int | None
    kind: Kind
    term: Located
    span: Span
    text: str
    name: str | None = None
    named: Located | None = None
    function: str | None = None
    arguments: tuple[Term, ...] | None = None
    extra: Term | None = None
    problem: str | None = None

    @property
    def arity(self) -> int | None:
        """Of ``apply``: how many arguments the function gets."""
        return None if self.arguments is None else len(self.arguments)


@dataclass(frozen=True)
class Callback:
    """A callback after the code changes. What is None only a VM can tell.

    ``arguments`` are those after the version that the function gets first. ``n`` counts on from the code changes;
    ``span``, ``text`` and ``problem`` are as with `Instruction`.
    """

    n: int | None
    term: Located
    span: Span
    text: str
    function: str | None = None
    arguments: tuple[Term, ...] | None = None
    problem: str | None = None

    @property
    def arity(self) -> int | None:
        """How many arguments the function gets, the version counted."""
        return None if self.arguments is None else 1 + len(self.arguments)


@dataclass(frozen=True)
class Problem:
    """What keeps a hop from running although its versions can be read."""

    span: Span
    message: str


@dataclass(frozen=True)
class Hop:
    """A hop file. Whoever only has to send one does without what is read of it.

    - ``changes`` and ``callbacks``: in the order of the file. A `Dynamic` that is not spliced is one of them, one that
      is spliced any number of them.
    - ``is_script``: the file is more than a map written down.
    - ``term``: the map. Keys that mean nothing here are in it as well.
    - ``problems``: what is wrong with the map itself; what is wrong with an instruction is its ``problem``.
    - ``catalogue``: the one that has it, a folder or a package. None: it was read by itself.
    """

    file: str
    from_vsn: str
    target: str
    text: str
    changes: tuple[Instruction | Dynamic, ...] = ()
    callbacks: tuple[Callback | Dynamic, ...] = ()
    is_script: bool = False
    term: Located | None = None
    problems: tuple[Problem, ...] = ()
    catalogue: Path | None = None
