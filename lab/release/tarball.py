"""Release tarballs as official ones are made, but the same bytes for the same contents."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TIME = 1_700_000_000
"""The modification time of all that is in a tarball, seconds since the epoch."""


class File(NamedTuple):
    """A file to be: its content, or where to take it from."""

    content: bytes | Path
    executable: bool = False

    def read(self) -> bytes:
        """Its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


Tree = Mapping[str, File]
"""Files by their names, relative to the root."""


@contextmanager
def writing(path: Path, level: int) -> Iterator[tarfile.TarFile]:
    """A tarball to add members to, compressed by gzip at ``level``."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=level, mtime=TIME) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        yield tar


def write(path: Path, tree: Tree, directories: Iterable[str] = (), level: int = 6) -> None:
    """Write a tarball of the files, the folders they lie in, and the empty ``directories``; sorted, owned by root."""
    folders = {str(parent) for name in tree for parent in Path(name).parents} | set(directories)
    with writing(path, level) as tar:
        for name in sorted(folders - {"."} | tree.keys()):
            if name in tree:
                content = tree[name].read()
                tar.addfile(member(name, len(content), tree[name].executable), io.BytesIO(content))
            else:
                folder = member(name, 0, executable=True)
                folder.type = tarfile.DIRTYPE
                tar.addfile(folder)


def member(name: str, size: int, executable: bool = False) -> tarfile.TarInfo:
    """The header of a file of ``size`` bytes."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime = size, TIME
    header.mode = 0o755 if executable else 0o644
    header.uname = header.gname = "root"
    return header


def sidecar(tarball: Path) -> Path:
    """Where a tarball's digest lies."""
    return tarball.with_name(tarball.name + ".sha256")


def write_sidecar(tarball: Path) -> None:
    """Write the digest of a tarball beside it, as `sha256sum` does."""
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    sidecar(tarball).write_text(f"{digest}  {tarball.name}\n")
