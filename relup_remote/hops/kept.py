"""What tarballs hold, kept on the operator's machine: reading one takes a second and more, and each command needs it.

The facts of a release follow from the tarball's bytes and from the code that reads them. So they are kept as JSON under
the digests of both, in the user's cache, see `relup_remote.core.kept`.
"""

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import relup_remote
from relup_remote.core.kept import Kept, key
from relup_remote.files import cache_folder
from relup_remote.hops.release import read_tarball

RELEASES = Kept("release-", ".json", at_most=8, largest=64 << 20)
_CODE = ("core", "hops")


def facts_of(path: str, sha256: str) -> dict[str, Any]:
    """The facts of the tarball at ``path``, whose digest is ``sha256`` (hex): as `read_tarball`, kept or read.

    Raises as `read_tarball`.
    """
    folder = cache_folder()
    if folder is None:
        return read_tarball(path, sha256)
    wanted = key(_reader(), [sha256])
    found = RELEASES.find(str(folder), wanted)
    if found is not None:
        return dict(json.loads(found))
    known = read_tarball(path, sha256)
    RELEASES.keep(str(folder), wanted, json.dumps(known).encode())
    return known


@functools.cache
def _reader() -> bytes:
    """The digests of the code that reads tarballs."""
    package = Path(relup_remote.__file__).parent
    sources = sorted(source for name in _CODE for source in (package / name).rglob("*.py"))
    return b"".join(hashlib.sha256(source.read_bytes()).digest() for source in sources)
