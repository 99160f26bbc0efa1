"""What is told of a release in a tarball: for what it may be deployed, and what its code is."""

import base64
import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.archive import ArchiveError
from relup_remote.core.erlang.term import decode
from relup_remote.core.protocol import Failure
from relup_remote.hops.beam import read_beam
from relup_remote.hops.release import read_tarball

from .beams import compiled, named, with_chunk
from .core.archive.tarballs import entry, hardlink, symlink, tarball
from .core.vm import SYSTEM
from .erlang_says import erl, facts, lib_dir, plain

VARS = b'REL_VSN="5.10.5"\nERTS_VSN=15.2\n'
INFO = b"erlang: \"27.3.4.2-8\"\nos: 'debian12'\nnot a pair\n"
REL = b'{release, {"emqx", "5.10.5"}, {erts, "15.2"}, [{a, "1"}, {b, "10", load}]}.'
RELEASE = {"releases/emqx_vars": VARS, "releases/5.10.5/BUILD_INFO": INFO, "releases/5.10.5/emqx.rel": REL}


def read(folder: Path, files: dict[str, bytes], *more: bytes) -> dict[str, Any]:
    """What is told of a tarball of these files and members."""
    members = [entry(name.encode(), data) for name, data in files.items()]
    return read_tarball(tarball(folder / "a.tar.gz", *members, *more))


