"""Folders of ours, which cores that end beside this one take away while they are empty."""

import os
import stat
from pathlib import Path

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.core.site import OURS, Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(str(tmp_path), str(tmp_path), None, None)


@pytest.mark.parametrize("gone", ["work", OURS])
def test_a_folder_that_is_taken_away_meanwhile_is_made_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    made = list[str]()
    original = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        original(path, mode)
        made.append(path)
        if len(made) < 6 and Path(path).name == gone:
            Path(path).rmdir()

    monkeypatch.setattr(os, "mkdir", mkdir)
    path = Path(site.make_ours("work", "mine"))
    assert path == tmp_path / OURS / "work" / "mine"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert len(made) >= 6


def test_one_that_can_not_be_made_is_a_failure(site: Site, tmp_path: Path) -> None:
    (tmp_path / OURS).touch()
    with pytest.raises(Failure) as caught:
        site.make_ours("work")
    assert caught.value.err_type == "untrusted_dir"
