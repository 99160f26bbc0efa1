"""The small texts beside and in a release: emqx_vars, BUILD_INFO, the marker, the tarball's sidecar."""

import re
import types
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core import release
from relup_remote.core.checks import digest_of_sidecar
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure
from relup_remote.rollout.tarball import sidecar

from .inputs import bounded, damaged, fuzz

VARS = b'# vars\nREL_VSN="5.10.5"\nERTS_VSN="15.2"\nREL_NAME="emqx"\n'
INFO = b'arch: "x86_64-pc-linux-gnu"\nos: "debian12"\nerlang: "27.3.4.2-8"\n'
DIGEST = b"0123456789abcdef" * 4
PARTS = (b"REL_VSN", b"=", b'"', b"'", b"\n", b"\r", b"..", b"/", b".", b"5", b"-", b"\0", b"\xc2\x85", b"\xff", b" ")

texts = st.lists(st.sampled_from(PARTS) | st.binary(max_size=3), max_size=20).map(b"".join)


def is_one_part(version: str) -> bool:
    """Whether a path that it is put into stays in its folder."""
    return "/" not in version and "\0" not in version and version not in ("", ".", "..")


@fuzz
@given(damaged(VARS) | texts | texts.map(lambda text: b"REL_VSN=" + text))
def test_emqx_vars(data: bytes) -> None:
    try:
        assert is_one_part(release.version_in(data, "here"))
    except Failure as failure:
        assert failure.err_type == "rel_vsn_not_found"


@fuzz
@given(damaged(VARS) | texts, damaged(INFO) | texts)
def test_trees(tmp_path: Path, emqx_vars: bytes, build_info: bytes) -> None:
    folder = tmp_path / "releases" / "5.10.5"
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "releases" / "emqx_vars").write_bytes(emqx_vars)
    (folder / "BUILD_INFO").write_bytes(build_info)
    try:
        facts = release.read_tree(str(tmp_path))
    except Failure as failure:
        assert failure.err_type in ("rel_vsn_not_found", "cannot_read_build_info")
    else:
        assert facts.version == "5.10.5"
        assert all(re.fullmatch(r"\w+", key) for key in facts.build_info)
        assert isinstance(facts.otp_major(), str)


@fuzz
@given(damaged(b"5.10.5\n") | texts)
def test_markers(tmp_path: Path, content: bytes) -> None:
    base = tmp_path / "base"
    (base / "relup" / "5.10.5").mkdir(parents=True, exist_ok=True)
    (tmp_path / "outside").mkdir(exist_ok=True)
    (base / "relup" / "current").write_bytes(content)
    version = release.marker(str(base))
    assert version is None or is_one_part(version)
    found = release.deployed(str(base))
    assert found is None or Path(found[1]).parent == base / "relup"
    assert all(Path(root).is_relative_to(base) for root in release.boot_chain(str(base)))
    assert release.marked_version(str(base)) == version


def test_a_marker_that_leads_on_and_on(tmp_path: Path) -> None:
    deepest = tmp_path
    for _ in range(70):
        deepest = deepest / "relup" / "1"
    deepest.mkdir(parents=True)
    for folder in [deepest, *deepest.parents]:
        if folder.name == "relup":
            (folder / "current").write_text("1")
    assert len(release.boot_chain(str(tmp_path))) == 64


@fuzz
@given(st.one_of(damaged(DIGEST + b"  emqx.tar.gz\n"), texts, st.binary(max_size=80)))
def test_sidecars(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "emqx.tar.gz.sha256").write_bytes(content)
    tarball = {"name": "emqx.tar.gz", "sidecar": sidecar(tmp_path / "emqx.tar.gz")}
    context = cast("Context", types.SimpleNamespace(tarball=tarball))
    try:
        assert re.fullmatch("[0-9a-f]{64}", digest_of_sidecar(context))
    except Failure as failure:
        assert failure.err_type == "invalid_sha256_sidecar"


@pytest.mark.parametrize("part", [b"\n", b"a=", b"=", b'"', b"REL_VSN=5\n", b" "])
def test_a_large_file(part: bytes) -> None:
    with bounded():
        parsed: Any = release.parse_pairs((part * (1 << 20)).decode(), "=")
    assert isinstance(parsed, dict)
