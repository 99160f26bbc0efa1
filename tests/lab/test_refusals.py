"""Everything that is refused is refused by its own name, before anything of the node has changed."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import variants
from lab.cluster import Lab
from relup_remote.rollout.rows import Row
from tests.lab.cluster import BASE, NOTHING, Tool, code_of, disk_of, foreign
from tests.lab.core import CATALOGUE, Core

HOST = "n2"


@pytest.fixture
def untouched(lab: Lab) -> Iterator[None]:
    """Fails the test if the node's code, its files, or what is in its VM differ afterwards."""
    before = code_of(lab, HOST), disk_of(lab, HOST)
    yield
    assert (code_of(lab, HOST), disk_of(lab, HOST)) == before
    assert foreign(lab, HOST) == NOTHING


def refused(relup: Tool, err_type: str, stage: str, tarball: Path, catalogue: Path = CATALOGUE) -> None:
    """Plan and upgrade refuse, and the core would have if the upgrade had not looked first; all name what is wrong."""
    for row in (*by_command(relup, tarball, catalogue), Core(relup, HOST).upgrade(tarball, catalogue)):
        assert_refused(row, err_type, stage)


def by_command(relup: Tool, tarball: Path, catalogue: Path) -> Iterator[Row]:
    """The rows of plan and upgrade, whose exit status says that nothing was changed."""
    words = ("--tarball", str(tarball), "--catalogue", str(catalogue))
    for command, yes in (("plan", []), ("upgrade", ["--yes"])):
        ran = relup.run(command, "--host", HOST, *words, *yes)
        assert ran.status == 3, ran.stdout + ran.stderr
        yield ran.row(HOST)


def assert_refused(row: Row, err_type: str, stage: str) -> None:
    """It is refused by that name, and the operator is told what to do."""
    error = row["error"]
    assert (row["outcome"], error["err_type"], error["stage"]) == ("refused", err_type, stage), error
    assert error["message"]
    assert error["hint"]


VARIANTS: dict[str, tuple[Callable[[Path, Path], Path], str, str]] = {
    "without emqx_vars": (variants.without_emqx_vars, "cannot_read_emqx_vars", "extract"),
    "without REL_VSN": (variants.without_rel_vsn, "rel_vsn_not_found", "extract"),
    "another OTP": (variants.other_otp_major, "otp_major_vsn_mismatch", "extract"),
    "the fork of OTP": (variants.otp_fork, "otp_compatible_mismatch", "extract"),
    "another system": (variants.other_os, "os_arch_mismatch", "extract"),
    "another processor": (variants.other_arch, "os_arch_mismatch", "extract"),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.share(3)
@pytest.mark.parametrize("what", VARIANTS)
def test_tarballs_that_do_not_fit(what: str, relup: Tool, tarball: Path, tmp_path: Path) -> None:
    make, err_type, stage = VARIANTS[what]
    made = make(tarball, tmp_path / tarball.name)
    refused(relup, err_type, stage, made)


@pytest.mark.usefixtures("untouched")
def test_no_tarball(relup: Tool, tmp_path: Path) -> None:
    for row in by_command(relup, tmp_path / "none.tar.gz", CATALOGUE):
        assert_refused(row, "target_tarball_not_found", "stage")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("content", "err_type"),
    [
        (None, "missing_sha256_sidecar"),
        ("", "invalid_sha256_sidecar"),
        ("0123456789abcdef\n", "invalid_sha256_sidecar"),
        ("0" * 64 + "\n", "sha256_mismatch"),
    ],
)
def test_sidecars(content: str | None, err_type: str, relup: Tool, tarball: Path, tmp_path: Path) -> None:
    copy = tmp_path / tarball.name
    copy.symlink_to(tarball)
    if content is not None:
        copy.with_name(copy.name + ".sha256").write_text(content)
    refused(relup, err_type, "checksum", copy)


@pytest.mark.usefixtures("untouched")
def test_sidecar_that_is_no_file(relup: Tool, tarball: Path, tmp_path: Path) -> None:
    copy = tmp_path / tarball.name
    copy.symlink_to(tarball)
    copy.with_name(copy.name + ".sha256").mkdir()
    refused(relup, "cannot_read_sha256_sidecar", "checksum", copy)


@pytest.mark.usefixtures("untouched")
def test_tarball_cut_short(relup: Tool, tarball: Path, tmp_path: Path) -> None:
    short = tmp_path / tarball.name
    short.write_bytes(tarball.read_bytes()[:1_000_000])
    subprocess.run(f"sha256sum {short.name} > {short.name}.sha256", shell=True, cwd=tmp_path, check=True)
    refused(relup, "bad_tarball", "stage", short)


@pytest.mark.usefixtures("untouched")
def test_tarball_that_climbs_out(relup: Tool, tarball: Path, tmp_path: Path) -> None:
    made = variants.variant(tarball, tmp_path / tarball.name, add={"lib/../../escaped": b"x"})
    refused(relup, "unsafe_tarball", "stage", made)


