"""Bringing the tarball, and checking it: what is read, when it is flushed, and when the file gets its name."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.checks import patch_names
from relup_remote.core.context import Context
from relup_remote.core.protocol import Failure, Step
from relup_remote.core.site import Site
from relup_remote.core.steps import checksum, stage
from relup_remote.core.steps.stage import sha256_of

from .others import NOBODY, as_root, by_nobody

CONTENT = os.urandom(9_500_001)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Controller(io.RawIOBase):
    """Standard input as the core has it: sends what is wanted of `content`, in parts that end where they like."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.wants: list[dict[str, Any]] = []
        self.progress: list[tuple[str, int, int]] = []
        self.others: list[dict[str, Any]] = []
        self._pending = io.BytesIO()

    def hear(self, event: dict[str, Any]) -> None:
        """What the core says."""
        if event["event"] == "progress":
            self.progress.append((event["step"], event["done"], event["total"]))
        if event["event"] not in ("progress", "want"):
            self.others.append(event)
        if event["event"] == "want":
            self.wants.append(event)
            self._pending = io.BytesIO(self.content[event["offset"] :][: event["bytes"]])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._pending.readinto(memoryview(buffer)[:70_001])


class Staging:
    """A request to stage `CONTENT` on a host."""

    def __init__(self, root: Path) -> None:
        (root / "data").mkdir()
        self.folder = root / "data" / "relup_remote" / "staging"
        self.file = self.folder / "emqx.tar.gz"
        self.part = self.folder / "emqx.tar.gz.part"
        self.sidecar = {"status": "ok", "text": DIGEST}
        self.controller = Controller(CONTENT)
        self._stdin = io.BufferedReader(self.controller)
        self._site = Site(str(root), str(root / "data"), None, None)

    def leave(self, path: Path, content: bytes) -> None:
        """Let an earlier run have left a file."""
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content)

    def context(self) -> Context:
        """The request."""
        tarball = {"name": self.file.name, "bytes": len(CONTENT), "sha256": DIGEST, "sidecar": self.sidecar}
        return Context({"run": "r", "tarball": tarball}, self._site, self.controller.hear, self._stdin)

    def run(self) -> tuple[Step, Step]:
        """Go through both steps."""
        context = self.context()
        for name, step in (("stage", stage.run), ("checksum", checksum.run)):
            status, detail = step(context)
            context.result.steps.append(Step(name, status, 0.0, detail))
        staged, checked = context.result.steps
        return staged, checked

    def failure(self) -> Failure:
        """How the steps fail."""
        with pytest.raises(Failure) as caught:
            self.run()
        return caught.value


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that matter to what is on disk, in order; of a flush that is begun, also its range."""
    seen: list[str] = []
    fsync, rename, fadvise = os.fsync, os.rename, os.posix_fadvise

    def fake_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        seen.append(f"fsync {name}")
        fsync(descriptor)

    def fake_rename(source: str, target: str) -> None:
        seen.append(f"rename {Path(source).name}")
        rename(source, target)

    def fake_fadvise(descriptor: int, offset: int, size: int, advice: int) -> None:
        seen.append(f"flush {offset} {offset + size}")
        fadvise(descriptor, offset, size, advice)

    monkeypatch.setattr(os, "fsync", fake_fsync)
    monkeypatch.setattr(os, "rename", fake_rename)
    monkeypatch.setattr(os, "posix_fadvise", fake_fadvise)
    return seen


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read again for their digest."""
    files: list[str] = []
    original = stage.sha256_of

    def sha256_of(path: str) -> str:
        files.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(stage, "sha256_of", sha256_of)
    return files


def test_what_is_sent_is_digested_as_it_comes(staging: Staging, digested: list[str]) -> None:
    staged, checked = staging.run()
    assert staging.file.read_bytes() == CONTENT
    assert (staged.status, staged.detail["received"], staged.detail["sha256"]) == ("ok", len(CONTENT), DIGEST)
    assert checked.detail == {"sha256": DIGEST, "computed": "while staging"}
    assert digested == []
    assert not staging.part.exists()
    assert (staging.folder / "emqx.tar.gz.sha256").read_text() == DIGEST


def test_what_is_there_is_digested_once(staging: Staging, digested: list[str]) -> None:
    staging.leave(staging.file, CONTENT)
    staged, checked = staging.run()
    assert (staged.status, staged.detail["received"]) == ("unchanged", 0)
    assert checked.detail["sha256"] == DIGEST
    assert digested == ["emqx.tar.gz"]
    assert staging.controller.wants == []


