"""The catalogue: hop files (`*.relup`), and the helper modules that ship with them (`*.erl`, `*.beam`).

It is a folder, or the package of the vendor's plugin (see `relup_remote.hops.package`), or several of these: then the
first that has a hop between two versions, or a helper, counts. Files that can't be used are listed with the reason;
they never keep the others from being used.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from relup_remote.checkout import checkout
from relup_remote.core.archive import ArchiveError
from relup_remote.core.protocol import ERRORS
from relup_remote.files import expanded
from relup_remote.hops.beam import BeamError, read_beam
from relup_remote.hops.hop import Hop
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.package import PackageError, in_archive, in_folder
from relup_remote.hops.reading import ReadError, decoded
from relup_remote.usage import UsageError

__all__ = ["Catalogue", "Helper", "Hop", "Malformed", "load", "locate"]

VARIABLE = "RELUP_CATALOGUE"

CHECK_ACCESS = "Check the owner and the mode of this path, and of the folders above it."

MOST_CODE = 8 << 20
"""Bytes of all beam files of a catalogue at most. They are a part of each request."""


@dataclass(frozen=True)
class Helper:
    """A module that ships with the catalogue: the ``text`` of its source, or the ``code`` of a beam file."""

    file: str
    text: str = ""
    code: bytes = field(default=b"", repr=False)

    @property
    def module(self) -> str:
        """The module that it has to hold."""
        return self.file.rpartition(".")[0]

    @property
    def is_compiled(self) -> bool:
        """Whether it is a beam file."""
        return self.file.endswith(".beam")

    @property
    def content(self) -> bytes:
        """What its file holds."""
        return self.code or self.text.encode()


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
class Overridden:
    """A file that is not used, because a catalogue that was named earlier has another one for the same."""

    file: str
    place: Path
    by: Path


@dataclass(frozen=True)
class Catalogue:
    """What folders and packages hold, by their order and file name."""

    places: tuple[Path, ...]
    hops: tuple[Hop, ...] = ()
    helpers: tuple[Helper, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    overridden: tuple[Overridden, ...] = ()

    @property
    def name(self) -> str:
        """The places as `locate` takes them."""
        return os.pathsep.join(map(str, self.places))

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
        raise UsageError(err_type, f"{self.name}: {source} -> {target}: {reason}", ERRORS[err_type].hint)

    def to(self, target: str) -> list[Hop]:
        """The hops that lead to a version."""
        return [hop for hop in self.hops if hop.target == target]


def locate(given: str | None = None) -> tuple[Path, ...]:
    """The folders and packages to use: ``given``, else $RELUP_CATALOGUE, else `priv/relup` of the checkout.

    More than one are named as PATH names folders, with a colon between two. Raises `UsageError` (``no_catalogue``) if
    there is none.
    """
    named = given or os.environ.get(VARIABLE)
    root = checkout()
    if named:
        # A colon may also be a part of a name.
        parts = [named] if os.path.lexists(expanded(named)) else [part for part in named.split(os.pathsep) if part]
        places = tuple(dict.fromkeys(map(expanded, parts)))
    elif root:
        places = (root / "priv" / "relup",)
    else:
        places = ()
    if not places:
        raise UsageError("no_catalogue", "no catalogue of hops was named")
    for place in places:
        _require(place)
    return places


def _require(place: Path) -> None:
    """Raises `UsageError` (``no_catalogue``) where a place is neither a folder nor a file."""
    try:
        mode = place.stat().st_mode
    except PermissionError as error:
        raise UsageError("no_catalogue", f"no catalogue of hops: {place}: {error.strerror}", CHECK_ACCESS) from error
    except OSError as error:
        raise UsageError("no_catalogue", f"no catalogue of hops: {place}: {error.strerror}") from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise UsageError("no_catalogue", f"no catalogue of hops: {place} is neither a folder nor a file")


def load(*places: Path) -> Catalogue:
    """Read one catalogue, or several as one.

    Raises `UsageError` (``no_catalogue``) only if one can't be read as a whole.
    """
    parts = [_load(place) for place in places]
    if len(parts) == 1:
        return parts[0]
    hops: dict[tuple[str, str], tuple[Path, list[Hop]]] = {}
    helpers: dict[str, tuple[Path, Helper]] = {}
    overridden = []
    for place, part in zip(places, parts, strict=True):
        for hop in part.hops:
            first, rivals = hops.setdefault((hop.from_vsn, hop.target), (place, []))
            if first == place:
                rivals.append(hop)
            elif hop.text not in [rival.text for rival in rivals]:
                overridden.append(Overridden(hop.file, place, first))
        for helper in part.helpers:
            first, used = helpers.setdefault(helper.module, (place, helper))
            if helper.content != used.content:
                overridden.append(Overridden(helper.file, place, first))
    return Catalogue(
        places,
        tuple(hop for _place, rivals in hops.values() for hop in rivals),
        tuple(helper for _place, helper in helpers.values()),
        tuple(
            replace(file, file=str(place / file.file))
            for place, part in zip(places, parts, strict=True)
            for file in part.malformed
        ),
        tuple(overridden),
    )


def _load(place: Path) -> Catalogue:
    try:
        files = in_folder(place) if place.is_dir() else in_archive(place)
    except OSError as error:
        raise _unusable(place, f"can't be read: {error.strerror}", CHECK_ACCESS) from error
    except ArchiveError as error:
        raise _unusable(place, *_about_archive(error)) from error
    except PackageError as error:
        raise _unusable(place, str(error)) from error
    found: dict[type, list[Any]] = {Hop: [], Helper: [], Malformed: []}
    code = 0
    for name in sorted(files):
        # Of a helper that has both, the source counts: the other may be of another day.
        if not (name.endswith(".beam") and f"{name.removesuffix('.beam')}.erl" in files):
            entry = _read(name, files[name])
            if isinstance(entry, Helper):
                code += len(entry.code)
                if code > MOST_CODE:
                    raise UsageError("no_catalogue", f"{place}: its beam files have more than {MOST_CODE} bytes in all")
            found[type(entry)].append(replace(entry, place=place) if isinstance(entry, Hop) else entry)
    return Catalogue((place,), *(tuple(found[sort]) for sort in (Hop, Helper, Malformed)))


def _unusable(place: Path, why: str, hint: str | None = None) -> UsageError:
    return UsageError("no_catalogue", f"{place} can't be used as a catalogue of hops: {why.rstrip('.')}", hint)


def _about_archive(error: ArchiveError) -> tuple[str, str | None]:
    """What is wrong with an archive, and the hint; None is the usual one."""
    if error.err_type == "target_tarball_not_found":
        return f"it can't be read: {error.reason}", CHECK_ACCESS
    if error.err_type != "bad_tarball":
        return f"{_member(error)}{error.reason}", "Do not use this file. Fetch the package from its source."
    if error.reason.startswith("it is not a gzip file"):
        return "it is not a gzip file, and a package is one (.tar.gz)", None
    hint = "Fetch the package again, and compare its size or its checksum with those at its source."
    return f"the archive is cut off or damaged: {_member(error)}{error.reason}", hint


def _member(error: ArchiveError) -> str:
    return f"{error.detail['member']}: " if "member" in error.detail else ""


def _read(name: str, content: Callable[[], bytes]) -> Hop | Helper | Malformed:
    try:
        if name.endswith(".beam"):
            code = content()
            read_beam(code)
            return Helper(name, code=code)
        text = decoded(content())
        return Helper(name, text) if name.endswith(".erl") else read_hop(name, text)
    except OSError as error:
        return Malformed(name, 0, 0, f"can't be read: {error.strerror}")
    except BeamError as error:
        return Malformed(name, 0, 0, error.reason)
    except ReadError as error:
        return Malformed(name, error.line, error.column, error.message)
