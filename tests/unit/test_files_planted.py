"""What lies where an operator's file should be: no command waits for it, reads it for ever, or replaces it."""

import ast
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import relup_remote
from relup_remote import files, inventory
from relup_remote.core.protocol import Failure
from relup_remote.hops import catalogue
from relup_remote.host import identities, known_hosts
from relup_remote.host.identities import Keys
from relup_remote.inventory import InventoryError
from relup_remote.rollout import tarball
from tests.unit.core.planting import KINDS, plant

PACKAGE = Path(relup_remote.__file__).parent
PLANTED = [kind for kind in KINDS if kind != "folder"]


@pytest.mark.parametrize("kind", PLANTED)
def test_no_reader_waits_or_reads_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    # Each of the readers waits so long for a pipe.
    monkeypatch.setattr(files, "WAIT", 0.5)
    named = {name: tmp_path / name for name in ("hosts.yml", "hosts.ini", "a.tar.gz", "b.tar.gz.sha256", "key")}
    for path in named.values():
        plant(kind, path)
    for name in ("hosts.yml", "hosts.ini"):
        with pytest.raises(InventoryError):
            inventory.load(named[name])
    if kind != "huge":
        # A tarball may be of any size.
        with pytest.raises(Failure) as caught:
            tarball.read(named["a.tar.gz"])
        assert caught.value.err_type == "target_tarball_not_found"
        assert tarball.sidecar(tmp_path / "b.tar.gz")["status"] == "unreadable"
    assert known_hosts.find([named["key"]], "host") == []
    assert identities.usual([named["key"]], True, Keys()).found == []
    with pytest.raises(Failure) as caught:
        identities.only(named["key"], Keys())
    assert caught.value.err_type == "key_unusable"


@pytest.mark.parametrize("kind", PLANTED)
def test_a_catalogue_tells_what_it_could_not_read(tmp_path: Path, kind: str) -> None:
    plant(kind, tmp_path / "5.10.4-to-5.10.5.relup")
    found = catalogue.load(tmp_path)
    assert (found.hops, [each.file for each in found.malformed]) == (
        (),
        ["5.10.4-to-5.10.5.relup"] if kind in ("huge",) else [],
    )


def test_a_pipe_of_the_shell_is_read() -> None:
    text = "hosts: {n1: {address: 127.0.0.1}}\n" * 10_000
    read, write = os.pipe()

    def say() -> None:
        with os.fdopen(write, "w") as file:
            file.write(text)

    writer = threading.Thread(target=say)
    writer.start()
    assert files.read_text(Path(f"/dev/fd/{read}")) == text
    writer.join()
    os.close(read)


def test_dev_null_is_an_empty_file() -> None:
    assert files.read_bytes(Path(os.devnull)) == b""


def test_a_pipe_that_never_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WAIT", 0.2)
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR)
    with pytest.raises(TimeoutError):
        files.read_bytes(tmp_path / "pipe")
    os.close(held)


@pytest.mark.parametrize("write", [files.write_private, files.write_shared])
def test_a_device_or_a_pipe_is_written_to_and_never_replaced(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    device, pipe = tmp_path / "null", tmp_path / "pipe"
    os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
    os.mkfifo(pipe)
    before = device.lstat()
    write(device, "x")
    assert device.lstat() == before
    with pytest.raises(Failure):
        write(pipe, "x")
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    descriptor = os.open(pipe, os.O_WRONLY)
    write(pipe, "said")
    os.close(descriptor)
    assert reader.communicate(timeout=10)[0] == b"said"
    assert pipe.is_fifo()


def test_a_link_is_kept_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    files.write_private(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "after"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(Failure):
        files.write_private(tmp_path / "circle", "x")
    assert (tmp_path / "circle").is_symlink()


def test_a_place_where_no_file_can_be_is_named_with_what_helps(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    (tmp_path / "dangling").symlink_to("no such/x")
    for path, message, hint in (
        (tmp_path, f"{tmp_path} is a folder.", "Name a file."),
        (
            tmp_path / "a b" / "x",
            f"The folder {tmp_path}/a b does not exist.",
            f"`mkdir -p '{tmp_path}/a b'` makes it.",
        ),
        (tmp_path / "dangling", f"The folder {tmp_path}/no such does not exist.", "makes it."),
        (tmp_path / "file" / "x", f"{tmp_path}/file is not a folder.", "Name a file in a folder."),
    ):
        with pytest.raises(Failure) as caught:
            files.write_shared(path, "x")
        assert caught.value.message == message
        assert caught.value.hint.endswith(hint)


# ------------------------------------------------------------------------------------------------- no other way

OTHERS = {
    ("cli.py", "open"): "/dev/null",
    ("commands/invocation.py", "open"): "/dev/null",
    ("commands/report.py", "open"): "a page in a browser",
    ("docs.py", "read_text"): "a page of this project",
    ("failures.py", "read_text"): "a file of this package",
    ("files.py", "open"): "it is the place",
    ("hops/reading/parser.py", "open"): "a grammar of this package",
    ("hops/kept.py", "read_bytes"): "files of this package",
    ("host/payload.py", "read_bytes"): "files of this package",
    ("host/session.py", "read_bytes"): "a file of this package",
    ("host/transport/fabric.py", "open"): "a connection",
    ("host/transport/openssh.py", "open"): "a named pipe and a folder, both made by us",
    ("postchecks/node.py", "read_text"): "a file of this package",
    ("postchecks/run.py", "read_text"): "a file of this package",
    ("rollout/ledger.py", "open"): "a lock, which is not read, and not waited for",
    ("streams.py", "open"): "/dev/null",
}
"""Where else the operator's machine opens something, and what that is."""


def openings(path: Path) -> set[str]:
    """The calls in a module that open a file by its name, but for those of `files`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            owner, _, name = ast.unparse(node.func).rpartition(".")
            if name in ("open", "read_text", "read_bytes") and owner != "files" and (owner or name == "open"):
                found.add(name)
    return found


def test_nothing_else_opens_files() -> None:
    on_hosts = ("core/", "host/bootstrap.py", "postchecks/on_host.py")
    found = {
        (name, each)
        for path in PACKAGE.rglob("*.py")
        if not (name := str(path.relative_to(PACKAGE))).startswith(on_hosts)
        for each in openings(path)
    }
    assert found == set(OTHERS)
