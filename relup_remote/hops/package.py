"""The package of the vendor's plugin, `emqx_relup-<version>.tar.gz`, or the folder that it unpacks to.

A package is made by rebar3's plugin for EMQX's plugins. It holds

    <name>-<version>/release.json
    <name>-<version>/<name>-<version>/priv/relup/*.relup    hops, and sources of helper modules beside them
    <name>-<version>/<name>-<version>/ebin/*.beam           the plugin's own modules; helpers are among them
    <name>-<version>/<library>-<version>/ebin/*.beam        those of libraries that it brings

Each of these folders may be the outermost one. Nothing of a package is run, and an archive is read in memory. Source:
EMQX's plugin template and its documentation of plugin packages, `emqx_plugins` and `scripts/package-plugin.escript`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from relup_remote.core.archive import FILE, ArchiveError, Limits, Member, scan
from relup_remote.files import read_bytes

KINDS = (".relup", ".erl", ".beam")
"""What the names of a catalogue's files end with: hops, and helpers as sources and as compilers write them."""

LARGEST = 16 << 20
"""Bytes of a file of the catalogue at most."""

LIMITS = Limits(bytes=512 << 20, members=20000, contents=LARGEST)
"""What a package may hold. The vendor's has some hundred kilobytes."""

_DEEPEST = 2
"""Folders above the one of hops at most."""

_HOPS, _BEAMS = "priv/relup", "ebin"
_PLACE = re.compile(rf"(?P<app>(?:[^/]+/){{0,{_DEEPEST}}})(?P<inner>{_HOPS}|{_BEAMS})/[^/]+\.(?:relup|erl|beam)\Z")

Entries = Mapping[str, Callable[[], bytes]]
"""Files by name, each with what reads it. Reading raises OSError."""


class PackageError(ValueError):
    """A package that can't be used as a whole. ``str()`` is a clause about it: ``it holds no hops``."""


def in_archive(path: Path) -> Entries:
    """The files of the package in an archive. Raises `ArchiveError`, and `PackageError` for another archive."""
    found: dict[str, bytes] = {}

    def visit(member: Member, contents: Callable[[], bytes]) -> None:
        if member.kind == FILE and _PLACE.match(member.name):
            found[member.name] = contents()
            if sum(map(len, found.values())) > 4 * LARGEST:
                raise ArchiveError("bad_tarball", f"it is past the limit of {4 * LARGEST} bytes", member.name)

    scan(str(path), visit, ("*",), limits=LIMITS)
    chosen = _of_the_plugin(found)
    if not chosen:
        raise PackageError(f"it holds no hops ({_HOPS}/*.relup)")
    return {name: partial(found.__getitem__, place) for name, place in chosen.items()}


def in_folder(folder: Path) -> Entries:
    """The files of a catalogue in a folder: its own, or those of the package that it holds.

    Raises OSError, and `PackageError` for more than one package.
    """
    names = [path.name for path in folder.iterdir() if path.suffix in KINDS and _is_entry(path)]
    chosen = {name: name for name in names} or _of_the_plugin(
        path.relative_to(folder).as_posix()
        for depth in range(_DEEPEST + 1)
        for inner in (_HOPS, _BEAMS)
        for path in folder.glob(f"{'*/' * depth}{inner}/*")
        if path.suffix in KINDS and _is_entry(path)
    )
    return {name: partial(read_bytes, folder / place, LARGEST) for name, place in chosen.items()}


def _of_the_plugin(places: Iterable[str]) -> dict[str, str]:
    """The files of the one plugin that has hops, and of libraries beside it: name -> place. Raises `PackageError`."""
    found = [(match["app"], match["inner"], match[0]) for match in map(_PLACE.match, sorted(places)) if match]
    plugins = sorted({app for app, inner, place in found if inner == _HOPS and place.endswith(".relup")})
    if len(plugins) > 1:
        raise PackageError(f"it holds more than one package with hops: {', '.join(app.rstrip('/') for app in plugins)}")
    chosen: dict[str, str] = {}
    for app, inner, place in found:
        if plugins and (app == plugins[0] or (inner == _BEAMS and _around(app) == _around(plugins[0]))):
            name = place.rpartition("/")[2]
            if name in chosen:
                raise PackageError(f"it holds two files {name}: {chosen[name]} and {place}")
            chosen[name] = place
    return chosen


def _around(app: str) -> str:
    """The folder in which that of an application lies; of the outermost folder itself there is none."""
    return app.rstrip("/").rpartition("/")[0] if app else "."


def _is_entry(path: Path) -> bool:
    """Whether it is a file, or a link that should lead to one."""
    return path.is_file() or (path.is_symlink() and not path.exists())
