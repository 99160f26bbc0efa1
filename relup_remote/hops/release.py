"""Reading the release in a tarball, in one pass and without unpacking it."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relup_remote.core.archive import FILE, ArchiveError, Member, Scan, scan
from relup_remote.core.protocol import Failure
from relup_remote.core.release import parse_pairs, version_in
from relup_remote.hops.app_file import Released, SpecError, read_rel, read_term
from relup_remote.hops.code import Boot, Code

_LISTS = r"lib/(emqx_machine-[^/]+)/priv/reboot_lists\.eterm"
_REBOOT_LISTS = re.compile(_LISTS).fullmatch
_TEXT = re.compile(rf"releases/(emqx_vars|[^/]+/(BUILD_INFO|[^/]+\.rel))|{_LISTS}").fullmatch
_TEXT_LIMIT = 4 << 20


@dataclass(frozen=True)
class Contents:
    """What a release says of itself: ``emqx_vars`` (and its ``vars_text``) and ``build_info`` by key, the applications
    of its `.rel` files, and the ``reboot_lists`` of those that it starts later (a term, None without one); its
    ``code``, and how much all of it ``unpacks`` to."""

    version: str
    emqx_vars: dict[str, str]
    vars_text: str
    build_info: dict[str, str]
    released: list[Released]
    reboot_lists: Any
    code: Code
    unpacks: Scan

    @property
    def boot(self) -> Boot:
        """What a node boots of it."""
        return Boot(self.version, frozenset(app.folder for app in self.released))

    @property
    def is_fork(self) -> bool:
        """Whether it is built on EMQX's fork of OTP."""
        return self.code.has_module("mnesia", "mnesia_hook")


def read_tarball(path: str, sha256: str | None = None) -> dict[str, Any]:
    """The request's ``tarball.release`` for the tarball at ``path``: see `relup_remote.core.protocol`.

    With ``sha256`` (hex), only if that is its digest. Raises as `read_contents`.
    """
    contents = read_contents(path, sha256)
    return {
        "version": contents.version,
        "build_info": contents.build_info,
        "mnesia_hook": contents.is_fork,
        "emqx_vars": contents.vars_text,
        "files": contents.unpacks.files,
        "bytes": contents.unpacks.bytes,
        "code": base64.b64encode(contents.code.term(contents.boot)).decode("ascii"),
    }


def read_contents(path: str, sha256: str | None = None) -> Contents:
    """The release in the tarball at ``path``; with ``sha256`` (hex), only if that is its digest.

    Raises `Failure` cannot_read_emqx_vars, rel_vsn_not_found, cannot_read_build_info, and those of `archive.scan`.
    """
    texts: dict[str, bytes] = {}
    code = Code()

    def visit(member: Member, contents: Callable[[], bytes]) -> None:
        if member.kind == FILE and _TEXT(member.name):
            if member.size + sum(map(len, texts.values())) > _TEXT_LIMIT:
                raise ArchiveError("bad_tarball", f"it is past the limit of {_TEXT_LIMIT} bytes", member.name)
            texts[member.name] = contents()
        else:
            code.visit(member, contents)

    unpacks = scan(path, visit, expected_sha256=sha256)
    version = version_in(texts.get("releases/emqx_vars"), "the tarball")
    build_info = texts.get(f"releases/{version}/BUILD_INFO")
    if build_info is None:
        raise Failure("cannot_read_build_info", f"The tarball has no releases/{version}/BUILD_INFO.")
    released = _released(texts, version)
    vars_text = texts["releases/emqx_vars"].decode("utf-8", "replace")
    return Contents(
        version,
        parse_pairs(vars_text, "="),
        vars_text,
        parse_pairs(build_info.decode("utf-8", "replace"), ":"),
        released,
        _reboot_lists(texts, {app.folder for app in released}),
        code,
        unpacks,
    )


def _reboot_lists(texts: dict[str, bytes], folders: set[str]) -> Any:
    found = (_REBOOT_LISTS(name) for name in texts)
    return next((read_term(texts[each.string]) for each in found if each and each[1] in folders), None)


def _released(texts: dict[str, bytes], version: str) -> list[Released]:
    """The applications that the .rel files of a version name. One that can't be read names none."""
    found: list[Released] = []
    for name, content in texts.items():
        if name.startswith(f"releases/{version}/") and name.endswith(".rel"):
            try:
                found += read_rel(content)
            except SpecError:
                continue
    return found
