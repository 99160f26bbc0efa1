"""A request's way to a host and back, over a real SSH server, by each of the ways to one."""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.protocol import Failure
from relup_remote.deadline import Deadline
from relup_remote.host import Host, session
from relup_remote.host.payload import Payload
from relup_remote.inventory import HostSettings
from relup_remote.postchecks import ssh as postchecks
from relup_remote.secrets import NO_SECRETS, Password, Secrets
from relup_remote.ways import Ways

from ..core.others import as_root
from .ssh_server import ME, Server, running

OTHER = "nobody"

Events = list[dict[str, Any]]


@pytest.fixture(params=["fabric", "openssh"])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server, and the way to it."""
    with running(tmp_path) as found:
        yield replace(found, transport=request.param)


def nothing(_event: dict[str, Any]) -> None:
    """For tests that do not look at events."""


def test_request_goes_there_and_result_comes_back(server: Server, core: Payload) -> None:
    events: Events = []
    with Host(server.settings(), core) as host:
        result = host.run({"act": "echo", "text": "Grüße ' \" $HOME"}, None, events.append)
    assert result["event"] == "result"
    assert result["facts"]["request"] == {"act": "echo", "text": "Grüße ' \" $HOME"}
    assert result["facts"]["home"] == str(server.host.home)
    assert [event["event"] for event in events] == ["hello"]


def test_nothing_of_the_request_is_in_the_command_line(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host:
        result = host.run({"act": "echo", "text": "mark"}, None, nothing)
    assert result["facts"]["argv"] == ["-c", core.digest, str(len(core.content)), ""]


def test_core_gets_exactly_the_bytes_it_wants(server: Server, core: Payload, tmp_path: Path) -> None:
    tarball = tmp_path / "release.tar.gz"
    content = os.urandom(5_000_000)
    tarball.write_bytes(content)
    events: Events = []
    with Host(server.settings(), core) as host:
        request = {"act": "want", "offset": 1_000_001, "bytes": 3_999_000}
        result = host.run(request, tarball, events.append)
    assert result["facts"]["sha256"] == hashlib.sha256(content[1_000_001 : 1_000_001 + 3_999_000]).hexdigest()
    kinds = [event["event"] for event in events]
    assert kinds[:3] == ["hello", "step", "want"]
    assert kinds[3:] == ["progress"] * 4
    assert events[-1]["done"] == 3_999_000


def test_core_that_has_had_enough_is_believed(server: Server, core: Payload, tmp_path: Path) -> None:
    tarball = tmp_path / "release.tar.gz"
    with tarball.open("wb") as file:
        file.truncate(200_000_000)
    with Host(server.settings(), core) as host:
        result = host.run({"act": "refuse_midway", "bytes": 200_000_000}, tarball, nothing)
    assert result["error"]["err_type"] == "disk_full"


@pytest.mark.parametrize("file", ["tarball", "/etc/shadow"])
def test_core_gets_no_other_file(server: Server, core: Payload, tmp_path: Path, file: str) -> None:
    tarball = None if file == "tarball" else tmp_path / "release.tar.gz"
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "want", "file": file, "offset": 0, "bytes": 1}, tarball, nothing)
    assert caught.value.err_type == "core_failed"


@pytest.mark.parametrize(("size", "err_type"), [(None, "target_tarball_not_found"), (10, "bad_tarball")])
def test_tarball_that_goes_away(server: Server, core: Payload, tmp_path: Path, size: int | None, err_type: str) -> None:
    tarball = tmp_path / "release.tar.gz"
    if size is not None:
        tarball.write_bytes(bytes(size))
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "want", "offset": 0, "bytes": 100}, tarball, nothing)
    assert (caught.value.err_type, caught.value.stage) == (err_type, "stage")


def test_one_connection_serves_all_runs(server: Server, core: Payload) -> None:
    parents: list[int] = []
    with Host(server.settings(), core) as host:
        for _ in range(3):
            host.run({"act": "echo"}, None, lambda event: parents.append(event["parent"]))
    assert len(set(parents)) == 1


def test_host_can_be_used_again_after_its_connection_was_lost(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host:
        with pytest.raises(Failure):
            host.run({"act": "stop"}, None, kill_server_of)
        assert host.run({"act": "echo"}, None, nothing)["outcome"] == "ok"


@pytest.fixture
def shared(server: Server) -> Iterator[HostSettings]:
    """The settings of the server, as a command with several requests has them."""
    with Ways() as ways:
        yield server.settings(ways=ways, connect_timeout=2.0)


def ask(settings: HostSettings, core: Payload, tarball: Path | None = None, **request: Any) -> dict[str, Any]:
    """What the core says first, with the outcome of a request of a command's own."""
    said: Events = []
    with Host(settings, core) as host:
        result = host.run({"act": "echo", **request}, tarball, said.append)
    return {**said[0], "outcome": result["outcome"]}


