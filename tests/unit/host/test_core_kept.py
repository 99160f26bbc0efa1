"""The core on a host: sent once, kept, checked, and run from where nobody can disturb it."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.host import Host, bootstrap, session
from relup_remote.host.payload import Payload

from ..core.others import NOBODY, as_root
from .ssh_server import Server


def facts(server: Server, core: Payload, **settings: Any) -> dict[str, Any]:
    """What the core finds where it runs."""
    with Host(server.settings(**settings), core) as host:
        found: dict[str, Any] = host.run({"act": "echo"}, None, lambda _event: None)["facts"]
        return found


def failure(server: Server, core: Payload, **settings: Any) -> Failure:
    """The failure of a run."""
    with pytest.raises(Failure) as caught:
        facts(server, core, **settings)
    return caught.value


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that is sent."""
    parts: list[bytes] = []
    original = session._Core._send

    def send(self: session._Core, data: bytes) -> None:
        parts.append(bytes(data))
        original(self, data)

    monkeypatch.setattr(session._Core, "_send", send)
    return parts


@pytest.fixture(params=["our kind of Python", "another kind of Python"])
def form(request: pytest.FixtureRequest, core: Payload, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The form in which the core is to be sent, to a host of each kind."""
    if request.param == "our kind of Python":
        return session.compiled(core).content
    monkeypatch.setattr(session, "BYTECODE", "of no Python")
    return core.content


def test_core_is_sent_once(server: Server, core: Payload, sent: list[bytes], form: bytes) -> None:
    facts(server, core)
    assert form in sent
    sent.clear()
    facts(server, core)
    assert form not in sent


def test_what_is_kept_is_one_private_file(server: Server, core: Payload) -> None:
    facts(server, core)
    assert server.cache.stat().st_mode & 0o777 == 0o700
    (kept,) = server.cache.iterdir()
    assert kept.name.startswith(core.digest)
    assert kept.name.split(".")[-2] == hashlib.sha256(kept.read_bytes()).hexdigest()
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("form")
def test_kept_core_is_compiled_and_has_its_source_for_tracebacks(server: Server, core: Payload) -> None:
    for _ in range(2):
        found = facts(server, core)
        assert found["compiled"]
        assert found["source"]


def test_damaged_core_is_replaced(server: Server, core: Payload, sent: list[bytes]) -> None:
    facts(server, core)
    (kept,) = server.cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-100] + bytes(100))
    sent.clear()
    facts(server, core)
    assert session.compiled(core).content in sent
    (kept,) = server.cache.iterdir()
    assert kept.name.split(".")[-2] == hashlib.sha256(kept.read_bytes()).hexdigest()


def test_other_version_takes_the_place(server: Server, core: Payload, other_core: Payload) -> None:
    facts(server, core)
    facts(server, other_core)
    (kept,) = server.cache.iterdir()
    assert kept.name.startswith(other_core.digest)


def test_core_that_runs_is_not_disturbed_by_another_version(
    server: Server, core: Payload, other_core: Payload, tmp_path: Path
) -> None:
    tarball = tmp_path / "tarball"
    tarball.write_bytes(bytes(10))

    def meanwhile(event: dict[str, Any]) -> None:
        if event["event"] == "want":
            facts(server, other_core)

    with Host(server.settings(), core) as host:
        result = host.run({"act": "want", "offset": 0, "bytes": 10}, tarball, meanwhile)
    assert result["facts"]["late"] == "loaded late"
    (kept,) = server.cache.iterdir()
    assert kept.name.startswith(other_core.digest)


def test_two_controllers_at_once(server: Server, core: Payload, other_core: Payload) -> None:
    failures: list[Exception] = []

    def go(which: Payload) -> None:
        try:
            facts(server, which)
        except Failure as error:
            failures.append(error)

    threads = [threading.Thread(target=go, args=(which,)) for which in (core, other_core) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not list(server.cache.glob("*.part"))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755])
def test_folder_that_is_open_to_others_is_refused(server: Server, core: Payload, mode: int) -> None:
    server.cache.mkdir(parents=True)
    server.cache.chmod(mode)
    found = failure(server, core)
    assert (found.err_type, found.stage) == ("untrusted_dir", "connect")
    assert found.detail["path"] == str(server.cache)
    assert str(server.cache) in found.message
    assert list(server.cache.iterdir()) == []


def test_link_in_place_of_the_folder_is_refused(server: Server, core: Payload, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    server.cache.parent.mkdir(parents=True)
    server.cache.symlink_to(elsewhere)
    assert failure(server, core).err_type == "untrusted_dir"
    assert list(elsewhere.iterdir()) == []


def test_file_in_place_of_the_folder_is_refused(server: Server, core: Payload) -> None:
    server.cache.parent.mkdir(parents=True)
    server.cache.write_text("")
    assert failure(server, core).err_type == "untrusted_dir"


def test_link_in_place_of_the_core_is_not_followed(server: Server, core: Payload, sent: list[bytes]) -> None:
    facts(server, core)
    (kept,) = server.cache.iterdir()
    moved = kept.rename(server.host.home / "moved")
    kept.symlink_to(moved)
    sent.clear()
    facts(server, core)
    assert session.compiled(core).content in sent
    assert not kept.is_symlink()


def pipe_in_place_of(path: Path) -> None:
    """A pipe that only we can open."""
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda kept: kept.chmod(0o666), id="which others may write"),
        pytest.param(lambda kept: os.chown(kept, NOBODY, NOBODY), id="of another user", marks=as_root),
        pytest.param(pipe_in_place_of, id="that is a pipe"),
    ],
)
def test_kept_core_that_another_may_have_made_is_replaced(
    server: Server, core: Payload, sent: list[bytes], spoil: Callable[[Path], object]
) -> None:
    facts(server, core)
    (kept,) = server.cache.iterdir()
    spoil(kept)
    sent.clear()
    facts(server, core)
    assert session.compiled(core).content in sent
    (kept,) = server.cache.iterdir()
    assert kept.is_file()
    assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (os.geteuid(), 0o600)


def test_home_that_does_not_exist_is_no_obstacle(server: Server, core: Payload) -> None:
    session_file = server.host.ssh_dir / "session"
    session_file.write_text(session_file.read_text().replace("cd ", "HOME=/nonexistent\n: ", 1))
    assert facts(server, core)["home"] == "/nonexistent"
    assert not server.cache.exists()
    assert not Path("/nonexistent").exists()


@pytest.mark.parametrize("leads_to", ["", "/dev/null", "nowhere", ".cache"])
def test_what_is_no_folder_where_caches_lie_is_no_obstacle(server: Server, core: Payload, leads_to: str) -> None:
    cache = server.host.home / ".cache"
    if leads_to:
        cache.symlink_to(leads_to)
    else:
        cache.write_text("mine")
    assert facts(server, core)["home"] == str(server.host.home)
    assert [path.name for path in server.host.home.iterdir()] == [".cache"]
    assert cache.readlink() == Path(leads_to) if leads_to else cache.read_text() == "mine"


def test_core_that_arrives_damaged_is_not_run(
    server: Server, core: Payload, form: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = session._Core._send

    def send(self: session._Core, data: bytes) -> None:
        original(self, data[:-1] + bytes([data[-1] ^ 1]) if data == form else data)

    monkeypatch.setattr(session._Core, "_send", send)
    found = failure(server, core)
    assert found.err_type == "core_failed"
    assert found.detail["error"] == "our program arrived damaged"
    assert list(server.cache.iterdir()) == []


def test_hosts_share_one_compilation(
    server: Server, core: Payload, other_core: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations: list[bytes] = []
    original = bootstrap.compiled

    def compiled(content: bytes) -> bytes:
        compilations.append(content)
        return original(content)

    monkeypatch.setattr(bootstrap, "compiled", compiled)
    session.compiled.cache_clear()
    threads = [threading.Thread(target=facts, args=(server, which)) for which in (core, other_core) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(compilations) == sorted([core.content, other_core.content])


def test_host_without_python(server: Server, core: Payload) -> None:
    found = failure(server, core, python="/opt/none/bin/python3")
    assert (found.err_type, found.stage) == ("python_missing", "connect")
    assert found.detail == {"looked_for": ["/opt/none/bin/python3"]}


def test_python_that_is_too_old_is_passed_over(server: Server, core: Payload, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    old = folder / "python3"
    old.write_text("#!/bin/sh\n# Asked for its version, it says that it will not do.\nexit 1\n")
    old.chmod(0o755)
    assert failure(server, core, python=str(old)).err_type == "python_missing"
    (folder / "python3.13").symlink_to(sys.executable)
    server.with_path(folder)
    assert facts(server, core)["python"] == sys.version
