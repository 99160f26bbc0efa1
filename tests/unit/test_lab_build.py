"""The lab's releases: their shape, that they are the same bytes each time, and that the hops cover their changes."""

import hashlib
import re
import struct
import subprocess
import tarfile
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest

from lab import build, variants
from lab.errors import LabError
from lab.layout import PROJECT
from lab.release import otp, sources
from relup_remote.hops.beam import read_beam

BASE = "5.10.4-lab"
CATALOGUE = PROJECT / "priv" / "relup"


@pytest.fixture(scope="session")
def tarballs() -> dict[str, Path]:
    """All releases as labs use them, built if what they are made of has changed."""
    return build.build_all()


@pytest.fixture(scope="session")
def base(tarballs: dict[str, Path]) -> Path:
    return tarballs[BASE]


@pytest.fixture(scope="session")
def lean() -> Path:
    """The base as the tests' labs have it."""
    return build.build_release(BASE, traits=sources.LEAN)


@lru_cache(maxsize=4)
def files(tarball: Path) -> dict[str, bytes | None]:
    """The members by name, None for what is no file."""
    with tarfile.open(tarball) as tar:
        return {header.name: file.read() if (file := tar.extractfile(header)) else None for header in tar}


def names(tarball: Path) -> list[str]:
    return list(files(tarball))


def content(tarball: Path, name: str) -> str:
    found = files(tarball)[name]
    assert found is not None
    return found.decode()


def code(beam: bytes) -> bytes:
    """What the MD5 of a module tells apart: its chunks but for those that say how it was compiled.

    A beam is an IFF file: ``FOR1``, a size, ``BEAM``, then chunks of a name, a size, and contents padded to four bytes.
    """
    digest, at = hashlib.md5(), 12
    while at < len(beam):
        name, size = struct.unpack_from(">4sI", beam, at)
        if name not in (b"CInf", b"Dbgi", b"Docs", b"Attr"):
            digest.update(beam[at : at + 8 + size])
        at += 8 + (size + 3) // 4 * 4
    return digest.digest()


def modules(tarball: Path) -> dict[str, tuple[str, bytes]]:
    """Of each module its application and what tells its code from another version's."""
    found = {}
    for name, beam in files(tarball).items():
        place = re.fullmatch(r"lib/(\w+)-[^/]+/ebin/([^/]+)\.beam", name)
        if place and beam is not None:
            found[place[2]] = (place[1], code(beam))
    return found


# The tarball


def test_unpacks_as_an_official_one(base: Path) -> None:
    with tarfile.open(base) as tar:
        members = tar.getmembers()
    erts = f"erts-{otp.find().erts}"
    assert {member.name.split("/")[0] for member in members} == {
        "bin", "data", "erts-" + otp.find().erts, "etc", "lib", "log", "plugins", "releases",
    }  # fmt: skip
    assert sum(member.size for member in members) > 30_000_000
    assert {(member.uname, member.uid, member.gid) for member in members} == {("root", 0, 0)}
    modes = {member.name: member.mode for member in members}
    assert {modes[f"bin/{name}"] for name in ("emqx", "emqx_ctl", "nodetool")} == {0o755}
    assert modes[f"{erts}/bin/beam.smp"] == 0o755
    assert modes["etc/emqx.conf"] == 0o644


def test_every_member_lies_in_a_folder_that_came_before_it(base: Path) -> None:
    seen = {"."}
    for name in names(base):
        assert str(Path(name).parent) in seen
        assert name not in seen
        seen.add(name)
    assert names(base) == sorted(names(base))


def test_says_what_it_is(base: Path) -> None:
    installed = otp.find()
    assert content(base, "releases/start_erl.data") == f"{installed.erts} {BASE}\n"
    variables = content(base, "releases/emqx_vars").splitlines()
    assert f'REL_VSN="{BASE}"' in variables
    assert f'ERTS_VSN="{installed.erts}"' in variables
    facts = content(base, f"releases/{BASE}/BUILD_INFO").splitlines()
    assert f'erlang: "{installed.version}"' in facts
    assert f'arch: "{installed.arch}"' in facts
    assert f'os: "{otp.os_name()}"' in facts


