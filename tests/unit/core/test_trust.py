"""Whose files and folders are relied on: each place of a site, planted in each way."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from relup_remote.core import trust
from relup_remote.core.protocol import Failure
from relup_remote.core.site import Site, check_trust

from .others import NOBODY, as_root, by_nobody

TARGET = "5.10.5"

OURS = ["", "staging", "work"]
INSIDE = [
    *("lock", "journal.sqlite3", "journal.sqlite3-journal", "journal.sqlite3-wal", "outcome", "staging", "work"),
    *("staging/emqx.tar.gz", "staging/emqx.tar.gz.part", "staging/emqx.tar.gz.sha256", "work/run-1"),
]
PLACES = ["", "current", TARGET, ".relup_remote-5.10.5-0", f"{TARGET}/relup", f"{TARGET}/relup/current"]
"""Below `relup`, where a marker leads into the tree."""


class Ground:
    """A node's root with all that upgrades leave, in a folder that only we can change."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "emqx"
        self.data = self.base / "data"
        self.ours = self.data / "relup_remote"
        self.relup = self.base / "relup"
        self.data.mkdir(parents=True)
        for path in [self.ours / name for name in OURS]:
            path.mkdir(mode=0o700)
        for path in [self.ours / name for name in INSIDE]:
            if not path.exists():
                path.touch(0o600)
        for path in (self.relup, self.relup / TARGET, self.relup / TARGET / "relup"):
            path.mkdir()
            (path / "current").write_text(TARGET)
        (self.relup / TARGET / "current").unlink()
        (self.relup / ".relup_remote-5.10.5-0").mkdir(0o700)
        self.site = Site(str(self.base), str(self.data), None, None)

    def refusal(self) -> Failure:
        """Why the site is not relied on."""
        with pytest.raises(Failure) as caught:
            check_trust(self.site)
        return caught.value


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def is_named(failure: Failure, path: Path, err_type: str) -> None:
    """The failure names what is planted, and how."""
    assert (failure.err_type, failure.detail["path"]) == (err_type, str(path))
    assert str(path) in failure.message
    assert failure.hint
    found = path.lstat()
    assert failure.detail["owner_uid"] == found.st_uid
    assert failure.detail["mode"] == oct(found.st_mode & 0o7777)


def kind(path: Path) -> str:
    return "untrusted_dir" if path.is_dir() and not path.is_symlink() else "untrusted_file"


def link_in_place_of(path: Path) -> None:
    """Move what is there elsewhere, and lead there."""
    elsewhere = path.with_name(path.name + "-elsewhere") if path.name == "relup" else path.parents[3] / path.name
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def pipe_in_place_of(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.mkfifo(path)


def test_what_upgrades_leave_is_relied_on(ground: Ground) -> None:
    check_trust(ground.site)
    shutil.rmtree(ground.ours)
    shutil.rmtree(ground.relup)
    check_trust(ground.site)


# ------------------------------------------------------------------------------------------------- folders of ours


@pytest.mark.parametrize("folder", OURS)
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o711, 0o1777])
def test_a_folder_of_ours_that_is_open_to_others(ground: Ground, folder: str, mode: int) -> None:
    path = ground.ours / folder
    path.chmod(mode)
    is_named(ground.refusal(), path, "untrusted_dir")


@pytest.mark.parametrize("folder", OURS)
@pytest.mark.parametrize("plant", [link_in_place_of, pipe_in_place_of])
def test_what_is_no_folder_in_place_of_one_of_ours(ground: Ground, folder: str, plant: Callable[[Path], None]) -> None:
    path = ground.ours / folder
    plant(path)
    assert ground.refusal().detail["path"] == str(path)


@as_root
@pytest.mark.parametrize("name", [*OURS, *INSIDE])
def test_of_ours_but_of_another_user(ground: Ground, name: str) -> None:
    path = ground.ours / name
    os.chown(path, NOBODY, NOBODY)
    is_named(ground.refusal(), path, kind(path))


@pytest.mark.parametrize("name", [name for name in INSIDE if name not in OURS])
@pytest.mark.parametrize("plant", [link_in_place_of, pipe_in_place_of])
def test_in_a_folder_of_ours_but_no_file(ground: Ground, name: str, plant: Callable[[Path], None]) -> None:
    path = ground.ours / name
    plant(path)
    is_named(ground.refusal(), path, "untrusted_file")