def test_a_core_serves_one_request_after_the_other(shared: HostSettings, core: Payload, tmp_path: Path) -> None:
    tarball = tmp_path / "tarball"
    tarball.write_bytes(bytes(3 << 20))
    said = [ask(shared, core) for _ in range(2)]
    said.append(ask(shared, core, tarball, act="want", offset=0, bytes=3 << 20))
    said.append(ask(shared, core))
    assert len({each["core"] for each in said}) == 1
    # Each in a process of its own, so that nothing of one is left to the next.
    assert len({each["pid"] for each in said}) == 4


def test_a_core_ends_with_its_command(server: Server, core: Payload) -> None:
    with Ways() as ways:
        waiting = os.pidfd_open(ask(server.settings(ways=ways), core)["core"])
    assert ended(waiting)


def test_a_core_that_has_not_read_all_serves_no_other_request(
    shared: HostSettings, core: Payload, tmp_path: Path
) -> None:
    tarball = tmp_path / "tarball"
    tarball.write_bytes(b"\n" * (3 << 20))
    said = [ask(shared, core), ask(shared, core, tarball, act="refuse_midway", bytes=3 << 20), ask(shared, core)]
    assert [each["outcome"] for each in said] == ["ok", "failed", "ok"]
    assert said[0]["core"] == said[1]["core"] != said[2]["core"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_core_that_is_lost_while_it_waits_is_begun_anew(
    shared: HostSettings, core: Payload, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(session, "ANSWERS", 1.0)
    first = ask(shared, core)
    os.kill(first["core"], number)
    try:
        second = ask(shared, core)
    finally:
        with suppress(ProcessLookupError):
            os.kill(first["core"], signal.SIGCONT)
    assert first["core"] != second["core"]


def test_a_connection_that_is_lost_while_a_core_waits_is_made_anew(shared: HostSettings, core: Payload) -> None:
    first = ask(shared, core)
    os.kill(first["parent"], signal.SIGKILL)
    assert ask(shared, core)["parent"] != first["parent"]


def test_a_core_that_is_lost_under_a_request_is_not_asked_again(shared: HostSettings, core: Payload) -> None:
    ask(shared, core)
    heard: Events = []

    def kill(event: dict[str, Any]) -> None:
        heard.append(event)
        kill_core_of(event)

    with Host(shared, core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "stop"}, None, kill)
    assert caught.value.err_type == "core_failed"
    assert len(heard) <= 2
    assert ask(shared, core)["outcome"] == "ok"


@as_root
def test_cores_of_two_users_are_two(shared: HostSettings, core: Payload) -> None:
    as_other = replace(shared, become=OTHER)
    cores = [ask(each, core) for each in (shared, as_other, shared, as_other)]
    assert [each["user"] for each in cores] == [ME, OTHER, ME, OTHER]
    assert [each["core"] for each in cores[:2]] == [each["core"] for each in cores[2:]]


def test_a_server_of_one_session_serves_a_core_and_checks(tmp_path: Path, core: Payload) -> None:
    with running(tmp_path / "server", "MaxSessions 1") as server, Ways() as ways:
        settings = server.settings(ways=ways)
        for _ in range(2):
            assert ask(settings, core)["outcome"] == "ok"
            with postchecks.connect(settings) as link:
                assert link.host().run("echo in").stdout == "in\n"


def test_core_that_dies(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "die"}, None, nothing)
    failure = caught.value
    assert (failure.err_type, failure.stage) == ("core_failed", "connect")
    assert failure.detail["ended_by"] == "exit status 7"
    assert failure.detail["stderr"].endswith("the last words")
    assert len(failure.detail["stderr"]) <= 4096