def test_the_file_has_its_name_only_once_it_is_on_disk(staging: Staging, calls: list[str]) -> None:
    staging.run()
    assert [call for call in calls if not call.startswith("flush")][:3] == [
        "fsync emqx.tar.gz.part",
        "rename emqx.tar.gz.part",
        "fsync staging",
    ]


def test_flushing_begins_while_more_is_to_come(staging: Staging, calls: list[str]) -> None:
    staging.run()
    flushes = [call.split()[1:] for call in calls[: calls.index("fsync emqx.tar.gz.part")]]
    assert len(flushes) == 2
    assert (flushes[0][0], flushes[0][1]) == ("0", flushes[1][0])


@pytest.mark.parametrize("have", [1, 300_000, 9_500_000])
def test_what_was_left_is_gone_on_from(staging: Staging, have: int) -> None:
    staging.leave(staging.part, CONTENT[:have])
    staged, _ = staging.run()
    assert staged.detail["received"] == len(CONTENT) - have
    assert [want["offset"] for want in staging.controller.wants] == [have]
    assert staging.file.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [bytes(300_000), CONTENT + b"more"], ids=["another's beginning", "too much"])
def test_what_was_left_of_another_file_is_not_kept(staging: Staging, left: bytes) -> None:
    staging.leave(staging.part, left)
    staging.run()
    assert staging.controller.wants[-1]["offset"] == 0
    assert staging.file.read_bytes() == CONTENT


@pytest.mark.parametrize("there", [bytes(len(CONTENT)), CONTENT[:-1]], ids=["other bytes", "too short"])
def test_another_file_under_the_name_is_replaced(staging: Staging, there: bytes) -> None:
    staging.leave(staging.file, there)
    staged, _ = staging.run()
    assert staged.status == "ok"
    assert staging.file.read_bytes() == CONTENT


def test_a_controller_that_stops(staging: Staging) -> None:
    staging.controller.content = CONTENT[:5_000_000]
    assert staging.failure().err_type == "connection_lost"
    assert staging.part.read_bytes() == CONTENT[:5_000_000]
    assert not staging.file.exists()


def test_a_tarball_that_changes_while_it_is_sent(staging: Staging) -> None:
    staging.controller.content = bytes(len(CONTENT))
    assert staging.failure().err_type == "sha256_mismatch"
    assert not staging.part.exists()
    assert not staging.file.exists()


def test_a_sidecar_that_names_another_digest(staging: Staging) -> None:
    staging.sidecar = {"status": "ok", "text": "0" * 64}
    found = staging.failure()
    assert found.err_type == "sha256_mismatch"
    assert found.detail == {"expected": "0" * 64, "actual": DIGEST}


@pytest.mark.parametrize(
    ("name", "there", "missing"),
    [
        ("emqx.tar.gz", 0, len(CONTENT)),
        ("emqx.tar.gz", len(CONTENT), 0),
        ("emqx.tar.gz.part", 1000, len(CONTENT) - 1000),
        ("emqx.tar.gz.part", len(CONTENT), len(CONTENT)),
        ("other.tar.gz", len(CONTENT), len(CONTENT)),
    ],
)
def test_what_is_left_to_send_is_known_before(staging: Staging, name: str, there: int, missing: int) -> None:
    staging.leave(staging.folder / name, CONTENT[:there])
    assert stage.bytes_to_send(staging.context()) == missing
    stage.tell_if_there(staging.context())
    # Nothing of a step that has not begun: it may wait for another command on the host.
    assert staging.controller.progress == []
    assert staging.controller.others == ([] if missing else [{"event": "has", "file": "tarball"}])
    staging.run()
    # The last byte is told of as soon as it is there.
    assert staging.controller.progress[-1:] == ([("stage", len(CONTENT), len(CONTENT))] if missing else [])
    assert sum(want["bytes"] for want in staging.controller.wants) == missing
    assert stage.bytes_to_send(staging.context()) == 0


@as_root
def test_what_may_not_be_read_is_not_said_to_be_absent(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_text("x")
    os.chown(tmp_path / "a.tar.gz", NOBODY, NOBODY)
    (tmp_path / "a.tar.gz").chmod(0)
    (tmp_path / "patches").mkdir(0o700)
    tmp_path.chmod(0o755)

    def look() -> None:
        for act, err_type in (
            (lambda: sha256_of("a.tar.gz"), "cannot_read_file"),
            (lambda: sha256_of("b.tar.gz"), "target_tarball_not_found"),
            (lambda: patch_names("."), "cannot_read_file"),
        ):
            with pytest.raises(Failure) as caught:
                act()
            assert caught.value.err_type == err_type

    by_nobody(tmp_path, look)
