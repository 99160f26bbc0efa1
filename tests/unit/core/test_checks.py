"""All that is refused before any change, on a site made of a real VM and folders."""

import io
from pathlib import Path
from typing import Any

import pytest

from lab.release import otp
from relup_remote.core import checks
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure
from relup_remote.core.running_node import find
from relup_remote.core.site import Site

from .others import as_root
from .vm import Otp, Vm, running_vm

DIGEST = "0123456789abcdef" * 4
UPPER = DIGEST.upper()
OTP = otp.find().version.partition(".")[0]
"""The major version of the VM's OTP."""


def make_release(root: Path, version: str, major: str = OTP) -> None:
    info = root / "releases" / version / "BUILD_INFO"
    info.parent.mkdir(parents=True)
    info.write_text(f'erlang: "{major}.3"\nos: "debian12"\narch: "x86_64"\n')
    (root / "releases" / "emqx_vars").write_text(f'REL_VSN="{version}"\n')


class Scene:
    """An upgrade from 5.10.4 to 5.10.5 that nothing stands in the way of, to be spoilt by a test."""

    def __init__(self, vm: Vm, base: Path) -> None:
        make_release(base, "5.10.4")
        self.base = base
        self.data = base / "data"
        self.data.mkdir()
        self.node = find(None, vm.name)
        assert self.node is not None
        facts = {
            "version": "5.10.5",
            "build_info": {"erlang": f"{OTP}.9", "os": "debian12", "arch": "x86_64"},
            "mnesia_hook": False,
            "bytes": 1000,
        }
        self.tarball: dict[str, Any] = {
            "name": "emqx-5.10.5.tar.gz",
            "bytes": 1000,
            "sha256": DIGEST,
            "sidecar": {"status": "ok", "text": DIGEST},
            "release": facts,
        }
        self.paths: list[dict[str, str]] = []
        self.hops = [{"file": "a.relup", "from": "5.10.4", "target": "5.10.5", "text": ""}]
        self.options: dict[str, Any] = {}
        self.running = "5.10.4"

    def context(self) -> Context:
        assert self.node is not None
        node = self.node._replace(root=str(self.base), base=str(self.base), data_dir=str(self.data))
        request = {"run": "r", "tarball": self.tarball, "hops": self.hops, "paths": self.paths, "options": self.options}
        context = Context(request, Site(str(self.base), str(self.data), None, node), lambda _: None, io.BytesIO())
        context.result.running = context.result.from_vsn = self.running
        return context

    def refused(self) -> dict[str, Failure]:
        """The refusals by their err_type."""
        context = self.context()
        try:
            found = checks.refusals(context)
        finally:
            context.close()
        assert all(failure.stage and not failure.changed for failure in found)
        return {failure.err_type: failure for failure in found}


@pytest.fixture
def scene(vm: Vm, tmp_path: Path) -> Scene:
    return Scene(vm, tmp_path)


# ------------------------------------------------------------------------------------------------- the sidecar


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        DIGEST + "\n",
        "\n  " + DIGEST,
        UPPER,
        f"{DIGEST}  emqx-5.10.5.tar.gz\n",
        f"{DIGEST} *emqx-5.10.5.tar.gz\n",
        f"\\{DIGEST}  odd\\nname\n",
        f"{DIGEST}  another-name\n",
        DIGEST + "\r\n",
        "\ufeff" + DIGEST,
        f"{'f' * 64}  more\n{DIGEST}  emqx-5.10.5.tar.gz\n",
        f"{'f' * 64}  more\r\n\r\n{DIGEST} *dist/emqx-5.10.5.tar.gz\r\n",
        f"SHA256 (emqx-5.10.5.tar.gz) = {DIGEST}\n",
        f"SHA256 (more) = {'f' * 64}\nSHA256 (emqx-5.10.5.tar.gz) = {UPPER}\n",
        f"SHA512 (emqx-5.10.5.tar.gz) = {'f' * 128}\nSHA256 (emqx-5.10.5.tar.gz) = {DIGEST}\n",
        f"# digests\n{DIGEST}  emqx-5.10.5.tar.gz\n",
    ],
)
def test_sidecars_that_are_understood(scene: Scene, text: str) -> None:
    scene.tarball["sidecar"]["text"] = text
    assert checks.digest_of_sidecar(scene.context()) == DIGEST
    assert scene.refused() == {}