def test_release_file_and_app_files_name_what_is_there(tarballs: dict[str, Path]) -> None:
    for version, tarball in tarballs.items():
        there = set(names(tarball))
        release = content(tarball, f"releases/{version}/emqx.rel")
        applications = re.findall(r'\{(\w+), "([^"]+)"(?:, load)?\}', release.partition("[")[2])
        assert {"kernel", "compiler", "mnesia", "emqx", "ekka"} <= {name for name, _ in applications}
        for name, vsn in applications:
            spec = content(tarball, f"lib/{name}-{vsn}/ebin/{name}.app")
            listed = re.search(r"\{\s*modules\s*,\s*\[(.*?)\]", spec, re.DOTALL)
            assert listed
            own = re.findall(r"\w+", listed[1]) if name in sources.APPS else []
            assert {f"lib/{name}-{vsn}/ebin/{module}.beam" for module in own} <= there
        assert f"releases/{version}/start.boot" in there


def test_sidecar_is_what_sha256sum_reads(base: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", f"{base.name}.sha256"], cwd=base.parent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


# Building


def test_built_once(base: Path, tarballs: dict[str, Path]) -> None:
    before = base.stat()
    assert build.build_all(base.parent) == tarballs
    assert base.stat() == before
    assert not list(base.parent.glob(".build-*"))


def test_built_again_when_a_part_is_lost(base: Path, tmp_path: Path) -> None:
    """The same inputs give the same bytes."""
    for path in base.parent.glob(f"*{BASE}*"):
        (tmp_path / path.name).hardlink_to(path)
    inputs = build.digest_of_inputs(otp.find())
    parts = [tmp_path / f"emqx-{BASE}.tar.gz.sha256", tmp_path / f".emqx-{BASE}.tar.gz.inputs"]
    for part in parts:
        assert build._is_current(tmp_path / base.name, inputs)
        kept = part.rename(tmp_path / "kept")
        assert not build._is_current(tmp_path / base.name, inputs)
        kept.rename(part)
    left = tmp_path / ".build-killed"
    left.mkdir()
    for part in parts:
        part.unlink()
    assert build.build_release(BASE, tmp_path).read_bytes() == base.read_bytes()
    assert all(part.exists() for part in parts)
    assert not left.exists()


def test_digest_tells_when_sources_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = otp.find()
    monkeypatch.setattr(sources, "HERE", tmp_path)
    source = tmp_path / "a.erl"
    source.write_text("one")
    first = build.digest_of_inputs(installed)
    assert build.digest_of_inputs(installed) == first
    source.write_text("two")
    assert build.digest_of_inputs(installed) != first


def test_unknown_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        build.build_release("1.0", tmp_path)
    assert caught.value.err_type == "unknown_release"
    assert BASE in caught.value.hint


def test_source_that_does_not_compile_is_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = sources.App("emqx", "1", "", {"emqx": "-module(emqx).\nnonsense"})
    monkeypatch.setattr(sources, "apps", lambda *_: [broken])
    with pytest.raises(LabError) as caught:
        build.build_release(BASE, tmp_path)
    assert caught.value.err_type == "build_failed"
    assert "emqx.erl" in caught.value.hint
    assert not list(tmp_path.glob("*emqx*"))


def test_traits_of_real_releases(base: Path, tmp_path: Path) -> None:
    made = build.build_release(BASE, tmp_path, sources.Traits(machine=False, libraries=2, elixir=True))
    assert made.name == f"emqx-{BASE}+plain+2libs+elixir.tar.gz"
    there = set(names(made))
    assert f"releases/{BASE}/consolidated/Elixir.Lab.Protocol.beam" in there
    assert {f"lib/lab_library_002-1.0.002/ebin/lab_library_002_{each:02}.beam" for each in range(1, 11)} <= there
    assert not [name for name in there if "emqx_machine" in name]
    release = content(made, f"releases/{BASE}/emqx.rel")
    assert re.search(
        r'\{emqx, "[^"]+"\}.*\{elixir, "1.15.7"\}.*\{lab_library_001, "1.0.001", load\}', release, re.DOTALL
    )
    assert 'elixir: "1.15.7"' in content(made, f"releases/{BASE}/BUILD_INFO")
    consolidated, plain = (
        code(files(made)[name] or b"") for name in sorted(there) if name.endswith("/Elixir.Lab.Protocol.beam")
    )
    assert consolidated != plain
    usual = content(base, f"releases/{BASE}/emqx.rel")
    assert re.search(r'\{mnesia, "[^"]+", load\}.*\{emqx, "[^"]+", load\}.*\{emqx_machine, "[^"]+"\}', usual, re.DOTALL)
    assert 'IS_ELIXIR="${IS_ELIXIR:-no}"' in content(base, "releases/emqx_vars")


def test_lean_releases_run_the_same_code(base: Path, lean: Path) -> None:
    assert lean == base.parent / "lean" / base.name
    assert lean.stat().st_size < base.stat().st_size / 2
    beam = re.compile(r"lib/[^/]+/ebin/[^/]+\.beam")
    whole, less = (
        {name: content for name, content in files(tarball).items() if content and beam.fullmatch(name)}
        for tarball in (base, lean)
    )
    left_out = {name.split("/")[1].split("-")[0] for name in whole.keys() - less.keys()}
    assert left_out == set(otp.LOADED) - set(otp.LEAN_LOADED)
    assert {name: read_beam(content).md5 for name, content in less.items()} == {
        name: read_beam(content).md5 for name, content in whole.items() if name in less
    }
    stdlib = otp.find().app_dir("stdlib")
    lists = f"lib/{stdlib.name}/ebin/lists.beam"
    assert (b"Dbgi" in whole[lists], b"Dbgi" in less[lists]) == (True, False)
    # It was not stripped where it was taken from.
    assert (stdlib / "ebin" / "lists.beam").read_bytes() == whole[lists]


# The differences between the releases, and the hops


def changed(old: Path, new: Path) -> set[str]:
    """The modules that are new or other."""
    before = modules(old)
    return {module for module, found in modules(new).items() if before.get(module) != found}


def test_each_release_differs_from_the_one_before(tarballs: dict[str, Path]) -> None:
    line = [tarballs[version] for version in ("5.10.4-lab", "5.10.5-lab", "5.10.6-lab")]
    for old, new in pairwise(line):
        different = changed(old, new)
        assert {"emqx_release", "emqx_metrics"} <= different
        assert not different & {"kernel", "emqx_rules_001"}
    bench = changed(line[0], tarballs["5.10.9-lab"])
    rules = {f"emqx_rules_{number:03}" for number in range(1, sources.COPIES + 1)}
    assert bench == rules | {"emqx_release", "emqx_pool_worker"}


EVALUATE = """
{ok, Hop} = file:script(hd(init:get_plain_arguments())),
#{from_version := From, target_version := Target, code_changes := Changes} = Hop,
io:format("~ts~n~ts~n", [From, Target]),
[io:format("~ts ~ts~n", [element(1, Change), element(2, Change)]) || Change <- Changes],
halt().
"""


def read_hop(path: Path) -> tuple[str, str, list[tuple[str, str]]]:
    """From and target version of a hop, and each instruction's name and first argument; by Erlang itself."""
    command = ["erl", "-noinput", "-boot", "no_dot_erlang", "-eval", " ".join(EVALUATE.split()), "-extra", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=300)
    source, target, *changes = done.stdout.splitlines()
    return source, target, [(what, whom) for what, _, whom in (change.partition(" ") for change in changes)]


@pytest.mark.parametrize("path", sorted(CATALOGUE.glob("*.relup")), ids=lambda path: path.stem)
def test_hop_covers_every_module_that_differs(path: Path, tarballs: dict[str, Path]) -> None:
    source, target, changes = read_hop(path)
    assert path.name == f"{source}-to-{target}.relup"
    restarted = {whom for what, whom in changes if what == "restart_application"}
    loaded = {whom for what, whom in changes if what in ("load_module", "update")}
    covered = loaded | {module for module, (app, _) in modules(tarballs[target]).items() if app in restarted}
    assert changed(tarballs[source], tarballs[target]) <= covered
    helpers = {helper.stem for helper in CATALOGUE.glob("*.erl")}
    assert loaded <= modules(tarballs[target]).keys() | helpers


def test_hops_lead_from_the_base_everywhere(tarballs: dict[str, Path]) -> None:
    there = {path.name for path in CATALOGUE.glob("*.relup")}
    assert {f"{BASE}-to-{version}.relup" for version in tarballs if version != BASE} <= there


# Variants, of the release that is the smallest


def test_variant_drops_replaces_adds_and_renames(lean: Path, tmp_path: Path) -> None:
    made = variants.variant(
        lean,
        tmp_path / "made.tar.gz",
        drop=["bin/nodetool"],
        replace={"etc/emqx.conf": b"other"},
        add={"lib/../../escaped": b"x"},
        rename=lambda name: name.replace("plugins", "extensions"),
    )
    expected = [name.replace("plugins", "extensions") for name in names(lean) if name != "bin/nodetool"]
    assert names(made) == [*expected, "lib/../../escaped"]
    assert content(made, "etc/emqx.conf") == "other"
    assert modules(made) == modules(lean)
    done = subprocess.run(["sha256sum", "-c", "made.tar.gz.sha256"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0


def test_variant_without_sidecar(lean: Path, tmp_path: Path) -> None:
    variants.variant(lean, tmp_path / "made.tar.gz", sidecar=False)
    assert [path.name for path in tmp_path.iterdir()] == ["made.tar.gz"]


def test_variant_of_what_is_not_there(lean: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="bin/emqs"):
        variants.variant(lean, tmp_path / "made.tar.gz", drop=["bin/emqs"])


VARIANTS: list[tuple[Callable[[Path, Path], Path], str, str]] = [
    (variants.without_rel_vsn, "releases/emqx_vars", r"(?s)(?!.*REL_VSN).*ERTS_VSN"),
    (variants.other_otp_major, f"releases/{BASE}/BUILD_INFO", rf'(?s).*erlang: "(?!{otp.find().version})\d+\.'),
    (variants.other_os, f"releases/{BASE}/BUILD_INFO", rf'(?s).*os: "(?!{otp.os_name()}")\w+"'),
    (variants.other_arch, f"releases/{BASE}/BUILD_INFO", rf'(?s).*arch: "(?!{otp.find().arch}")[\w-]+"'),
]


@pytest.mark.parametrize(("make", "name", "expected"), VARIANTS, ids=lambda value: getattr(value, "__name__", ""))
def test_named_variants(
    make: Callable[[Path, Path], Path], name: str, expected: str, lean: Path, tmp_path: Path
) -> None:
    made = make(lean, tmp_path / "made.tar.gz")
    assert not re.match(expected, content(lean, name))
    assert re.match(expected, content(made, name))


def test_variants_by_members(lean: Path, tmp_path: Path) -> None:
    bare = variants.without_emqx_vars(lean, tmp_path / "bare.tar.gz")
    assert set(names(lean)) - set(names(bare)) == {"releases/emqx_vars"}
    fork = variants.otp_fork(lean, tmp_path / "fork.tar.gz")
    (added,) = set(names(fork)) - set(names(lean))
    assert re.fullmatch(r"lib/mnesia-[^/]+/ebin/mnesia_hook\.beam", added)


def test_renamed_release(lean: Path, tmp_path: Path) -> None:
    made = variants.renamed(lean, tmp_path / "made.tar.gz", "5.10.7-lab")
    assert 'REL_VSN="5.10.7-lab"' in content(made, "releases/emqx_vars")
    assert '{"emqx", "5.10.7-lab"}' in content(made, "releases/5.10.7-lab/emqx.rel")
    assert "releases/5.10.7-lab/start.boot" in names(made)
    assert not [name for name in names(made) if BASE in name]
