"""`hop.draft` as an author meets it: what it prints and writes, and how it exits."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relup_remote.hops.hop_file import read_hop

from .hop_releases import Beams, Edit, write
from .test_commands import relup, wrong

HOP, HELPER = "1.0-to-1.1.relup", "emqx_post_upgrade_1.1.erl"


@pytest.fixture(scope="module")
def tarballs(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The two releases, as options."""
    folder = tmp_path_factory.mktemp("releases")
    old, new = (str(write(folder, name, beams.files(name))) for name in ("old", "new"))
    return ["--from", old, "--to", new]


def test_without_a_file_the_hop_and_nothing_else_is_on_stdout(tarballs: list[str]) -> None:
    ended = relup("hop.draft", *tarballs)
    assert ended.returncode == 0
    hop = read_hop("a.relup", ended.stdout)
    assert [getattr(change, "text", None) for change in hop.changes] == [
        "{load_module, demo_api}",
        "{load_module, demo_lib}",
        "{load_module, extra_coming}",
        "{load_module, extra}",
        "{update, demo_worker, {advanced, []}}",
        "{load_module, emqx_release}",
    ]
    assert ended.stderr.startswith(
        "1 question left to the author, in lines with REVIEW\n\n1.0-to-1.1.relup: 1.0 -> 1.1\n"
    )
    assert re.search(r"^0 errors, 0 warnings, \d+ notes?$", ended.stderr, re.MULTILINE)
    assert relup("hop.draft", *tarballs, "--quiet").stderr == ""


def test_the_same_tarballs_give_the_same_bytes_wherever_they_lie(
    beams: Beams, tarballs: list[str], tmp_path: Path
) -> None:
    moved = [str(write(tmp_path, name, beams.files(name))) for name in ("old", "new")]
    there = relup("hop.draft", "--from", moved[0], "--to", moved[1], "--quiet").stdout
    assert there == relup("hop.draft", *tarballs, "--quiet").stdout
    assert "old.tar.gz" not in there


def test_with_a_file_it_is_written_and_the_helper_beside_it(tarballs: list[str], tmp_path: Path) -> None:
    file = tmp_path / HOP
    ended = relup("hop.draft", *tarballs, "-o", str(file), "--callback", "log", "--callback", "settle/2")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[:5] == [
        f"written: {tmp_path / HELPER}",
        f"written: {file}",
        "3 questions left to the author, in lines with REVIEW",
        "",
        f"{file}: 1.0 -> 1.1",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [HOP, HELPER]
    assert relup("hop.check", str(file), *tarballs, "--strict").returncode == 0


def test_the_document(tarballs: list[str], tmp_path: Path) -> None:
    words = ("hop.draft", *tarballs, "--callback", "settle", "--json", "-o", str(tmp_path / HOP))
    found: dict[str, Any] = json.loads(relup(*words).stdout)
    assert (found["command"], found["ok"], found["from"], found["target"]) == ("hop.draft", True, "1.0", "1.1")
    assert found["written"] == [str(tmp_path / HELPER), str(tmp_path / HOP)]
    assert found["text"] == (tmp_path / HOP).read_text()
    assert found["helper"] == {"file": HELPER, "text": (tmp_path / HELPER).read_text()}
    assert found["questions"] == 2
    assert found["counts"]["errors"] == 0


def test_nothing_that_is_there_is_replaced_unasked(tarballs: list[str], tmp_path: Path) -> None:
    words = ("hop.draft", *tarballs, "--callback", "settle", "-o", str(tmp_path / HOP))
    (tmp_path / HELPER).write_text("mine")
    assert f"{tmp_path / HELPER}: exists already; --force replaces it" in wrong(relup(*words))
    assert [path.name for path in tmp_path.iterdir()] == [HELPER]
    assert (tmp_path / HELPER).read_text() == "mine"
    assert relup(*words, "--force").returncode == 0
    assert "-module(" in (tmp_path / HELPER).read_text()


def test_a_draft_that_can_not_run_is_written_and_said_not_to(beams: Beams, tarballs: list[str], tmp_path: Path) -> None:
    info = "releases/1.1/BUILD_INFO"
    edit = Edit(texts={info: ("25.2", "26.0")})
    other = write(tmp_path, "other", edit.of(beams.files("new")))
    ended = relup("hop.draft", *tarballs[:2], "--to", str(other), "-o", str(tmp_path / HOP))
    assert ended.returncode == 1
    assert "otp_major_vsn_mismatch" in ended.stdout
    assert (tmp_path / HOP).is_file()


def test_wrong_use(tarballs: list[str], tmp_path: Path) -> None:
    assert "hop.draft: --from and --to are missing" in wrong(relup("hop.draft"))
    assert "hop.draft: --to is missing" in wrong(relup("hop.draft", *tarballs[:2]))
    assert "none.tar.gz" in wrong(relup("hop.draft", *tarballs[:2], "--to", "/none.tar.gz"))
    assert "both releases are 1.0" in wrong(relup("hop.draft", *tarballs[:2], "--to", tarballs[1]))
    assert "--callback must be NAME or NAME/ARITY" in wrong(relup("hop.draft", *tarballs, "--callback", "No"))
    assert "--callback needs a value" in wrong(relup("hop.draft", "--callback"))
    assert f"-o is missing: {HELPER} must be written" in wrong(relup("hop.draft", *tarballs, "--callback", "f"))
    said = wrong(relup("hop.draft", *tarballs, "-o", "/none/a.relup"))
    assert "hop.draft: The folder /none does not exist. (`mkdir -p /none` makes it.)" in said
    assert "no host or group" in wrong(relup("hop.draft", *tarballs, "--host", "x", "--inventory", inventory(tmp_path)))


def inventory(folder: Path) -> str:
    file = folder / "hosts.yml"
    file.write_text("hosts: {n1: {}}")
    return str(file)