@pytest.mark.usefixtures("untouched")
def test_patches(lab: Lab, relup: Tool, tarball: Path) -> None:
    patches = lab.root(HOST) / "data" / "patches"
    had = patches.is_dir()
    patches.mkdir(exist_ok=True)
    patch = patches / "emqx_stats.beam"
    patch.write_bytes(b"")
    try:
        refused(relup, "patches_dir_not_empty", "patches", tarball)
        assert relup.run("plan", "--host", HOST, "--tarball", str(tarball), "--force").row(HOST)["outcome"] == "ready"
    finally:
        patch.unlink()
        if not had:
            patches.rmdir()


@pytest.mark.usefixtures("untouched")
def test_version_that_runs_already(relup: Tool, base_tarball: Path) -> None:
    for command, yes in (("plan", []), ("upgrade", ["--yes"])):
        ran = relup.run(command, "--host", HOST, "--tarball", str(base_tarball), *yes)
        assert (ran.status, ran.nothing_to_do()) == (0, "already_upgraded_to_target_vsn")
    row = Core(relup, HOST).upgrade(base_tarball, CATALOGUE)
    assert row["facts"]["nothing_to_do"]["err_type"] == "already_upgraded_to_target_vsn"


@pytest.mark.usefixtures("untouched")
def test_no_hop(relup: Tool, tarball: Path, tmp_path: Path) -> None:
    ran = relup.run("plan", "--host", HOST, "--tarball", str(tarball), "--catalogue", str(tmp_path))
    assert ran.error(HOST)["err_type"] == "no_relup_entry"
    refused(relup, "no_relup_entry", "extract", tarball, tmp_path)


@pytest.mark.usefixtures("untouched")
def test_no_write_permission(lab: Lab, relup: Tool, tarball: Path) -> None:
    # Nobody, root included, can make anything below a file.
    place = lab.root(HOST) / "relup"
    place.touch()
    try:
        refused(relup, "no_write_permission", "extract", tarball)
    finally:
        place.unlink()


@pytest.mark.usefixtures("untouched")
def test_no_room(lab: Lab, tarball: Path, tmp_path: Path) -> None:
    # A file system that has no room for anyone, ever.
    inventory = tmp_path / "inventory.yml"
    text = lab.inventory_path.read_text()
    inventory.write_text(text.replace("defaults:", "defaults:\n  staging_dir: /proc/staging", 1))
    refused(Tool(inventory), "disk_full", "stage", tarball)


# What the VM itself finds in the hop.

DEFECTS: dict[str, tuple[str, str, str]] = {
    "an unknown instruction": ("code_changes =>", "code_changes => [{reload, emqx}] ++", "invalid_instr"),
    "a module that is nowhere": (
        "code_changes =>",
        "code_changes => [{load_module, emqx_nowhere}] ++",
        "module_not_found",
    ),
    "an application that is nowhere": (
        "code_changes =>",
        "code_changes => [{restart_application, nowhere}] ++",
        "app_not_found",
    ),
    "a wrong arity": (
        "code_changes =>",
        "code_changes => [{apply, emqx, is_running, [1]}] ++",
        "function_not_exported",
    ),
    "the kernel restarted": (
        "code_changes =>",
        "code_changes => [{restart_application, kernel}] ++",
        "app_not_restartable",
    ),
    "no list of changes": ("code_changes =>", "no_changes =>", "malformed_hop"),
}


@pytest.mark.usefixtures("untouched")
@pytest.mark.share(8)
@pytest.mark.parametrize("defect", DEFECTS)
def test_hops_that_can_not_run(defect: str, relup: Tool, tarball: Path, tmp_path: Path) -> None:
    old, new, err_type = DEFECTS[defect]
    catalogue = edited(tmp_path / "catalogue", old, new)
    for row in (*by_command(relup, tarball, catalogue), Core(relup, HOST).upgrade(tarball, catalogue)):
        assert_found(row, err_type)


@pytest.mark.usefixtures("untouched")
def test_hop_that_is_no_erlang(relup: Tool, tarball: Path, tmp_path: Path) -> None:
    """It is not sent to any host."""
    for row in by_command(relup, tarball, edited(tmp_path / "catalogue", "code_changes =>", "code_changes => a b ++")):
        assert_found(row, "malformed_hop")


def edited(catalogue: Path, old: str, new: str) -> Path:
    """The catalogue with something else written in the hop."""
    shutil.copytree(CATALOGUE, catalogue)
    hop = catalogue / f"{BASE}-to-5.10.5-lab.relup"
    text = hop.read_text()
    assert old in text
    hop.write_text(text.replace(old, new, 1))
    return catalogue


def assert_found(row: Row, err_type: str) -> None:
    """It is refused, for that among others."""
    assert row["outcome"] == "refused"
    assert err_type in [row["error"]["err_type"], *(problem["err_type"] for problem in row["problems"])]
