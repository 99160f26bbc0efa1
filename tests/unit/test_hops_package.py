"""The package of the vendor's plugin as a catalogue: an archive, what it unpacks to, and the installed plugin."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from relup_remote import inventory
from relup_remote.commands.hop.check import _existing
from relup_remote.hops import catalogue, package
from relup_remote.hops.catalogue import Malformed, load, locate
from relup_remote.hops.check.helpers import facts_of
from relup_remote.hops.helpers import missing, unused, used
from relup_remote.usage import UsageError
from tests.unit.erlc import compile_all

from .core.others import as_root, by_nobody
from .test_commands import relup

NAME = "emqx_relup-1.0.0"
APP = f"{NAME}/{NAME}"
HOP = """#{from_version => "1.0", target_version => "1.1", code_changes => [{apply, tools, run, []}],
  post_upgrade_callbacks => [moved]}."""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a package."""
    folder = tmp_path_factory.mktemp("plugin")
    modules = {
        "tools": "-export([run/0]).\nrun() -> [M:run() || M <- [inner, none]].",
        "inner": "-export([run/0]).\nrun() -> ok.",
        "emqx_post_upgrade_1.1": "-export([moved/1]).\nmoved(_) -> ok.",
        "emqx_relup_main": "-export([start/0]).\nstart() -> ok.",
    }
    for name, body in modules.items():
        (folder / f"{name}.erl").write_text(f"-module('{name}').\n{body}\n")
    compile_all(folder.glob("*.erl"))
    return {
        f"{NAME}/release.json": json.dumps({"name": "emqx_relup", "rel_vsn": "1.0.0"}).encode(),
        f"{NAME}/README.md": b"",
        f"{APP}/priv/relup/1.0-to-1.1.relup": HOP.encode(),
        f"{APP}/priv/config_schema.avsc": b"{}",
        f"{APP}/ebin/emqx_relup.app": b"{application, emqx_relup, []}.",
        **{f"{APP}/ebin/{name}.beam": (folder / f"{name}.beam").read_bytes() for name in modules if name != "inner"},
        f"{NAME}/library-1.0/ebin/inner.beam": (folder / "inner.beam").read_bytes(),
    }