@pytest.mark.parametrize(
    "text", ["", "\n", DIGEST[:63], DIGEST + "0", DIGEST + "f  name", "g" * 64, f"SHA1 (a) = {DIGEST}", f"a {DIGEST}"]
)
def test_sidecars_that_name_no_digest(scene: Scene, text: str) -> None:
    scene.tarball["sidecar"]["text"] = text
    assert list(scene.refused()) == ["invalid_sha256_sidecar"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{DIGEST}  another-name\n{'f' * 64}  more\n", "of other files"),
        (f"{DIGEST}  emqx-5.10.5.tar.gz\n{'f' * 64}  emqx-5.10.5.tar.gz\n", "several"),
    ],
)
def test_sidecars_that_do_not_say_which_digest(scene: Scene, text: str, said: str) -> None:
    scene.tarball["sidecar"]["text"] = text
    refused = scene.refused()
    assert list(refused) == ["invalid_sha256_sidecar"]
    assert said in refused["invalid_sha256_sidecar"].message


@pytest.mark.parametrize(
    ("status", "err_type"), [("missing", "missing_sha256_sidecar"), ("unreadable", "cannot_read_sha256_sidecar")]
)
def test_sidecars_that_are_not_there(scene: Scene, status: str, err_type: str) -> None:
    scene.tarball["sidecar"] = {"status": status}
    assert scene.refused()[err_type].stage == "checksum"


def test_a_digest_that_is_another(scene: Scene) -> None:
    scene.tarball["sha256"] = "f" * 64
    assert scene.refused()["sha256_mismatch"].detail == {"expected": DIGEST, "actual": "f" * 64}


# ------------------------------------------------------------------------------------------------- the rest


def test_nothing_stands_in_the_way_and_nothing_is_changed(scene: Scene) -> None:
    before = sorted(path for path in scene.base.rglob("*"))
    assert scene.refused() == {}
    assert sorted(path for path in scene.base.rglob("*")) == before


def test_patches(scene: Scene) -> None:
    patches = scene.data / "patches"
    patches.mkdir()
    (patches / "README").touch()
    assert scene.refused() == {}
    for name in ("b.beam", "a.beam"):
        (patches / name).touch()
    detail = scene.refused()["patches_dir_not_empty"].detail
    assert detail == {"folder": str(patches), "patches": ["a.beam", "b.beam"], "count": 2}
    scene.options["force"] = True
    assert scene.refused() == {}


def test_the_version_that_runs(scene: Scene) -> None:
    scene.running = "5.10.5"
    found = scene.refused()["restart_differs"]
    assert found.message == f"The node runs 5.10.5, but its next restart boots 5.10.4 from {scene.base}."
    (scene.base / "relup").mkdir()
    (scene.base / "relup" / "current").write_text("5.10.5")
    assert "its tree" in scene.refused()["restart_differs"].message
    make_release(scene.base / "relup" / "5.10.5", "5.10.5")
    assert list(scene.refused()) == ["duplicate_pending_target"]


def test_the_version_that_runs_and_was_booted(scene: Scene) -> None:
    scene.running = "5.10.5"
    make_release(scene.base, "5.10.5")
    assert list(scene.refused()) == ["already_upgraded_to_target_vsn"]
    # What can't be known is no refusal of its own.
    (scene.base / "releases" / "emqx_vars").unlink()
    assert "restart_differs" not in scene.refused()


@pytest.mark.parametrize(
    ("fact", "value", "err_type"),
    [
        ("erlang", "99", "otp_major_vsn_mismatch"),
        ("erlang", "", "otp_major_vsn_mismatch"),
        ("os", "el9", "os_arch_mismatch"),
        ("arch", "aarch64", "os_arch_mismatch"),
    ],
)
def test_builds_that_do_not_go_together(scene: Scene, fact: str, value: str, err_type: str) -> None:
    scene.tarball["release"]["build_info"][fact] = value
    failure = scene.refused()[err_type]
    assert failure.stage == "extract"
    assert (value or OTP) in failure.message


def test_forks_that_do_not_go_together(scene: Scene) -> None:
    scene.tarball["release"]["mnesia_hook"] = True
    assert scene.refused()["otp_compatible_mismatch"].detail == {"running_is_fork": False, "target_is_fork": True}


