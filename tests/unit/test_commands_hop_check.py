"""`hop.check` as an author meets it: what it prints and writes, and how it exits."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from .hop_defects import API, LIB, UPDATE
from .hop_releases import HELPER, HOP, Beams, write
from .test_commands import relup, wrong

LATE = HOP.replace(f"{LIB},\n      {API}", API).replace(UPDATE, f"{UPDATE},\n      {LIB}")


@pytest.fixture(scope="module")
def tarballs(beams: Beams, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The two releases, as options."""
    folder = tmp_path_factory.mktemp("releases")
    old, new = (str(write(folder, name, beams.files(name))) for name in ("old", "new"))
    return ["--from", old, "--to", new]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A folder with a hop and its helper."""
    (tmp_path / "right.relup").write_text(HOP)
    (tmp_path / HELPER.file).write_text(HELPER.text)
    return tmp_path


def test_a_hop_that_is_right(catalogue: Path, tarballs: list[str]) -> None:
    hop = catalogue / "right.relup"
    ended = relup("hop.check", str(hop), *tarballs)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{hop}: 1.0 -> 1.1\n\nmodules changed: 5 (demo 3, emqx 1, extra 1)\n")
    assert "9:7     5              note  used_after_restart  It calls extra:ready after" in ended.stdout
    assert ended.stdout.endswith("\n\n0 errors, 0 warnings, 1 note\n")


def test_a_warning_counts_if_it_is_to(catalogue: Path, tarballs: list[str]) -> None:
    (catalogue / "right.relup").write_text(LATE)
    hop = str(catalogue / "right.relup")
    ended = relup("hop.check", hop, *tarballs)
    assert ended.returncode == 0
    assert "\nload_order: Put the two load_module" in ended.stdout
    assert relup("hop.check", hop, *tarballs, "--strict").returncode == 1


def test_the_document(catalogue: Path, tarballs: list[str]) -> None:
    (catalogue / "right.relup").write_text(HOP.replace("log,", "logg,"))
    ended = relup("hop.check", str(catalogue / "right.relup"), *tarballs, "--json")
    found: dict[str, Any] = json.loads(ended.stdout)
    assert (ended.returncode, found["ok"], found["command"]) == (1, False, "hop.check")
    assert (found["from"], found["target"], found["counts"]["errors"]) == ("1.0", "1.1", 1)
    assert found["modules"]["added"] == {"extra": ["extra_coming"]}
    assert found["applications"] == {"added": [], "removed": [], "changed": ["extra"]}
    error = next(finding for finding in found["findings"] if finding["severity"] == "error")
    assert (error["err_type"], error["line"], error["column"], error["instruction"]) == (
        "function_not_exported",
        13,
        7,
        8,
    )
    assert (error["file"], error["hint"]) == (str(catalogue / "right.relup"), "Correct the hop.")


def test_the_hop_of_the_catalogue_and_a_log_for_code_review(catalogue: Path, tarballs: list[str]) -> None:
    sarif = catalogue / "log.sarif"
    ended = relup("hop.check", "-", "--catalogue", str(catalogue), *tarballs, "--sarif", str(sarif))
    assert ended.returncode == 0
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("used_after_restart", "note")


def test_the_hop_of_a_package_and_of_the_second_catalogue(catalogue: Path, tarballs: list[str]) -> None:
    package = catalogue / "relup-1.0.0.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        for name in ("right.relup", HELPER.file):
            archive.add(catalogue / name, f"relup-1.0.0/relup-1.0.0/priv/relup/{name}")
    (catalogue / "right.relup").unlink()
    for named in (str(package), f"{catalogue}:{package}"):
        ended = relup("hop.check", "-", "--catalogue", named, *tarballs)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout.startswith(f"{package}/right.relup: 1.0 -> 1.1\n")
        assert ended.stdout.endswith("\n\n0 errors, 0 warnings, 1 note\n")


def test_a_file_that_is_no_hop_is_a_finding(catalogue: Path, tarballs: list[str]) -> None:
    for content, place in ((b"#{from_version =>\n .", (2, 2)), (b'#{a => "\xff"}.', (1, 9))):
        (catalogue / "right.relup").write_bytes(content)
        ended = relup("hop.check", str(catalogue / "right.relup"), *tarballs, "--json")
        (error,) = json.loads(ended.stdout)["findings"]
        assert (ended.returncode, error["err_type"], (error["line"], error["column"])) == (1, "malformed_hop", place)


def test_wrong_use(catalogue: Path, tarballs: list[str]) -> None:
    hop = str(catalogue / "right.relup")
    assert "hop.check: --from and --to are missing: the tarballs" in wrong(relup("hop.check", hop))
    assert "hop.check: --from is missing" in wrong(relup("hop.check", hop, *tarballs[2:]))
    assert "hop.check: --to is missing" in wrong(relup("hop.check", hop, *tarballs[:2]))
    assert "/none: there is no such file" in wrong(relup("hop.check", "/none", *tarballs))
    assert "none.tar.gz" in wrong(relup("hop.check", hop, *tarballs[:2], "--to", "/none.tar.gz"))
    said = wrong(relup("hop.check", hop, *tarballs, "--sarif", "/none/log"))
    assert "hop.check: The folder /none does not exist. (`mkdir -p /none` makes it.)" in said
    said = wrong(relup("hop.check", str(catalogue), *tarballs))
    assert f"{catalogue} is a folder (Name a hop file in it.)" in said
    words = ("hop.check", "-", "--catalogue", str(catalogue), *tarballs)
    (catalogue / "other.relup").write_text(HOP)
    assert "1.0 -> 1.1: several files have this hop: other.relup, right.relup" in wrong(relup(*words))
    (catalogue / "other.relup").unlink()
    (catalogue / "right.relup").unlink()
    assert "1.0 -> 1.1: there is no such hop" in wrong(relup(*words))