def test_core_that_is_killed(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "stop"}, None, kill_core_of)
    assert caught.value.err_type == "core_failed"
    assert "signal" in caught.value.detail["ended_by"]


def test_core_that_says_what_is_no_event(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "babble"}, None, nothing)
    assert caught.value.err_type == "core_failed"
    assert caught.value.detail["said"] == "not an event"


def test_connection_that_is_cut(server: Server, core: Payload) -> None:
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "stop"}, None, kill_server_of)
    assert (caught.value.err_type, caught.value.stage) == ("connection_lost", "connect")


def test_core_that_says_nothing_for_too_long(server: Server, core: Payload) -> None:
    with Host(server.settings(command_timeout=1.0), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "stop"}, None, nothing)
    assert (caught.value.err_type, caught.value.stage) == ("ssh_timeout", "connect")


def test_sign_of_life_is_enough_and_not_told(server: Server, core: Payload) -> None:
    events: Events = []
    with Host(server.settings(command_timeout=4.0), core) as host:
        result = host.run({"act": "tick", "kind": "alive", "ticks": 4, "pause": 1.2}, None, events.append)
    assert result["outcome"] == "ok"
    assert [event["event"] for event in events] == ["hello"]


def test_core_that_only_says_that_it_lives_holds_nobody_for_ever(
    server: Server, core: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.host.host.LATER", 0.0)
    request = {"act": "tick", "kind": "alive", "ticks": 1000, "pause": 0.05, "deadline": 2}
    with Host(server.settings(), core) as host:
        with pytest.raises(Failure) as caught:
            host.run(request, None, nothing)
        # The connection is as good as before.
        assert host.run({"act": "echo"}, None, nothing)["outcome"] == "ok"
    assert (caught.value.err_type, caught.value.stage) == ("deadline_exceeded", "connect")
    assert caught.value.detail == {"seconds": 2, "step": None}


def test_a_core_that_takes_a_byte_now_and_then_holds_nobody_either(
    server: Server, core: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.host.host.LATER", 0.0)
    tarball = tmp_path / "release.tar.gz"
    with tarball.open("wb") as file:
        file.truncate(200_000_000)
    deadlines: list[Deadline] = []

    def deadline(seconds: float) -> Deadline:
        deadlines.append(Deadline(seconds))
        return deadlines[-1]

    def begun(event: dict[str, Any]) -> None:
        if event.get("status") == "start":
            deadlines[-1]._end = time.monotonic() + 1

    monkeypatch.setattr("relup_remote.host.host.Deadline", deadline)
    request = {"act": "sip", "bytes": 200_000_000, "deadline": 600}
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run(request, tarball, begun)
    assert (caught.value.err_type, caught.value.detail["step"]) == ("deadline_exceeded", "stage")


RELAY = """
import os, select, socket, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
left = int(sys.argv[2])
while left > 0:
    for ready in select.select([0, server], [], [])[0]:
        data = os.read(0, 65536) if ready == 0 else server.recv(65536)
        if not data:
            sys.exit()
        if ready == 0:
            left -= len(data)
            server.sendall(data)
        else:
            os.write(1, data)
closed = select.poll()
closed.register(0, 0)
closed.poll()
"""
"""From then on nothing goes either way, and nobody says so. It ends when nobody is at its standard input any more."""


def test_a_line_that_swallows_a_tarball_holds_nobody(server: Server, core: Payload, tmp_path: Path) -> None:
    tarball = tmp_path / "release.tar.gz"
    with tarball.open("wb") as file:
        file.truncate(200_000_000)
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    command = f"{sys.executable} {relay} {server.host.ssh_port} 2000000"
    settings = server.settings(command_timeout=3.0, ssh_args=("-o", f"ProxyCommand={command}"))
    began = time.monotonic()
    with Host(settings, core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "want", "offset": 0, "bytes": 200_000_000}, tarball, nothing)
    assert caught.value.err_type == "ssh_timeout"
    assert time.monotonic() - began < 60


def test_a_connection_that_freezes_while_nobody_uses_it_is_made_anew(server: Server, core: Payload) -> None:
    sessions: list[int] = []
    with Host(server.settings(connect_timeout=3.0), core) as host:
        host.run({"act": "echo"}, None, lambda event: sessions.append(event["parent"]))
        os.kill(sessions[0], signal.SIGSTOP)
        try:
            host.run({"act": "echo"}, None, lambda event: sessions.append(event["parent"]))
        finally:
            os.kill(sessions[0], signal.SIGCONT)
    assert len(set(sessions)) == 2


def test_a_connection_that_freezes_under_a_request_is_not_made_anew(server: Server, core: Payload) -> None:
    """What was asked may have begun there."""
    asked: list[Any] = []

    def freeze(event: dict[str, Any]) -> None:
        asked.append(event)
        if event["event"] == "hello":
            os.kill(event["parent"], signal.SIGSTOP)

    with Host(server.settings(command_timeout=3.0), core) as host:
        try:
            with pytest.raises(Failure) as caught:
                host.run({"act": "stop"}, None, freeze)
        finally:
            os.kill(asked[0]["parent"], signal.SIGCONT)
    assert caught.value.err_type == "ssh_timeout"
    assert [event["event"] for event in asked if event["event"] == "hello"] == ["hello"]


@pytest.mark.parametrize("said", ["Welcome to this host\\n", "\\033]0;n1\\007", "\\n\\n\\033[2J{"])
def test_what_login_shells_print_is_passed_over(server: Server, core: Payload, said: str) -> None:
    session = server.host.ssh_dir / "session"
    session.write_text(session.read_text().replace("cd ", f"printf '{said}'\ncd ", 1))
    with Host(server.settings(), core) as host:
        assert host.run({"act": "echo"}, None, nothing)["outcome"] == "ok"


def test_host_that_only_prints(server: Server, core: Payload) -> None:
    (server.host.ssh_dir / "session").write_text("#!/bin/sh\nexec yes mind the gap\n")
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "echo"}, None, nothing)
    assert caught.value.err_type == "no_shell"
    assert caught.value.detail["said"] == "mind the gap"


