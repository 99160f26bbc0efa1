"""What tarballs hold, kept on the operator's machine: reading one takes a second and more, and each command needs it.

The facts of a release follow from the tarball's bytes and from the code that reads them. So they are kept under the
digests of both, in the user's cache, a file for each tarball: the SHA-256 of what follows, a line end, and the facts as
JSON. The folder is the user's own and closed to others; what is not whole is read from the tarball anew.
"""

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import relup_remote
from relup_remote.core.files import write_whole
from relup_remote.core.opening import read_small
from relup_remote.core.protocol import Failure
from relup_remote.files import cache_folder
from relup_remote.hops.release import read_tarball

AT_MOST = 8
"""As many tarballs are kept; of more the oldest go."""

_PREFIX = "release-"
_LARGEST = 64 << 20
_CODE = ("core", "hops")


def facts_of(path: str, sha256: str) -> dict[str, Any]:
    """The facts of the tarball at ``path``, whose digest is ``sha256`` (hex): as `read_tarball`, kept or read.

    Raises as `read_tarball`.
    """
    folder = cache_folder()
    if folder is None:
        return read_tarball(path, sha256)
    file = folder / f"{_PREFIX}{hashlib.sha256(f'{sha256} {_reader()}'.encode()).hexdigest()}.json"
    known = _kept(file)
    if known is None:
        known = read_tarball(path, sha256)
        _keep(file, known)
    return known


@functools.cache
def _reader() -> str:
    """A digest of the code that reads tarballs."""
    digest = hashlib.sha256()
    package = Path(relup_remote.__file__).parent
    for source in sorted(source for name in _CODE for source in (package / name).rglob("*.py")):
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()


def _kept(file: Path) -> dict[str, Any] | None:
    try:
        content = read_small(str(file), _LARGEST, owners={os.geteuid()})
    except Failure:
        return None
    digest, _, told = (content or b"").partition(b"\n")
    if hashlib.sha256(told).hexdigest().encode() != digest:
        return None
    return dict(json.loads(told))


def _keep(file: Path, facts: dict[str, Any]) -> None:
    told = json.dumps(facts)
    try:
        # In place of whatever is there: a link is not followed.
        write_whole(str(file), f"{hashlib.sha256(told.encode()).hexdigest()}\n{told}".encode())
        kept = sorted(file.parent.glob(f"{_PREFIX}*"), key=lambda each: each.lstat().st_mtime)
        for old in kept[:-AT_MOST]:
            old.unlink(missing_ok=True)
    except (OSError, Failure):
        # A full disk, or another command that tidies up: the next one reads the tarball.
        return