def test_no_hop_and_too_many(scene: Scene) -> None:
    scene.hops.append(dict(scene.hops[0], file="b.relup"))
    assert scene.refused()["ambiguous_hop"].detail == {"files": ["a.relup", "b.relup"]}
    scene.hops = [dict(scene.hops[0], **{"from": "5.10.3"})]
    failure = scene.refused()["no_relup_entry"]
    assert failure.detail == {"supported": ["5.10.3 -> 5.10.5"]}
    assert failure.message == "The catalogue has no hop 5.10.4 -> 5.10.5; from 5.10.4 it has none."


def test_no_hop_to_the_target_but_others(scene: Scene) -> None:
    pairs = [("5.10.4", "5.10.6"), ("5.10.3", "5.10.5"), ("5.10.4", "5.10.4-rc"), ("5.9.0", "5.9.1")]
    scene.paths = [{"from": source, "target": target} for source, target in pairs]
    scene.hops = []
    failure = scene.refused()["no_relup_entry"]
    assert failure.detail == {"supported": ["5.10.4 -> 5.10.6", "5.10.3 -> 5.10.5", "5.10.4 -> 5.10.4-rc"]}
    assert failure.message == (
        "The catalogue has no hop 5.10.4 -> 5.10.5; from 5.10.4 it has hops to 5.10.6, 5.10.4-rc."
    )


@pytest.mark.parametrize("where", ["bytes", "release"])
def test_too_little_room(scene: Scene, where: str) -> None:
    (scene.tarball if where == "bytes" else scene.tarball["release"])["bytes"] = 1 << 60
    detail = scene.refused()["disk_full"].detail
    assert detail["free_bytes"] < detail["needed_bytes"]


def test_what_is_staged_already_needs_no_room(scene: Scene) -> None:
    staged = Path(scene.context().staged)
    staged.parent.mkdir(parents=True)
    with staged.open("wb") as file:
        file.truncate(1 << 40)
    scene.tarball["bytes"] = 1 << 40
    assert scene.refused() == {}


def test_a_place_where_nothing_can_be_written(scene: Scene) -> None:
    (scene.base / "relup").touch()
    assert scene.refused()["no_write_permission"].detail == {"path": str(scene.base / "relup")}


@as_root
def test_a_place_that_the_vm_is_kept_from_writing(epmd: int, tmp_path: Path) -> None:
    base, home = tmp_path / "base", tmp_path / "home"
    base.mkdir()
    home.mkdir()
    # As systemd does with ProtectSystem.
    erl = tmp_path / "erl"
    own = f"mount --bind {base} {base} && mount -o remount,bind,ro {base} && exec erl"
    erl.write_text(f'#!/bin/sh\nexec unshare --mount sh -c \'{own} "$@"\' erl "$@"\n')
    erl.chmod(0o755)
    with running_vm(epmd, home, otp=Otp(str(erl))) as vm:
        failure = Scene(vm, base).refused()["no_write_permission"]
        assert failure.message == f"We may write to {base / 'relup'}, but the VM may not."
        assert failure.stage == "extract"
    with running_vm(epmd, home) as vm:
        assert Scene(vm, tmp_path / "other").refused() == {}


def test_a_tarball_that_could_not_be_read_is_said_once_with_its_reason(scene: Scene) -> None:
    scene.tarball["release"] = {"error": {"err_type": "rel_vsn_not_found", "message": "None.", "detail": {"a": 1}}}
    refused = scene.refused()
    assert list(refused) == ["rel_vsn_not_found"]
    assert refused["rel_vsn_not_found"].detail == {"a": 1}


def test_everything_that_stands_in_the_way_is_said_at_once_in_order(scene: Scene) -> None:
    (scene.data / "patches").mkdir()
    (scene.data / "patches" / "a.beam").touch()
    scene.tarball["sidecar"]["status"] = "missing"
    scene.tarball["release"]["build_info"]["os"] = "el9"
    scene.hops = []
    refused = scene.refused()
    assert [(failure.stage, name) for name, failure in refused.items()] == [
        ("checksum", "missing_sha256_sidecar"),
        ("patches", "patches_dir_not_empty"),
        ("extract", "os_arch_mismatch"),
        ("extract", "no_relup_entry"),
    ]


def test_a_node_that_is_gone(scene: Scene) -> None:
    assert scene.node is not None
    scene.node.peer.cookie = "another"
    scene.node.peer.wrapper = "/nonexistent"
    refused = scene.refused()
    assert next(iter(refused)) == "node_unreachable"
    assert len(refused) == 1
