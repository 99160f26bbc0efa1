"""The package of the vendor's plugin, `emqx_relup-<version>.tar.gz`, or the folder that it unpacks to.

A package holds `release.json` and one folder `<name>-<version>`, in which are

    priv/relup/*.relup    the hops, and the sources of helper modules beside them
    ebin/*.beam           the plugin's own modules; those that hops need are among them

The folder `<name>-<version>` alone, as the plugin is installed, is taken as well. Nothing of a package is run, and an
archive is read in memory. Source: EMQX's documentation of plugin packages, and `plugins/emqx_relup` of its repository.
"""

import re
from collections.abc import Callable, Iterator, Mapping
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

_HOPS, _BEAMS = "priv/relup", "ebin"
_WANTED = re.compile(rf"(?:[^/]+/)?(?:{_HOPS}/[^/]+(?:\.relup|\.erl|\.beam)|{_BEAMS}/[^/]+\.beam)\Z")

Entries = Mapping[str, Callable[[], bytes]]
"""Files by name, each with what reads it. Reading raises OSError."""


def in_archive(path: Path) -> Entries:
    """The files of the package in an archive. Raises `ArchiveError`, also for an archive that is no such package."""
    found: dict[str, bytes] = {}

    def visit(member: Member, contents: Callable[[], bytes]) -> None:
        if member.kind == FILE and _WANTED.match(member.name):
            name = member.name.rpartition("/")[2]
            if name in found:
                raise ArchiveError("bad_tarball", "the package has two files of that name", member.name)
            found[name] = contents()
            if sum(map(len, found.values())) > 4 * LARGEST:
                raise ArchiveError("bad_tarball", f"it is past the limit of {4 * LARGEST} bytes", member.name)

    scan(str(path), visit, ("*",), limits=LIMITS)
    if not any(name.endswith(".relup") for name in found):
        raise ArchiveError("bad_tarball", f"it holds no hops ({_HOPS}/*.relup)")
    return {name: partial(_same, content) for name, content in found.items()}


def in_folder(folder: Path) -> Entries:
    """The files of a catalogue in a folder: its own, or those of the package that it holds. Raises OSError."""
    found = _files(folder, KINDS)
    if not found:
        for plugin in _plugins(folder):
            found = {**_files(plugin / _BEAMS, (".beam",)), **_files(plugin / _HOPS, KINDS), **found}
    return {name: partial(read_bytes, path, LARGEST) for name, path in found.items()}


def _plugins(folder: Path) -> Iterator[Path]:
    for candidate in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if (candidate / _HOPS).is_dir():
            yield candidate


def _files(folder: Path, kinds: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.name: path for path in folder.iterdir() if path.suffix in kinds and _is_entry(path)}


def _is_entry(path: Path) -> bool:
    """Whether it is a file, or a link that should lead to one."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _same(content: bytes) -> bytes:
    return content