def test_a_login_shell_that_lets_nobody_in_is_heard(server: Server, core: Payload) -> None:
    (server.host.ssh_dir / "session").write_text(
        "#!/bin/sh\necho 'This account is \033[1mnot\033[0m available.'\nexit 1\n"
    )
    with Host(server.settings(), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "echo"}, None, nothing)
    assert caught.value.err_type == "no_shell"
    assert caught.value.message.endswith("It said: This account is not available.")
    assert caught.value.detail["ended_by"] == "exit status 1"


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("MaxSessions 0", "opens no session"),
        ("ForceCommand /usr/sbin/nologin", "currently not available"),
        ("ForceCommand internal-sftp", "runs no commands"),
        ('ForceCommand /bin/rbash -c "$SSH_ORIGINAL_COMMAND"', "restricted"),
        ("ForceCommand echo welcome", "It said: welcome"),
    ],
)
@pytest.mark.parametrize("become", ["never", OTHER])
def test_an_account_that_runs_no_commands(tmp_path: Path, core: Payload, option: str, says: str, become: str) -> None:
    with running(tmp_path / "server", option) as server:
        for transport in ("fabric", "openssh") if become == "never" else ("fabric",):
            settings = server.settings(transport=transport, become=become)
            with Host(settings, core) as host, pytest.raises(Failure) as caught:
                host.run({"act": "echo"}, None, nothing)
            assert (caught.value.err_type, caught.value.stage) == ("no_shell", "connect")
            assert says in caught.value.message
            assert "login shell" in caught.value.hint