def archive(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def unpacked(folder: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_it_is_the_same_in_whatever_form_it_comes(plugin: dict[str, bytes], tmp_path: Path) -> None:
    packed = archive(tmp_path / f"{NAME}.tar.gz", plugin)
    folder = unpacked(tmp_path / "unpacked", plugin)
    for place in (packed, folder, folder / NAME, folder / APP):
        if place == folder / APP:
            # As it lies there alone, it is without the libraries.
            (folder / APP / "ebin" / "inner.beam").write_bytes(plugin[f"{NAME}/library-1.0/ebin/inner.beam"])
        found = load(*locate(str(place)))
        assert [(hop.file, hop.from_vsn, hop.target) for hop in found.hops] == [("1.0-to-1.1.relup", "1.0", "1.1")]
        assert [helper.file for helper in found.helpers] == [
            *("emqx_post_upgrade_1.1.beam", "emqx_relup_main.beam", "inner.beam", "tools.beam")
        ]
        assert found.malformed == ()
        assert {helper.module for helper in used(found.hops, found.helpers)} == {
            *("emqx_post_upgrade_1.1", "inner", "tools")
        }
        assert missing(found.hops, found.helpers) == []
        # The plugin's own modules are no mistake of whoever wrote the hops.
        assert unused(found.hops, found.helpers) == []


def test_what_a_beam_exports_is_known(plugin: dict[str, bytes], tmp_path: Path) -> None:
    found = load(archive(tmp_path / "p.tar.gz", plugin))
    (tools,) = [helper for helper in found.helpers if helper.module == "tools"]
    facts = facts_of(tools)
    assert (facts.name, facts.module, facts.error) == ("tools", "tools", None)
    assert facts.exports is not None
    assert ("run", 0) in facts.exports
    assert "inner" in facts.names


def test_a_hop_whose_helper_is_not_there_is_told(plugin: dict[str, bytes], tmp_path: Path) -> None:
    without = {name: content for name, content in plugin.items() if "emqx_post_upgrade" not in name}
    found = load(archive(tmp_path / "p.tar.gz", without))
    hop = HOP.replace("tools", "'emqx_post_upgrade_1.1'").encode()
    named = load(archive(tmp_path / "q.tar.gz", {**without, f"{APP}/priv/relup/1.0-to-1.1.relup": hop}))
    assert [mention.module for mention in missing(found.hops, found.helpers)] == []
    assert [mention.module for mention in missing(named.hops, named.helpers)] == ["emqx_post_upgrade_1.1"]


def test_beams_beside_hops_are_helpers_and_sources_come_first(plugin: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.relup").write_text(HOP)
    (tmp_path / "tools.beam").write_bytes(plugin[f"{APP}/ebin/tools.beam"])
    (tmp_path / "inner.beam").write_bytes(b"of another day")
    (tmp_path / "inner.erl").write_text("-module(inner).")
    (tmp_path / "bad.beam").write_bytes(b"FOR1")
    found = load(tmp_path)
    assert [helper.file for helper in found.helpers] == ["inner.erl", "tools.beam"]
    assert found.malformed == (Malformed("bad.beam", 0, 0, "is not a beam file", tmp_path),)


def test_commands_take_it(plugin: dict[str, bytes], tmp_path: Path) -> None:
    packed = str(archive(tmp_path / f"{NAME}.tar.gz", plugin))
    ended = relup("paths", "--strict", "--catalogue", packed)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("1.0 -> 1.1  1.0-to-1.1.relup\n")
    shown = json.loads(relup("hop.show", "1.0", "1.1", "--catalogue", packed, "--json").stdout)
    assert shown["helpers"] == ["emqx_post_upgrade_1.1.beam", "inner.beam", "tools.beam"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({f"{APP}/priv/relup/1.0-to-1.1.relup": None}, "it holds no hops (priv/relup/*.relup)"),
        ({f"../{NAME}/ebin/x.beam": b""}, "leads out of the tree"),
        ({"/etc/passwd": b""}, "is absolute"),
        ({f"{NAME}/other-1/ebin/tools.beam": b""}, "two files tools.beam"),
        ({f"{APP}/priv/relup/tools.beam": b""}, "two files tools.beam"),
        ({f"{APP}/ebin/large.beam": bytes(package.LARGEST + 1)}, "it has more than"),
    ],
    ids=["no hops", "out of it", "absolute", "twice", "twice in one", "large"],
)
def test_an_archive_that_is_no_package_is_refused(
    change: dict[str, bytes | None], reason: str, plugin: dict[str, bytes], tmp_path: Path
) -> None:
    members = {name: content for name, content in {**plugin, **change}.items() if content is not None}
    with pytest.raises(UsageError) as caught:
        load(archive(tmp_path / "p.tar.gz", members))
    assert caught.value.err_type == "no_catalogue"
    assert reason in str(caught.value)


WHOLE = gzip.compress(random.Random(3).randbytes(4096))
CUT = "the archive is cut off or damaged: the compressed data is cut short", "Fetch the package again, and compare"


@pytest.mark.parametrize(
    ("content", "reason", "hint"),
    [
        (b"", "the archive is cut off or damaged: the file is empty", CUT[1]),
        (
            b"no archive",
            "it is not a gzip file, and a package is one (.tar.gz)",
            "Name a folder with *.relup files, or",
        ),
        (WHOLE[:4], *CUT),
        (WHOLE[:400], *CUT),
        (WHOLE[:400] + b"x" * 40 + WHOLE[440:], "the archive is cut off or damaged: ", CUT[1]),
    ],
    ids=["empty", "text", "cut in the header", "cut", "damaged"],
)
def test_a_file_that_is_no_archive_is_refused(content: bytes, reason: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "p.tar.gz").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load(*locate(str(tmp_path / "p.tar.gz")))
    assert caught.value.err_type == "no_catalogue"
    assert f"p.tar.gz can't be used as a catalogue of hops: {reason}" in caught.value.message
    assert caught.value.hint.startswith(hint)


@as_root
def test_a_path_that_this_user_may_not_follow_is_told_as_that(tmp_path: Path) -> None:
    """Catalogues, inventories and hops: a closed folder hides whether there is anything."""
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "p.tar.gz").write_bytes(WHOLE)
    (tmp_path / "p.tar.gz").chmod(0o600)

    def try_all() -> None:
        for place in ("closed", "closed/x", "p.tar.gz"):
            with pytest.raises(UsageError) as caught:
                load(*locate(place))
            assert f"{place}" in caught.value.message
            assert "Permission denied" in caught.value.message
            assert caught.value.hint == catalogue.CHECK_ACCESS
        with pytest.raises(UsageError, match="can't be read: Permission denied"):
            inventory.load(Path("closed/hosts.yml"))
        with pytest.raises(UsageError, match="there is no such file, or it can't be reached"):
            _existing("closed/a.relup")

    by_nobody(tmp_path, try_all)


def test_a_folder_with_two_packages_is_refused(plugin: dict[str, bytes], tmp_path: Path) -> None:
    """As the node's folder of plugins may be, after an update of the plugin."""
    for version in ("1.0.9", "1.0.10"):
        unpacked(tmp_path, {name.replace("1.0.0", version): content for name, content in plugin.items()})
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert "more than one package with hops: " in str(caught.value)
    assert len(load(tmp_path / "emqx_relup-1.0.10").hops) == 1


def test_beam_files_that_no_request_has_room_for_are_refused(
    plugin: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MOST_CODE", 2000)
    with pytest.raises(UsageError, match="its beam files have more than 2000 bytes in all"):
        load(archive(tmp_path / "p.tar.gz", plugin))


def test_all_beam_files_of_several_catalogues_count(
    plugin: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {name: plugin[f"{APP}/ebin/{name}.beam"] for name in ("tools", "emqx_relup_main")}
    for name, content in code.items():
        unpacked(tmp_path / name, {f"{name}.beam": content})
    most = sum(map(len, code.values())) - 1
    monkeypatch.setattr(catalogue, "MOST_CODE", most)
    assert [len(load(tmp_path / name).helpers) for name in code] == [1, 1]
    with pytest.raises(UsageError, match=f"more than {most} bytes in all"):
        load(*(tmp_path / name for name in code))
