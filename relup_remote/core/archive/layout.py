"""Payload, shipped to hosts (Python 3.6 and up, standard library only): which members a tree may have.

The rules keep everything inside the tree, whatever is written or read through it later:

- a name is relative, without ``..`` and NUL, and given once (a directory may come again);
- what a member lies in is a directory, never a file or a link;
- a symbolic link goes up only at the start of its target and not out of the tree, so that no other link can bend it;
- a hard link leads to an earlier file, one that is unpacked if the link is.
"""

import fnmatch
import os
import re
from typing import Dict, Iterable, Iterator, List, NamedTuple

from .errors import ArchiveError
from .tar import DIRECTORY, FILE, HARDLINK, SYMLINK, Member


class Limits(NamedTuple):
    """What a tarball may hold at most.

    `bytes` inflated, headers and skipped members included; `members` with the directories they lie in; `name` bytes
    in a name; `contents` bytes of a member that `scan` hands out at once.
    """

    bytes: int = 8 << 30
    members: int = 200000
    name: int = 1024
    contents: int = 32 << 20


_COMPONENT_LIMIT = 255
_IMPLICIT_MODE = 0o755


class Layout:
    """The tree as it grows with each member. Only what lies under one of `roots` (patterns) is unpacked."""

    def __init__(self, roots: Iterable[str], limits: Limits) -> None:
        self._is_root = re.compile("|".join(map(fnmatch.translate, roots))).match
        self._limits = limits
        self._kinds: Dict[str, str] = {"": DIRECTORY}

    def unpacked(self, members: Iterable[Member]) -> Iterator[Member]:
        """The members to unpack, names normalised, each after the directories that it lies in. All are checked.

        Raises `ArchiveError` unsafe_tarball, bad_tarball.
        """
        for member in members:
            name = self._normalised(member.name, member)
            missing = self._missing_parents(name, member)
            target = self._target(name, member)
            for parent in missing:
                self._add(parent, DIRECTORY, member)
            self._add(name, FILE if member.kind == HARDLINK else member.kind, member)
            if name and self._selected(name):
                for parent in missing:
                    yield Member(parent, DIRECTORY, _IMPLICIT_MODE, 0, "")
                yield Member(name, member.kind, member.mode, member.size, target)

    def _normalised(self, name: str, member: Member) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/"):
            raise ArchiveError("unsafe_tarball", "the name {!r} is absolute".format(name), member.name)
        if ".." in parts:
            raise ArchiveError("unsafe_tarball", "the name {!r} leads out of the tree".format(name), member.name)
        if "\0" in name:
            raise ArchiveError("unsafe_tarball", "the name {!r} has a NUL".format(name), member.name)
        name = "/".join(parts)
        encoded = os.fsencode(name)
        if len(encoded) > self._limits.name or max(map(len, encoded.split(b"/"))) > _COMPONENT_LIMIT:
            raise ArchiveError("unsafe_tarball", "its name is too long", member.name)
        return name

    def _missing_parents(self, name: str, member: Member) -> List[str]:
        missing: List[str] = []
        parent = name.rpartition("/")[0]
        while self._kinds.get(parent) != DIRECTORY:
            if parent in self._kinds:
                reason = "it lies in {!r}, which is a {}".format(parent, self._kinds[parent])
                raise ArchiveError("unsafe_tarball", reason, member.name)
            missing.insert(0, parent)
            parent = parent.rpartition("/")[0]
        return missing

    def _target(self, name: str, member: Member) -> str:
        if member.kind == SYMLINK:
            self._check_symlink(name, member)
            return member.target
        return self._earlier_file(name, member) if member.kind == HARDLINK else ""

    def _check_symlink(self, name: str, member: Member) -> None:
        target = member.target
        parts = [part for part in target.split("/") if part not in ("", ".")]
        ups = parts.count("..")
        if target.startswith("/") or ups > name.count("/") or parts[:ups] != [".."] * ups:
            raise ArchiveError("unsafe_tarball", "its target {!r} leaves the tree".format(target), member.name)
        if not target or "\0" in target or len(os.fsencode(target)) > self._limits.name:
            raise ArchiveError("unsafe_tarball", "its target {!r} is not a path".format(target[:99]), member.name)

    def _earlier_file(self, name: str, member: Member) -> str:
        target = self._normalised(member.target, member)
        if self._kinds.get(target) != FILE:
            raise ArchiveError("unsafe_tarball", "its target {!r} is not an earlier file".format(target), member.name)
        if self._selected(name) and not self._selected(target):
            raise ArchiveError("unsafe_tarball", "its target {!r} is not unpacked".format(target), member.name)
        return target

    def _add(self, name: str, kind: str, member: Member) -> None:
        known = self._kinds.get(name)
        if known is not None and not known == kind == DIRECTORY:
            raise ArchiveError("unsafe_tarball", "{!r} is there already, as a {}".format(name, known), member.name)
        self._kinds[name] = kind
        if len(self._kinds) > self._limits.members:
            reason = "it is past the limit of {} members".format(self._limits.members)
            raise ArchiveError("unsafe_tarball", reason, member.name)

    def _selected(self, name: str) -> bool:
        return self._is_root(name.partition("/")[0]) is not None
