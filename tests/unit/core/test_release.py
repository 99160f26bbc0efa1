"""Reading releases: on disk, in tarballs, and which one the next boot runs."""

from pathlib import Path

import pytest

from relup_remote.core import release
from relup_remote.core.protocol import Failure

VARS = b"""# a comment
REL_VSN="5.10.5"
ERTS_VSN=15.2
export QUOTED='yes'
"""
INFO = b"""erlang: "27.3.4.2-8"
os: 'debian12'
arch: x86_64-pc-linux-gnu
relform: "
not a pair
"""
PAIRS = {"erlang": "27.3.4.2-8", "os": "debian12", "arch": "x86_64-pc-linux-gnu", "relform": '"'}
REL = """{release, {"emqx", "5.10.5"}, {erts, "15.2"},
 [{kernel, "10.2"}, {'quoted-app', "1.0", load}]}.
"""


def write(root: Path, name: str, content: bytes | str = b"x") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A deployed tree that is whole."""
    found = tmp_path / "emqx"
    write(found, "releases/emqx_vars", VARS)
    write(found, "releases/5.10.5/BUILD_INFO", INFO)
    write(found, "releases/5.10.5/emqx.rel", REL)
    write(found, "releases/5.10.5/start.boot")
    write(found, "bin/emqx")
    write(found, "erts-15.2/bin/beam.smp")
    app = (
        '%% modules: {modules, [commented_out]}\n{application, %s, [{vsn, "1"}, {modules, [%s]}, {registered, []}]}.\n'
    )
    for folder, name, modules in (
        ("kernel-10.2", "kernel", ["net_kernel", "code"]),
        ("quoted-app-1.0", "quoted-app", ["'odd module'"]),
    ):
        quoted = f"'{name}'" if "-" in name else name
        write(found, f"lib/{folder}/ebin/{name}.app", app % (quoted, ", ".join(modules)))
        for module in modules:
            write(found, f"lib/{folder}/ebin/{module.strip(chr(39))}.beam")
    return found


def err_type(call: object, *args: object) -> str:
    assert callable(call)
    with pytest.raises(Failure) as caught:
        call(*args)
    return caught.value.err_type


# ------------------------------------------------------------------------------------------------- facts


def test_a_tree(root: Path) -> None:
    facts = release.read_tree(str(root))
    assert facts == ("5.10.5", PAIRS, False)
    assert facts.otp_major() == "27"
    write(root, "lib/mnesia-4.23/ebin/mnesia_hook.beam")
    assert release.read_tree(str(root)).fork


@pytest.mark.parametrize(
    ("erlang", "major"),
    [("27.3.4.2-8", "27"), ("26", "26"), ("", ""), (None, "")],
    ids=["full", "bare", "empty", "none"],
)
def test_the_major_version_of_otp(erlang: str | None, major: str) -> None:
    assert release.TreeFacts("1", {} if erlang is None else {"erlang": erlang}, False).otp_major() == major


@pytest.mark.parametrize("version", ["5.10.5", "5.10.4-rc.3", "5.6.1+patch.A", "5.10.4-g53ab85b1", "1"])
@pytest.mark.parametrize("line", ['REL_VSN="{}"', "REL_VSN='{}'", "REL_VSN={}", ' REL_VSN = "{}" \r'])
def test_versions(version: str, line: str) -> None:
    text = f"A=1\nREL_VSN_OLD=9\n{line.format(version)}\nB=2\n"
    assert release.version_in(text.encode(), "here") == version


@pytest.mark.parametrize(
    "text", ["", "REL_VSN=", 'REL_VSN=""', "REL_VSN=../../etc", "REL_VSN=.5", "REL_VSN=a/b", "REL_VSN=a b", "\xff"]
)
def test_no_version(text: str) -> None:
    assert err_type(release.version_in, text.encode("latin-1"), "here") == "rel_vsn_not_found"


def test_trees_that_say_too_little(root: Path) -> None:
    (root / "releases/5.10.5/BUILD_INFO").unlink()
    assert err_type(release.read_tree, str(root)) == "cannot_read_build_info"
    (root / "releases/emqx_vars").unlink()
    assert err_type(release.read_tree, str(root)) == "cannot_read_emqx_vars"


# ------------------------------------------------------------------------------------------------- marker and chain


def deploy(base: Path, version: str) -> Path:
    tree = base / "relup" / version
    tree.mkdir(parents=True)
    (base / "relup" / "current").write_text(version)
    return tree


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"5.10.5", "5.10.5"),
        (b"5.10.5\n", "5.10.5"),
        (b" 5.10.5-rc.1 \r\n", "5.10.5-rc.1"),
        (b"", None),
        (b"\n", None),
        (b"..", None),
        (b"../..", None),
        (b"/etc", None),
        (b"5.10.5/../x", None),
        (b"5.10.5\n5.10.6", None),
        (b"5.10.5\0", None),
        (b"\xff\xfe", None),
        (b"5" * 2000, None),
    ],
)
def test_the_marker(tmp_path: Path, content: bytes, version: str | None) -> None:
    write(tmp_path, "relup/current", content)
    assert release.marker(str(tmp_path)) == version


def test_no_marker(tmp_path: Path) -> None:
    assert release.marker(str(tmp_path)) is None
    (tmp_path / "relup" / "current").mkdir(parents=True)
    assert release.marker(str(tmp_path)) is None


def test_the_boot_chain(tmp_path: Path) -> None:
    assert release.boot_chain(str(tmp_path)) == [str(tmp_path)]
    first = deploy(tmp_path, "5.10.5")
    second = deploy(first, "5.10.6")
    assert release.boot_chain(str(tmp_path)) == [str(tmp_path), str(first), str(second)]
    write(second, "relup/current", "5.10.7")
    assert release.boot_chain(str(tmp_path)) == [str(tmp_path), str(first), str(second)]
    write(tmp_path, "relup/current", "absent")
    assert release.boot_chain(str(tmp_path)) == [str(tmp_path)]


def test_a_chain_that_never_ends_is_cut(tmp_path: Path) -> None:
    deploy(tmp_path, "1").rmdir()
    (tmp_path / "relup" / "1").symlink_to(tmp_path)
    chain = release.boot_chain(str(tmp_path))
    assert 1 < len(chain) <= 64


# ------------------------------------------------------------------------------------------------- whole or not


def test_a_whole_tree_lacks_nothing(root: Path) -> None:
    assert release.missing_in(str(root)) == []


@pytest.mark.parametrize(
    "name",
    [
        "bin/emqx",
        "erts-15.2/bin/beam.smp",
        "releases/5.10.5/emqx.rel",
        "releases/5.10.5/start.boot",
        "lib/kernel-10.2/ebin/kernel.app",
        "lib/kernel-10.2/ebin/code.beam",
        "lib/quoted-app-1.0/ebin/quoted-app.app",
        "lib/quoted-app-1.0/ebin/odd module.beam",
    ],
)
def test_each_file_that_is_missing_is_named(root: Path, name: str) -> None:
    (root / name).unlink()
    assert release.missing_in(str(root)) == [name]


@pytest.mark.parametrize("name", ["releases/5.10.5/emqx.rel", "lib/kernel-10.2/ebin/kernel.app"])
@pytest.mark.parametrize("content", ["", "garbage", "{release}.", "{release, a, b, c}.", "{a, [", "a. b."])
def test_files_that_can_not_be_understood_count_as_missing(root: Path, name: str, content: str) -> None:
    write(root, name, content)
    assert release.missing_in(str(root)) == [name]


def test_what_is_no_release_lacks_all(tmp_path: Path) -> None:
    (message,) = release.missing_in(str(tmp_path))
    assert "emqx_vars" in message


# ------------------------------------------------------------------------------------------------- its modules


def test_all_modules_of_a_release(root: Path) -> None:
    write(root, "lib/kernel-10.2/ebin/unlisted.beam")
    write(root, "lib/stray-1/ebin/stray.beam")
    write(root, "lib/kernel-10.2/ebin/._code.beam")
    assert release.beams_in(str(root)) == [
        (name, str(root / "lib" / folder / "ebin" / f"{name}.beam"), is_listed)
        for name, folder, is_listed in (
            ("code", "kernel-10.2", True),
            ("net_kernel", "kernel-10.2", True),
            ("odd module", "quoted-app-1.0", True),
            ("unlisted", "kernel-10.2", False),
        )
    ]


@pytest.mark.parametrize(("twin", "lister"), [("odd module", "quoted-app-1.0"), ("code", "kernel-10.2")])
def test_of_two_with_one_name_the_listed_one_counts(root: Path, twin: str, lister: str) -> None:
    for folder in ("kernel-10.2", "quoted-app-1.0"):
        write(root, f"lib/{folder}/ebin/{twin}.beam")
    found = {beam.name: beam.path for beam in release.beams_in(str(root))}
    assert found[twin] == str(root / "lib" / lister / "ebin" / f"{twin}.beam")


def test_a_consolidated_protocol_comes_first(root: Path) -> None:
    write(root, "lib/kernel-10.2/ebin/Elixir.P.beam")
    write(root, "releases/5.10.5/consolidated/Elixir.P.beam")
    write(root, "releases/5.10.4/consolidated/Elixir.Q.beam")
    found = {beam.name: beam.path for beam in release.beams_in(str(root)) if beam.name.startswith("Elixir")}
    assert found == {"Elixir.P": str(root / "releases/5.10.5/consolidated/Elixir.P.beam")}


def test_what_is_no_release_has_none(root: Path) -> None:
    write(root, "lib/kernel-10.2/ebin/kernel.app", "garbage")
    assert {beam.is_listed for beam in release.beams_in(str(root)) if "kernel" in beam.path} == {False}
    write(root, "releases/5.10.5/emqx.rel", "garbage")
    assert release.beams_in(str(root)) == []
