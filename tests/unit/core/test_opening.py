"""The one place where the core opens files: what it refuses, and that there is no other."""

import ast
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import relup_remote.core
from relup_remote.core import opening
from relup_remote.core.opening import ANYONE, create, of_kernel, open_folder, open_ours, opened, read_small
from relup_remote.core.protocol import Failure

from .others import NOBODY, as_root
from .planting import KINDS, plant

CORE = Path(relup_remote.core.__file__).parent


def failure_of(call: Callable[[], object]) -> Failure:
    with pytest.raises(Failure) as caught:
        call()
    return caught.value


# ------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_of_a_reasonable_size_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    plant(kind, path)
    failure = failure_of(lambda: read_small(str(path), 100))
    assert (failure.err_type, failure.detail["path"]) == ("untrusted_file", str(path))
    assert {"huge": "more than 100 bytes", "folder": "a folder"}.get(kind, kind) in failure.message


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("huge", "link")])
def test_a_link_may_be_followed_to_a_file_and_to_nothing_else(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_small(str(tmp_path / "link"), links=True) == b"abc"
    plant(kind, tmp_path / "other")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("other")
    assert failure_of(lambda: read_small(str(tmp_path / "link"), links=True)).err_type == "untrusted_file"


def test_what_is_there_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert read_small(str(path), 3) == b"abc"
    assert read_small(str(tmp_path / "absent")) is None
    assert read_small(str(path / "below")) is None


@as_root
def test_a_file_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    os.chown(path, NOBODY, NOBODY)
    assert failure_of(lambda: open_ours(str(path), os.O_RDONLY)).err_type == "untrusted_file"
    assert read_small(str(path), owners={NOBODY}) == b"abc"
    assert read_small(str(path), owners=ANYONE) == b"abc"


def test_a_file_that_can_not_be_read_is_not_taken_for_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "denied")

    (tmp_path / "file").touch()
    monkeypatch.setattr(opening, "opened", refuse)
    failure = failure_of(lambda: read_small(str(tmp_path / "file")))
    assert (failure.err_type, failure.detail["paths"]) == ("cannot_read_file", [str(tmp_path / "file")])


def test_what_takes_the_place_of_a_file_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch()
    original = os.open

    def late(name: str, flags: int, mode: int = 0o777) -> int:
        path.unlink()
        os.mkfifo(path)
        return original(name, flags, mode)

    monkeypatch.setattr(os, "open", late)
    before = len([*Path("/proc/self/fd").iterdir()])
    assert failure_of(lambda: opened(str(path), owners=ANYONE)).err_type == "untrusted_file"
    assert len([*Path("/proc/self/fd").iterdir()]) == before


# ------------------------------------------------------------------------------------------------- ours, new, folders


def test_a_file_of_ours_is_made_and_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(2):
        descriptor = open_ours(str(path), os.O_RDWR | os.O_CREAT)
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        open_ours(str(tmp_path / "absent"), os.O_RDONLY)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_into_what_is_there(tmp_path: Path, kind: str) -> None:
    plant(kind, tmp_path / "file")
    with pytest.raises(FileExistsError):
        create(str(tmp_path / "file"))
    if kind != "folder":
        with pytest.raises(OSError, match="directory"):
            open_folder(str(tmp_path / "file"))


def test_files_of_the_kernel() -> None:
    assert of_kernel("/proc/self/comm") is not None
    assert of_kernel("/proc/self/cmdline", 3) == Path("/proc/self/cmdline").read_bytes()[:3]
    assert of_kernel("/proc/self/absent") is None
    assert of_kernel("/proc/0/comm") is None


# ------------------------------------------------------------------------------------------------- no other way

OTHERS = {
    ("opening.py", "open"): "it is the place",
    ("archive/tree.py", "open"): "folders and new files, from the descriptor of a fresh folder of ours",
    ("backup/copying.py", "open"): "the copy, which is written into a fresh folder of ours",
    ("journal.py", "connect"): "SQLite opens by name; the journal looks at what is there first",
    ("erlang/options.py", "load_verify_locations"): "by the name of a descriptor that was opened here",
    ("erlang/options.py", "load_cert_chain"): "by the name of a descriptor that was opened here",
}
"""Where else something is opened, by what, and why that is right."""

OPENERS = {
    *("open", "popen", "read_text", "read_bytes", "write_text", "write_bytes", "load_verify_locations"),
    *("load_cert_chain", "load_dh_params", "ZipFile", "make_archive"),
}
"""Calls that open files by their names, whatever they are called on."""

OF_MODULES = {("sqlite3", "connect"), *(("shutil", name) for name in ("copy", "copy2", "copyfile", "copytree", "move"))}
"""Those that do so only if they are called on a module."""


def openings(source: str) -> Iterator[str]:
    """The calls in a module that open a file by its name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")
            if called[2] in OPENERS or (called[0], called[2]) in OF_MODULES:
                yield called[2]


def test_nothing_in_the_core_opens_files_elsewhere() -> None:
    found = {(str(path.relative_to(CORE)), name) for path in CORE.rglob("*.py") for name in openings(path.read_text())}
    assert found == set(OTHERS)


@pytest.mark.parametrize(
    "source",
    ["open('/a')", "import os\nos.open('/a', 0)", "Path('/a').read_text()", "import sqlite3\nsqlite3.connect('/a')"],
)
def test_the_search_finds_what_opens_files(source: str) -> None:
    assert list(openings(source))


def test_a_socket_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert failure_of(lambda: opened(str(tmp_path / "socket"), owners=ANYONE)).err_type == "untrusted_file"
