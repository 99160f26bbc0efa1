"""The catalogue: hop files (`*.relup`), and the helper modules that ship with them (`*.erl`, `*.beam`).

It is a folder, or the package of the vendor's plugin (see `relup_remote.hops.package`), or several of these: then the
first that has a hop between two versions, or a helper, counts. Files that can't be used are listed with the reason;
they never keep the others from being used.
"""

import os
import shlex
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
    catalogue: Path | None = None

    @property
    def place(self) -> str:
        """The place as it is put before the reason: ``line 3, column 7: ``; empty for the file as a whole."""
        return f"line {self.line}, column {self.column}: " if self.line else ""


@dataclass(frozen=True)
class Overridden:
    """A file of a ``catalogue`` that is not used, because another one, named earlier, has a file for the same."""

    file: str
    catalogue: Path
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

    def named(self, entry: Hop | Malformed) -> str:
        """A file as it is told: with its catalogue where there is more than one."""
        return str(entry.catalogue / entry.file) if entry.catalogue and len(self.places) > 1 else entry.file

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
        files = ", ".join(hop.file for hop in found)
        reason = f"several files have this hop: {files}" if found else f"there is no such hop; {others}{unread}"
        hint = ERRORS[err_type].hint.replace("`inv paths`", f"`inv paths --catalogue {shlex.quote(self.name)}`")
        raise UsageError(err_type, f"{self.name}: {source} -> {target}: {reason}", hint)

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
    hops: list[Hop] = []
    helpers: list[Helper] = []
    overridden = []
    # Which catalogue answers for a hop, by its versions, or for a helper, by its module.
    owners: dict[tuple[str, ...], tuple[Path, list[Hop | Helper]]] = {}
    for place, part in zip(places, parts, strict=True):
        entries: list[Hop | Helper] = [*part.hops, *part.helpers]
        for entry in entries:
            first, used = owners.setdefault(_key(entry), (place, []))
            if first == place:
                used.append(entry)
                hops += [entry] if isinstance(entry, Hop) else []
                helpers += [entry] if isinstance(entry, Helper) else []
            elif _content(entry) not in map(_content, used):
                overridden.append(Overridden(entry.file, place, first))
        # A hop or a helper that its owner has spoiled is not replaced in silence by another one's.
        for bad in part.malformed:
            owners.setdefault(_key_of_name(bad.file), (place, []))
    malformed = tuple(bad for part in parts for bad in part.malformed)
    found = Catalogue(places, tuple(hops), tuple(helpers), malformed, tuple(overridden))
    _check_size(found)
    return found


def _key(entry: Hop | Helper) -> tuple[str, ...]:
    return (entry.from_vsn, entry.target) if isinstance(entry, Hop) else (entry.module,)


def _key_of_name(file: str) -> tuple[str, ...]:
    """What a file is for by its name; of a hop that is ``<from>-to-<target>.relup``."""
    stem, _, kind = file.rpartition(".")
    from_vsn, between, target = stem.partition("-to-")
    return (stem,) if kind != "relup" else (from_vsn, target) if between else ()


def _content(entry: Hop | Helper) -> bytes:
    return entry.text.encode() if isinstance(entry, Hop) else entry.content


def _check_size(found: Catalogue) -> None:
    if sum(len(helper.code) for helper in found.helpers) > MOST_CODE:
        raise UsageError("no_catalogue", f"{found.name}: its beam files have more than {MOST_CODE} bytes in all")


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
    for name in sorted(files):
        # Of a helper that has both, the source counts: the other may be of another day.
        if not (name.endswith(".beam") and f"{name.removesuffix('.beam')}.erl" in files):
            entry = _read(name, files[name])
            found[type(entry)].append(entry if isinstance(entry, Helper) else replace(entry, catalogue=place))
    catalogue = Catalogue((place,), *(tuple(found[sort]) for sort in (Hop, Helper, Malformed)))
    _check_size(catalogue)
    return catalogue


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