# ------------------------------------------------------------------------------------------------- trees and markers


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("mode", [0o777, 0o757, 0o702])
def test_a_place_to_which_anyone_may_write(ground: Ground, place: str, mode: int) -> None:
    path = ground.relup / place
    path.chmod(mode)
    is_named(ground.refusal(), path, kind(path))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("plant", [link_in_place_of, pipe_in_place_of])
def test_a_place_that_leads_elsewhere(ground: Ground, place: str, plant: Callable[[Path], None]) -> None:
    path = ground.relup / place
    plant(path)
    is_named(ground.refusal(), path, "untrusted_file")


@as_root
@pytest.mark.parametrize("place", PLACES)
def test_a_place_of_another_user(ground: Ground, place: str) -> None:
    path = ground.relup / place
    os.chown(path, NOBODY, NOBODY)
    is_named(ground.refusal(), path, kind(path))
    # Who owns the root owns the node.
    os.chown(ground.base, NOBODY, NOBODY)
    check_trust(ground.site)


@as_root
@pytest.mark.parametrize("others", [True, False])
def test_a_place_to_which_a_group_may_write(ground: Ground, monkeypatch: pytest.MonkeyPatch, others: bool) -> None:
    """As many systems have it: a group for each user, and new folders that it may write to."""
    gid = 54321
    os.chown(ground.relup, -1, gid)
    ground.relup.chmod(0o775)
    member = list(pwd.getpwuid(NOBODY if others else os.geteuid()))
    member[3] = gid
    monkeypatch.setattr(pwd, "getpwall", lambda: [pwd.struct_passwd(member)])
    if others:
        is_named(ground.refusal(), ground.relup, "untrusted_dir")
    else:
        check_trust(ground.site)


def test_a_file_in_place_of_relup_is_for_others_to_judge(ground: Ground) -> None:
    shutil.rmtree(ground.relup)
    ground.relup.touch()
    check_trust(ground.site)


# ------------------------------------------------------------------------------------------------- the way


@pytest.mark.parametrize("folder", ["..", ".", "data"])
def test_a_way_through_a_folder_in_which_anyone_may_put_things(ground: Ground, folder: str) -> None:
    path = (ground.base / folder).resolve()
    path.chmod(0o777)
    is_named(ground.refusal(), path, "untrusted_dir")
    # Where only its owner can replace a thing, and that is us.
    path.chmod(0o1777)
    check_trust(ground.site)


@as_root
@pytest.mark.parametrize("planted", ["folder", "link", "way of a link"])
def test_what_another_put_into_a_folder_for_all(ground: Ground, tmp_path: Path, planted: str) -> None:
    shared, real = tmp_path / "shared", tmp_path / "real"
    shared.mkdir()
    shared.chmod(0o1777)
    real.mkdir()
    path = shared / "staging"
    if planted == "folder":
        path.mkdir()
    else:
        path.symlink_to(real)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    staging = path
    if planted == "way of a link":
        staging = tmp_path / "staging"
        staging.symlink_to(Path("shared") / "staging")
    ground.site = Site(str(ground.base), str(ground.data), str(staging), None)
    is_named(ground.refusal(), path, "untrusted_dir")
    os.chown(path, os.geteuid(), -1, follow_symlinks=False)
    check_trust(ground.site)


def test_links_that_lead_in_a_circle_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    trust.check_way(str(tmp_path / "a" / "c"))


# ------------------------------------------------------------------------------------------------- what can't be seen


@as_root
@pytest.mark.parametrize(
    ("owner", "mode", "users", "named"),
    [
        ("daemon", 0o700, [], "daemon"),
        ("root", 0o700, ["daemon"], "root"),
        ("root", 0o750, ["daemon"], "daemon"),
        ("root", 0o750, ["bin"], "root"),
        ("root", 0o750, [], "root"),
    ],
)
def test_who_may_see_what_is_closed_to_us_is_named(
    tmp_path: Path, owner: str, mode: int, users: list[str], named: str
) -> None:
    closed = tmp_path / "closed"
    (closed / "emqx").mkdir(parents=True)
    daemon = pwd.getpwnam("daemon")
    os.chown(closed, pwd.getpwnam(owner).pw_uid, daemon.pw_gid)
    closed.chmod(mode)
    uids = [pwd.getpwnam(user).pw_uid for user in users]
    for parent in tmp_path.parents[:-1]:
        parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)

    def look() -> None:
        with pytest.raises(Failure) as caught:
            trust.check_reachable(str(closed / "emqx" / "absent"), uids)
        assert (caught.value.err_type, caught.value.detail) == ("wrong_user", {"path": str(closed), "owner": named})

    by_nobody(tmp_path, look)
    trust.check_reachable(str(closed / "emqx" / "absent"))
