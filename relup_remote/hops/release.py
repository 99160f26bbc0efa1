"""Reading the release in a tarball, in one pass and without unpacking it."""

import base64
import re
from collections.abc import Callable
from typing import Any

from relup_remote.core.archive import FILE, ArchiveError, Member, scan
from relup_remote.core.protocol import Failure
from relup_remote.core.release import parse_pairs, version_in
from relup_remote.hops.app_file import SpecError, read_rel
from relup_remote.hops.code import Code

_TEXT = re.compile(r"releases/(emqx_vars|[^/]+/(BUILD_INFO|[^/]+\.rel))").fullmatch
_TEXT_LIMIT = 4 << 20


def read_tarball(path: str, sha256: str | None = None) -> dict[str, Any]:
    """The request's ``tarball.release`` for the tarball at ``path``: see `relup_remote.core.protocol`.

    With ``sha256`` (hex), only if that is its digest. Raises `Failure` cannot_read_emqx_vars, rel_vsn_not_found,
    cannot_read_build_info, and those of `archive.scan`.
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

    found = scan(path, visit, expected_sha256=sha256)
    version = version_in(texts.get("releases/emqx_vars"), "the tarball")
    build_info = texts.get(f"releases/{version}/BUILD_INFO")
    if build_info is None:
        raise Failure("cannot_read_build_info", f"The tarball has no releases/{version}/BUILD_INFO.")
    return {
        "version": version,
        "build_info": parse_pairs(build_info.decode("utf-8", "replace"), ":"),
        "mnesia_hook": code.has_module("mnesia", "mnesia_hook"),
        "files": found.files,
        "bytes": found.bytes,
        "code": base64.b64encode(code.term(_released(texts, version))).decode("ascii"),
    }


def _released(texts: dict[str, bytes], version: str) -> set[str]:
    """The folders in lib that the .rel files of a version name. One that can't be read names none."""
    folders: set[str] = set()
    for name, content in texts.items():
        if name.startswith(f"releases/{version}/") and name.endswith(".rel"):
            try:
                folders.update(f"{app}-{vsn}" for app, vsn in read_rel(content))
            except SpecError:
                continue
    return folders
