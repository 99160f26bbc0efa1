"""The catalogue: a folder of hop files (`*.relup`) and of the helper modules that ship with them (`*.erl`).

Files that can't be used are listed with the reason; they never keep the others from being used.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relup_remote.checkout import checkout
from relup_remote.core.protocol import ERRORS
from relup_remote.files import expanded, read_bytes
from relup_remote.hops.hop import Hop
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading import ReadError, decoded
from relup_remote.usage import UsageError

__all__ = ["Catalogue", "Helper", "Hop", "Malformed", "load", "locate"]

VARIABLE = "RELUP_CATALOGUE"

LARGEST = 16 << 20
"""Bytes of a file of the catalogue at most."""


@dataclass(frozen=True)
class Helper:
    """The source of a module that ships with the catalogue."""

    file: str
    text: str

    @property
    def module(self) -> str:
        """The module that it has to hold."""
        return self.file.removesuffix(".erl")


@dataclass(frozen=True)
class Malformed:
    """A file that can't be used. ``line`` and ``column`` count from 1; 0 is the file as a whole."""

    file: str
    line: int
    column: int
    reason: str

    @property
    def place(self) -> str:
        """The place as it is put before the reason: ``line 3, column 7: ``; empty for the file as a whole."""
        return f"line {self.line}, column {self.column}: " if self.line else ""


@dataclass(frozen=True)
class Catalogue:
    """What a folder holds, by file name."""

    folder: Path
    hops: tuple[Hop, ...] = ()
    helpers: tuple[Helper, ...] = ()
    malformed: tuple[Malformed, ...] = ()

    @property
    def ambiguous(self) -> dict[tuple[str, str], list[str]]:
        """The pairs of versions that more than one file is for, with the files."""
        files = defaultdict(list)
        for hop in self.hops:
            files[hop.from_vsn, hop.target].append(hop.file)
        return {pair: names for pair, names in files.items() if len(names) > 1}

    def hop(self, source: str, target: str) -> Hop:
        """The hop from one version to another. Raises `UsageError` (``no_relup_entry``, ``ambiguous_hop``)."""
        found = [hop for hop in self.hops if (hop.from_vsn, hop.target) == (source, target)]
        if len(found) == 1:
            return found[0]
        err_type = "ambiguous_hop" if found else "no_relup_entry"
        unread = f"; not read: {', '.join(file.file for file in self.malformed)}" if self.malformed else ""
        onward = ", ".join(dict.fromkeys(hop.target for hop in self.hops if hop.from_vsn == source))
        others = f"from {source} there are hops to {onward}" if onward else f"there is none from {source}"
        reason = ", ".join(hop.file for hop in found) or f"there is no such hop; {others}{unread}"
        raise UsageError(err_type, f"{self.folder}: {source} -> {target}: {reason}", ERRORS[err_type].hint)

    def to(self, target: str) -> list[Hop]:
        """The hops that lead to a version."""
        return [hop for hop in self.hops if hop.target == target]


def locate(given: str | None = None) -> Path:
    """The folder to use: ``given``, else $RELUP_CATALOGUE, else `priv/relup` of the checkout.

    Raises `UsageError` (``no_catalogue``) if there is none.
    """
    named = given or os.environ.get(VARIABLE)
    root = checkout()
    if named:
        folder = expanded(named)
    elif root:
        folder = root / "priv" / "relup"
    else:
        raise UsageError("no_catalogue", "no catalogue of hops was named")
    if not folder.is_dir():
        raise UsageError("no_catalogue", f"no catalogue of hops: {folder} is not a folder")
    return folder


def load(folder: Path) -> Catalogue:
    """Read a catalogue. Raises `UsageError` (``no_catalogue``) only if the folder itself can't be read."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".relup", ".erl") and _is_entry(path))
    except OSError as error:
        raise UsageError("no_catalogue", f"no catalogue of hops: {folder}: {error.strerror}") from error
    found: dict[type, list[Any]] = {Hop: [], Helper: [], Malformed: []}
    for path in paths:
        entry = _read(path)
        found[type(entry)].append(entry)
    return Catalogue(folder, *(tuple(found[sort]) for sort in (Hop, Helper, Malformed)))


def _is_entry(path: Path) -> bool:
    """Whether it is a file, or a link that should lead to one."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _read(path: Path) -> Hop | Helper | Malformed:
    try:
        text = decoded(read_bytes(path, LARGEST))
        return Helper(path.name, text) if path.suffix == ".erl" else read_hop(path.name, text)
    except OSError as error:
        return Malformed(path.name, 0, 0, f"can't be read: {error.strerror}")
    except ReadError as error:
        return Malformed(path.name, error.line, error.column, error.message)
