"""The operator's tarball: what the hosts are told of it before they get it."""

import codecs
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relup_remote.core.protocol import Failure
from relup_remote.files import open_file

SIDECAR_BYTES = 1 << 16
"""A sidecar is a line, or a few where a release has several files; of any file this much is read at most."""

_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True)
class Tarball:
    """A tarball that is there. ``sidecar`` and ``release`` are in the request's own shape."""

    path: Path
    bytes: int
    sha256: str
    sidecar: dict[str, Any]
    release: dict[str, Any]

    @property
    def version(self) -> str | None:
        """The release in it, unless that can't be told."""
        version = self.release.get("version")
        return None if version is None else str(version)

    def to_json(self) -> dict[str, Any]:
        """The request's ``tarball``."""
        return {
            "name": self.path.name,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "sidecar": self.sidecar,
            "release": self.release,
        }


def read(path: Path) -> Tarball:
    """Read a tarball's size, digest, sidecar and release.

    What is wrong with its contents goes along, for each host to refuse. Raises `Failure`
    (``target_tarball_not_found``, stage ``stage``) if there is no such file, or none that can be read.
    """
    try:
        sha256 = _sha256(path)
        return Tarball(path, path.stat().st_size, sha256, sidecar(path), _release(path, sha256))
    except OSError as error:
        raise Failure(
            "target_tarball_not_found", f"{path}: {error.strerror}.", detail={"path": str(path)}, stage="stage"
        ) from error


def sidecar(path: Path) -> dict[str, Any]:
    """The request's ``sidecar`` for the tarball at ``path``: its `.sha256` file, judged by the host."""
    beside = path.with_name(f"{path.name}.sha256")
    try:
        with os.fdopen(open_file(beside), "rb") as file:
            content = file.read(SIDECAR_BYTES)
    except FileNotFoundError:
        return {"status": "missing", "text": ""}
    except OSError:
        return {"status": "unreadable", "text": ""}
    # Windows PowerShell writes UTF-16.
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    return {"status": "ok", "text": content.decode(encoding, errors="replace")}


def _sha256(path: Path) -> str:
    with os.fdopen(open_file(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _release(path: Path, sha256: str) -> dict[str, Any]:
    # Commands without a tarball need no reader of archives.
    from relup_remote.hops.kept import facts_of  # noqa: PLC0415

    try:
        return facts_of(str(path), sha256)
    except Failure as failure:
        error = {"err_type": failure.err_type, "message": failure.message, "detail": failure.detail}
        return {"error": error}