def code(release: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of modules and applications, by name."""
    found = decode(base64.b64decode(release["code"], validate=True))
    assert list(found) == ["modules", "apps"]
    return tuple({name.decode(): facts for name, facts in found[key].items()} for key in found)  # type: ignore[return-value]


def modules(folder: Path, files: dict[str, bytes], *more: bytes) -> dict[str, Any]:
    """The facts of the modules of a release of these files and members."""
    return code(read(folder, {**files, **RELEASE}, *more))[0]


# ------------------------------------------------------------------------------------------------- the release


def test_a_release(tmp_path: Path) -> None:
    files = {
        **RELEASE,
        "releases/5.10.4/BUILD_INFO": b"erlang: 26\n",
        "lib/kernel-10.2/ebin/code.beam": b"123",
        "lib/mnesia-4.23/ebin/mnesia_hook.beam": b"1",
        "etc/emqx.conf": b"not deployed",
    }
    found = read(tmp_path, files)
    del found["code"]
    assert found == {
        "version": "5.10.5",
        "build_info": {"erlang": "27.3.4.2-8", "os": "debian12"},
        "mnesia_hook": True,
        "emqx_vars": RELEASE["releases/emqx_vars"].decode(),
        "files": 6,
        "bytes": sum(len(data) for name, data in files.items() if not name.startswith("etc/")),
    }


@pytest.mark.parametrize(
    "name", ["lib/mnesia-4.23/ebin/mnesia.beam", "lib/mnesia/ebin/mnesia_hook.beam", "lib/a-1/ebin/mnesia_hook.beam"]
)
def test_a_release_without_the_fork(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, {**RELEASE, name: b""})["mnesia_hook"] is False


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "cannot_read_emqx_vars"),
        ({"releases/emqx_vars": b""}, "rel_vsn_not_found"),
        ({"releases/emqx_vars": VARS}, "cannot_read_build_info"),
        ({"releases/emqx_vars": VARS, "releases/5.10.4/BUILD_INFO": INFO}, "cannot_read_build_info"),
        ({**RELEASE, "releases/5.10.4/BUILD_INFO": bytes(4 << 20)}, "bad_tarball"),
    ],
)
def test_tarballs_of_no_release(tmp_path: Path, files: dict[str, bytes], expected: str) -> None:
    with pytest.raises(Failure) as caught:
        read(tmp_path, files)
    assert caught.value.err_type == expected


def test_a_tarball_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"garbage")
    with pytest.raises(ArchiveError) as caught:
        read_tarball(str(tmp_path / "a.tar.gz"))
    assert caught.value.err_type == "bad_tarball"


def test_a_tarball_that_was_replaced_meanwhile(tmp_path: Path) -> None:
    read(tmp_path, RELEASE)
    with pytest.raises(ArchiveError) as caught:
        read_tarball(str(tmp_path / "a.tar.gz"), sha256="0" * 64)
    assert caught.value.err_type == "sha256_mismatch"


# ------------------------------------------------------------------------------------------------- the code


@pytest.fixture(scope="module")
def stdlib(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is told of a release that holds the system's stdlib and kernel, packed by tar."""
    folder = tmp_path_factory.mktemp("release")
    for name, data in RELEASE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    path, lib = folder / "a.tar.gz", lib_dir(SYSTEM)
    libs = [f"lib/{found.name}" for app in ("kernel", "stdlib") for found in lib.glob(f"{app}-*")]
    subprocess.run(["tar", "-chzf", path, "-C", folder, "releases", "-C", lib.parent, *libs], check=True)
    return read_tarball(str(path))


def test_facts_of_real_code(stdlib: dict[str, Any], tmp_path: Path) -> None:
    mods, apps = code(stdlib)
    paths = [path for app in ("kernel", "stdlib") for path in lib_dir(SYSTEM).glob(f"{app}-*/ebin/*.beam")]
    keys = ("md5", "exports", "behaviours", "calls", "on_load", "max_op")
    said = {
        path: list(map(plain, found)) for path, found in facts(SYSTEM, "beam_facts.script", paths, tmp_path).items()
    }
    for module, *_, imports, _, _ in said.values():
        imports[:] = sorted({called for called, _, _ in imports} - {module})
    assert {name: [plain(found[key]) for key in ("app", *keys)] for name, found in mods.items()} == {
        path.stem: [path.parts[-3].encode(), *said[path][1:]] for path in paths
    }
    specs = [path for app in ("kernel", "stdlib") for path in lib_dir(SYSTEM).glob(f"{app}-*/ebin/*.app")]
    said_of_apps = facts(SYSTEM, "app_facts.script", specs, tmp_path)
    assert {name: list(found.values()) for name, found in apps.items()} == {
        path.stem: [path.parts[-3].encode(), *said_of_apps[path][1:5]] for path in specs
    }


UNDERSTOOD = """
{ok, Text} = file:read_file(os:getenv("CODE")),
Term = base64:decode(Text),
#{modules := #{<<"lists">> := Facts} = Modules, apps := #{<<"stdlib">> := App}} = binary_to_term(Term),
#{md5 := Md5, exports := Exports, on_load := false, max_op := Op} = Facts,
true = Md5 =:= lists:module_info(md5),
true = lists:sort(Exports) =:= lists:sort([{atom_to_binary(F), A} || {F, A} <- lists:module_info(exports)]),
true = is_integer(Op),
#{applications := [<<"kernel">>], optional := []} = App,
io:format("~p ~p", [map_size(Modules), byte_size(Term)])
"""


def test_a_vm_understands_the_term(stdlib: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "code").write_text(stdlib["code"])
    count, size = map(int, erl(SYSTEM, UNDERSTOOD, CODE=str(tmp_path / "code")).split())
    assert count == len(code(stdlib)[0])
    assert size < 300 * count


def test_what_can_not_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {
            **RELEASE,
            "lib/a-1/ebin/good.beam": named("good"),
            "lib/a-1/ebin/short.beam": named("short")[:-1],
            "lib/a-1/ebin/other.beam": named("another"),
            "lib/a-1/ebin/größe.beam": named("größe"),
            "lib/a-1/ebin/large.beam": bytes((32 << 20) + 1),
            "lib/a-1/ebin/a.app": b"{application, a, []}.",
            "lib/a-1/ebin/b.app": b"{application, c, []}.",
            "lib/a-1/ebin/c.app": b"oops",
            "lib/a-1/priv/no.beam": b"",
            "lib/a-1/ebin/sub/no.beam": b"",
        },
        symlink(b"lib/a-1/ebin/lost.beam", b"nowhere.beam"),
        symlink(b"lib/a-1/ebin/spec.beam", b"a.app"),
    )
    mods, apps = code(found)
    assert {name: facts["error"].decode() for name, facts in mods.items() if "error" in facts} == {
        "short": "is cut short",
        "other": "holds the module another",
        "large": "is too large: it has more than 33554432 bytes",
        "lost": "is a link that leads to no such file",
        "spec": "is a link that leads to no such file",
    }
    assert mods.keys() >= {"good", "größe"}
    assert {name: facts.get("error") for name, facts in apps.items()} == {
        "a": None,
        "b": b"describes the application c",
        "c": b"is not understood",
    }


def test_a_name_that_is_no_text_is_no_module(tmp_path: Path) -> None:
    assert modules(tmp_path, {}, entry(b"lib/a-1/ebin/\xff.beam", named("x"))) == {}


def test_only_emqx_release_goes_along_whole(tmp_path: Path) -> None:
    beam = gzip.compress(compiled("-module(emqx_release).\n", tmp_path).read_bytes())
    found = modules(tmp_path, {"lib/emqx-1/ebin/emqx_release.beam": beam, "lib/emqx-1/ebin/emqx.beam": named("emqx")})
    assert {name: facts.get("code") for name, facts in found.items()} == {"emqx_release": beam, "emqx": None}