@pytest.mark.share(5)
@pytest.mark.parametrize("shell", ["/bin/bash", "exec bash --norc", "exec bash -i", "exec sh", "exec cat >/dev/null"])
@pytest.mark.parametrize("become", ["never", OTHER])
def test_a_shell_in_place_of_our_command_is_given_nothing_to_run(
    tmp_path: Path, core: Payload, shell: str, become: str
) -> None:
    """The first words of what is sent there are names of programs, as far as such a shell knows."""
    programs, ran = tmp_path / "programs", tmp_path / "ran"
    programs.mkdir()
    source = files("relup_remote.host").joinpath("bootstrap.py").read_text()
    words = {word for line in [*source.splitlines(), "relup_remote"] if (word := line.partition(" ")[0]).isidentifier()}
    assert {"import", "from", "class", "def", "relup_remote"} <= words
    for word in words:
        (programs / word).write_text(f"#!/bin/sh\necho {word} >>{ran}\n")
        (programs / word).chmod(0o755)
    with running(tmp_path / "server", f"ForceCommand PATH={programs}:$PATH; {shell}") as server:
        secrets = NO_SECRETS if become == "never" else Secrets(sudo=Password("secret"))
        settings = server.settings(become=become, secrets=secrets, command_timeout=1.0)
        with Host(settings, core) as host, pytest.raises(Failure) as caught:
            host.run({"act": "echo"}, None, nothing)
    assert not ran.exists()
    assert (caught.value.err_type, caught.value.stage) == ("no_shell", "connect")
    assert "Something else waits for input there" in caught.value.message


def test_a_start_up_file_that_takes_too_long_is_no_such_shell(server: Server, core: Payload) -> None:
    session_file = server.host.ssh_dir / "session"
    session_file.write_text(session_file.read_text().replace("cd ", "tail -f /dev/null\ncd ", 1))
    with Host(server.settings(command_timeout=1.0), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "echo"}, None, nothing)
    assert caught.value.err_type == "ssh_timeout"


def test_a_word_of_the_core_that_was_lost_is_not_waited_for(server: Server, core: Payload) -> None:
    """Its signs of life would go on for as long as it waits for us."""
    (server.host.ssh_dir / "session").write_text("""#!/bin/sh\necho '{"event": "alive"}'\nexec cat\n""")
    with Host(server.settings(command_timeout=50), core) as host, pytest.raises(Failure) as caught:
        host.run({"act": "echo"}, None, nothing)
    assert caught.value.err_type == "core_failed"
    assert "alive" in caught.value.detail["said"]


def test_interruption_leaves_nothing_behind(server: Server, core: Payload) -> None:
    cores: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "hello":
            # While it runs for certain: afterwards it may be gone before one looks.
            cores.append(os.pidfd_open(event["pid"]))
        if event["event"] == "step":
            raise KeyboardInterrupt

    with Host(server.settings(), core) as host:
        with pytest.raises(KeyboardInterrupt):
            host.run({"act": "stop"}, None, interrupt)
        # Readable once it has ended, which it does at the end of its input.
        assert ended(cores[0])


def kill_server_of(event: dict[str, Any]) -> None:
    """End the server's process for this connection, as if the network had."""
    if event["event"] == "hello":
        os.kill(event["parent"], signal.SIGKILL)


def kill_core_of(event: dict[str, Any]) -> None:
    """End the core."""
    if event["event"] == "hello":
        os.kill(event["pid"], signal.SIGKILL)


def ended(process: int) -> bool:
    """Whether a process, given by its pidfd, has ended or does so soon."""
    import select

    try:
        return bool(select.select([process], [], [], 5)[0])
    finally:
        os.close(process)
