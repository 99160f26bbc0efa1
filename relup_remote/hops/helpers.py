"""The helper modules of a catalogue: which of them no hop uses, and which of them are missing.

Without the target's tarball nobody can say of most modules whether they should be helpers: the target may have them. So
missing is only what can be nowhere else, a module of callbacks named after its target, `emqx_post_upgrade_<target>`. It
is missing where a hop names it; a hop with callbacks may do without one.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relup_remote.hops import beam
from relup_remote.hops.catalogue import Helper
from relup_remote.hops.hop import Hop, Instruction
from relup_remote.hops.reading import ReadError
from relup_remote.hops.reading.parser import tokens

CALLBACKS = "emqx_post_upgrade_"
"""What the names of callback modules begin with that ship with the catalogue; the target's version follows."""


@dataclass(frozen=True)
class Mention:
    """A place in a hop file that names a module."""

    file: str
    line: int
    column: int
    module: str

    @property
    def place(self) -> str:
        """It as it is put before a sentence."""
        return f"{self.file}: line {self.line}, column {self.column}"


@dataclass(frozen=True)
class Unused:
    """A helper that no hop names. ``meant`` is a place that may mean it, and misspells it."""

    helper: Helper
    meant: Mention | None


def missing(hops: Sequence[Hop], helpers: Sequence[Helper]) -> list[Mention]:
    """Where hops name modules that only the catalogue could have, and has not."""
    return [
        mention
        for mention in _mentions(hops)
        if mention.module.startswith(CALLBACKS) and mention.module not in _names(helpers)
    ]


def used(hops: Sequence[Hop], helpers: Sequence[Helper]) -> list[Helper]:
    """The helpers that a hop, or a helper that is used, names anywhere."""
    named = _names(helpers)
    waiting = [name for hop in hops for name in _named(hop) if name in named]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [inner for inner in atoms_of(named[name]) if inner in named]
    return [helper for name, helper in named.items() if name in found]


def unused(hops: Sequence[Hop], helpers: Sequence[Helper]) -> list[Unused]:
    """The sources that are not `used`. Of compiled ones a package has others: those of the plugin itself."""
    named = _names(helpers)
    strangers = {mention.module: mention for mention in _mentions(hops) if mention.module not in named}
    in_use = {helper.module for helper in used(hops, helpers)}
    return [
        Unused(helper, _like(name, strangers))
        for name, helper in named.items()
        if name not in in_use and not helper.is_compiled
    ]


def _like(name: str, strangers: dict[str, Mention]) -> Mention | None:
    found = difflib.get_close_matches(name, strangers, n=1, cutoff=0.85)
    return strangers[found[0]] if found else None


def _names(helpers: Sequence[Helper]) -> dict[str, Helper]:
    return {helper.module: helper for helper in helpers}


def _named(hop: Hop) -> set[str]:
    """All that a hop may name a module by."""
    return atoms_in(hop.text) | ({callback_module(hop)} if hop.callbacks else set())


def _mentions(hops: Sequence[Hop]) -> Iterator[Mention]:
    """The modules that instructions load, update or call."""
    for hop in hops:
        for change in hop.changes:
            if isinstance(change, Instruction) and change.kind != "restart_application" and change.name:
                yield Mention(hop.file, change.span.line, change.span.column, change.name)


def callback_module(hop: Hop) -> str:
    """The helper that the callbacks of a hop are in, if the catalogue has it."""
    return f"{CALLBACKS}{hop.target}"


def atoms_of(helper: Helper) -> frozenset[str]:
    """The atoms of a helper: of its source, or of its beam file."""
    return beam.atoms(helper.code) if helper.is_compiled else frozenset(atoms_in(helper.text))


def atoms_in(text: str) -> set[str]:
    """The atoms of a text, up to where it goes wrong."""
    found: set[str] = set()
    try:
        for token in tokens(text):
            if token.type == "ATOM":
                found.add(str(token.value))
    except ReadError:
        pass
    return found
