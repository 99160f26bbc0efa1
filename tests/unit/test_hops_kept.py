"""What tarballs hold is kept from one command to the next, and believed only where nobody else can have written it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.hops import kept
from relup_remote.hops.release import read_tarball
from relup_remote.rollout import tarball as tarballs

from .core.archive.tarballs import entry, tarball
from .core.others import NOBODY, as_root
from .test_hops_release import RELEASE


class Reads:
    """Reads tarballs, and counts how often one was really read."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.cache = folder / "cache" / "relup_remote"
        self._folder = folder

        def counted(path: str, sha256: str | None = None) -> dict[str, Any]:
            self.count += 1
            return read_tarball(path, sha256)

        patch.setattr(kept, "read_tarball", counted)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def facts(self, number: int = 0) -> dict[str, Any]:
        """The facts of one of many tarballs."""
        members = [entry(name.encode(), data) for name, data in RELEASE.items()]
        path = tarball(self._folder / "a.tar.gz", *members, entry(b"lib/a-1/priv/number", str(number).encode()))
        return tarballs.read(Path(path)).release

    @property
    def file(self) -> Path:
        """The one that is kept."""
        (found,) = self.cache.iterdir()
        return found


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(tmp_path, monkeypatch)


def test_a_tarball_is_read_once(reads: Reads) -> None:
    first = reads.facts()
    assert first["version"] == "5.10.5"
    assert reads.facts() == first
    assert reads.count == 1
    assert reads.file.stat().st_mode & 0o777 == 0o600
    assert reads.cache.stat().st_mode & 0o777 == 0o700


def test_another_tarball_or_another_reader_is_another_matter(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    reads.facts()
    reads.facts(1)
    assert reads.count == 2
    monkeypatch.setattr(kept, "_reader", lambda: b"another")
    reads.facts()
    assert reads.count == 3


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-10] ^= 1
    file.write_bytes(content)


def link(file: Path) -> None:
    file.symlink_to(file.rename(file.parent.parent / "elsewhere"))


HARM: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "one bit": flip,
    "a link": link,
    "its digest alone": lambda file: os.truncate(file, 32),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_not_whole_is_read_anew(reads: Reads, harm: str) -> None:
    first = reads.facts()
    HARM[harm](reads.file)
    assert [reads.facts() for _ in range(2)] == [first, first]
    assert reads.count == 2
    assert not reads.file.is_symlink()


@as_root
def test_a_file_of_another_user_is_not_believed(reads: Reads) -> None:
    first = reads.facts()
    os.chown(reads.file, NOBODY, NOBODY)
    assert reads.facts() == first
    assert reads.count == 2


def test_where_others_may_write_nothing_is_kept(reads: Reads) -> None:
    reads.facts()
    reads.cache.chmod(0o777)
    reads.facts()
    assert reads.count == 2


def test_few_are_kept(reads: Reads) -> None:
    for number in range(kept.RELEASES.at_most + 2):
        reads.facts(number)
        for age, file in enumerate(sorted(reads.cache.iterdir(), key=lambda each: each.stat().st_mtime_ns)):
            os.utime(file, (age, age))
    assert len(list(reads.cache.iterdir())) == kept.RELEASES.at_most
    reads.facts(kept.RELEASES.at_most + 1)
    assert reads.count == kept.RELEASES.at_most + 2


def test_what_is_wrong_with_a_tarball_is_not_kept(reads: Reads, tmp_path: Path) -> None:
    path = tarball(tmp_path / "b.tar.gz", entry(b"releases/emqx_vars", b""))
    for _ in range(2):
        assert "error" in tarballs.read(Path(path)).release
    assert reads.count == 2
    assert list(reads.cache.glob("release-*")) == []
    with pytest.raises(Failure):
        tarballs.read(tmp_path / "none.tar.gz")