@pytest.mark.parametrize(
    ("folders", "counts"),
    [
        (["a-1", "a-2"], "a-1"),
        (["a-2", "a-1"], "a-1"),
        (["b-9", "b-10", "c-1"], "b-10"),
        (["d-1", "d-2"], "d-2"),
        (["d-2", "d-1"], "d-2"),
    ],
)
def test_of_two_versions_that_of_the_release_counts(tmp_path: Path, folders: list[str], counts: str) -> None:
    files = {f"lib/{folder}/ebin/twice.beam": named("twice", (f"of {folder}",)) for folder in folders}
    specs = {f"lib/{folder}/ebin/twice.app": b"{application, twice, []}." for folder in folders}
    mods, apps = code(read(tmp_path, {**files, **specs, **RELEASE}))
    assert (mods["twice"]["app"], mods["twice"]["exports"]) == (counts.encode(), [(f"of {counts}".encode(), 0)])
    assert apps["twice"]["dir"] == counts.encode()


def distinct(name: str, what: str) -> bytes:
    """A module whose code is another for each `what`."""
    return with_chunk(named(name), b"Meta", what.encode())


APPS = {"a": "a-1", "b": "b-10"}


def listing(**modules: str) -> dict[str, bytes]:
    """The .app files of applications, by the modules that they list."""
    return {
        f"lib/{APPS[app]}/ebin/{app}.app": f"{{application, {app}, [{{modules, [{listed}]}}]}}.".encode()
        for app, listed in modules.items()
    }


@pytest.mark.parametrize(
    ("listed", "folder"),
    [
        ({"a": "m", "b": ""}, "a-1"),
        ({"a": "", "b": "m"}, "b-10"),
        # It can't be told: the last by folder, as ever.
        ({"a": "", "b": ""}, "b-10"),
        ({"a": "m", "b": "m"}, "b-10"),
    ],
)
def test_of_two_applications_the_one_that_lists_a_module_has_it(
    listed: dict[str, str], folder: str, tmp_path: Path
) -> None:
    beams = {f"lib/{app}/ebin/m.beam": distinct("m", app) for app in APPS.values()}
    found = modules(tmp_path, {**beams, **listing(**listed)})["m"]
    assert (found["app"], found["md5"]) == (folder.encode(), read_beam(beams[f"lib/{folder}/ebin/m.beam"]).md5)


def test_an_application_of_the_release_comes_before_one_that_lists_a_module(tmp_path: Path) -> None:
    beams = {f"lib/{app}/ebin/m.beam": distinct("m", app) for app in ("a-1", "c-1")}
    spec = {"lib/c-1/ebin/c.app": b"{application, c, [{modules, [m]}]}."}
    assert modules(tmp_path, {**beams, **spec})["m"]["app"] == b"a-1"


def test_a_consolidated_protocol_counts(tmp_path: Path) -> None:
    places = ("lib/a-1/ebin", "releases/5.10.5/consolidated", "releases/5.10.4/consolidated")
    beams = {f"{place}/Elixir.P.beam": distinct("Elixir.P", place) for place in places}
    found = modules(tmp_path, {**beams, **listing(a="'Elixir.P'")})
    assert list(found) == ["Elixir.P"]
    place = "releases/5.10.5/consolidated"
    assert found["Elixir.P"]["md5"] == read_beam(beams[f"{place}/Elixir.P.beam"]).md5
    assert (found["Elixir.P"]["app"], found["Elixir.P"]["dir"]) == (b"a-1", place.encode())


def test_files_of_macos_are_no_modules(tmp_path: Path) -> None:
    files = {"lib/a-1/ebin/m.beam": named("m"), "lib/a-1/ebin/._m.beam": b"Mac OS X", "lib/a-1/ebin/._a.app": b"Mac"}
    release = read(tmp_path, {**files, **listing(a="m"), **RELEASE})
    found, apps = code(release)
    assert (list(found), list(apps)) == (["m"], ["a"])


def test_a_rel_file_that_is_none_names_no_versions(tmp_path: Path) -> None:
    files = {f"lib/a-{version}/ebin/twice.beam": named("twice") for version in (1, 2)}
    found = code(read(tmp_path, {**files, **RELEASE, "releases/5.10.5/emqx.rel": b"oops"}))[0]
    assert found["twice"]["app"] == b"a-2"


def test_links_are_followed(tmp_path: Path) -> None:
    beam = named("linked", ("f",))
    found = modules(
        tmp_path,
        {"lib/z-1/ebin/linked.beam": beam},
        hardlink(b"lib/a-1/ebin/linked.beam", b"./lib/z-1/ebin/linked.beam"),
        symlink(b"lib/b-10/ebin/linked.beam", b"../../a-1/ebin/./linked.beam"),
        symlink(b"lib/b-10/ebin/loop.beam", b"loop.beam"),
    )
    assert (found["linked"]["app"], found["linked"]["exports"]) == (b"b-10", [(b"f", 0)])
    assert found["loop"] == {"error": b"is a link that leads to no such file"}


def test_what_is_told_fits_a_request(stdlib: dict[str, Any]) -> None:
    assert json.loads(json.dumps(stdlib)) == stdlib
