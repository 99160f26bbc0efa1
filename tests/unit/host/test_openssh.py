"""The way by the system's `ssh`: passwords, masters and their ends, bastions; on real servers."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from lab import layout, processes, sshd
from relup_remote import ways
from relup_remote.core.protocol import Failure
from relup_remote.host import Host
from relup_remote.host.payload import Payload
from relup_remote.host.transport import Connection, askpass, choice, openssh
from relup_remote.inventory import HostSettings
from relup_remote.postchecks import ssh as postchecks
from relup_remote.secrets import NO_SECRETS, Password, Secrets
from relup_remote.ways import Ways

from .accounts import Account, account, as_root
from .ssh_server import ME, Server, running
from .test_passwords import OTHER, PASSWORDS, QUESTIONS, WRONG, options
from .test_passwords import settings as settings_of


@pytest.fixture(scope="module")
def alice() -> Iterator[Account]:
    """Someone with a password."""
    with account() as made:
        yield made


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for sockets in which nobody else has any, and no keys but those of the test."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = Path("/tmp") / f"rt-{os.getpid()}-{threading.get_ident() % 10000}"
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def failure(settings: HostSettings) -> Failure:
    """The failure that connecting ends in; it shows no secret."""
    with pytest.raises(Failure) as caught:
        openssh.Connection(settings)
    assert WRONG not in f"{caught.value} {caught.value.to_json()}"
    assert caught.value.stage == "connect"
    return caught.value


def says(connection: Connection, command: str) -> str:
    """What a command says on the host."""
    process = connection.start(command, 10.0)
    try:
        process.end_input()
        said = b""
        while data := process.receive(10.0):
            said += data
        return said.decode()
    finally:
        process.close()


# Passwords


def login(server: Server, alice: Account, secrets: Secrets = NO_SECRETS, **changes: Any) -> HostSettings:
    """The server as a host to log in to as ``alice``; there are no other keys."""
    config = server.known_hosts.with_name("config")
    config.write_text("IdentityFile none\nIdentitiesOnly yes\n")
    return settings_of(server, alice, secrets, **{"ssh_config": config, **changes})


@as_root
@pytest.mark.parametrize("kind", [PASSWORDS, QUESTIONS], ids=["password", "questions"])
def test_a_password_is_given_to_whom_it_is_for(tmp_path: Path, alice: Account, kind: Any) -> None:
    with running(tmp_path / "server", *options(alice, *kind)) as server:
        with Ways() as ways:
            secrets = Secrets(login=Password(alice.password))
            connection = openssh.Connection(login(server, alice, secrets, ways=ways))
            assert says(connection, "id -un") == f"{alice.name}\n"
            connection.close()
        assert failure(login(server, alice)).err_type == "auth_failed"
        refused = failure(login(server, alice, Secrets(login=Password(WRONG))))
        assert (refused.err_type, refused.detail["note"]) == ("auth_failed", "the password was refused")
        # The passphrase of a key is none of the server's business, although it would let us in.
        assert failure(login(server, alice, Secrets(passphrase=alice.password))).err_type == "auth_failed"
        log = (server.host.ssh_dir / "sshd.log").read_text()
    assert log.count("Failed password") + log.count("Failed keyboard-interactive") == 1


@as_root
def test_a_wrong_password_is_one_attempt_however_many_hosts_there_are(tmp_path: Path, alice: Account) -> None:
    secrets = Secrets(login=Password(WRONG))
    with running(tmp_path / "server", *options(alice, *PASSWORDS)) as server, ThreadPoolExecutor(4) as pool:
        hosts = [replace(login(server, alice, secrets), name=f"n{number}") for number in range(4)]
        failures = list(pool.map(failure, hosts))
        log = (server.host.ssh_dir / "sshd.log").read_text()
    assert {failed.err_type for failed in failures} == {"auth_failed"}
    notes = [failed.detail.get("note", "") for failed in failures]
    assert sum(note.startswith("the password was not tried: it was refused by n") for note in notes) == 3
    assert log.count("Failed password") == 1
    said = "".join(str(failed.detail["stderr"]) for failed in failures)
    assert "Traceback" not in said
    assert askpass.NOTHING not in said


def test_the_program_that_asks_ends_only_the_ssh_that_has_started_it(tmp_path: Path) -> None:
    """What takes the place of a parent that has ended is somebody else's."""
    askpass.program(tmp_path / "askpass")
    ask = [str(tmp_path / "askpass"), "(a@b) Password:"]
    environment = {**os.environ, askpass.SOCKET: str(tmp_path / "nobody")}
    code = f"import subprocess; print(subprocess.run({ask!r}, capture_output=True).stderr.decode(), end='', flush=True)"
    for is_its_own in (True, False):
        # By a session of its own it is as if it had another parent.
        in_between = code if is_its_own else code.replace("capture_output", "start_new_session=True, capture_output")
        ended = subprocess.run(
            [sys.executable, "-c", in_between], env=environment, capture_output=True, check=False, text=True
        )
        assert ended.returncode == (-signal.SIGTERM if is_its_own else 0)
        assert ended.stderr == ""
        assert is_its_own or ended.stdout == f"{askpass.NOTHING}\n"


@as_root
def test_a_jump_host_gets_no_password(server: Server, tmp_path: Path, alice: Account) -> None:
    with running(tmp_path / "bastion", *options(alice, *PASSWORDS)) as bastion:
        config = tmp_path / "config"
        known = f"UserKnownHostsFile {bastion.known_hosts}"
        config.write_text(f"Host jump\n HostName {layout.LOOPBACK}\n Port {bastion.host.ssh_port}\n {known}\n")
        way = replace(
            server.settings(secrets=Secrets(login=Password(alice.password))),
            ssh_config=config,
            ssh_args=("-J", f"{alice.name}@jump"),
        )
        refused = failure(way)
        log = (bastion.host.ssh_dir / "sshd.log").read_text()
    assert (refused.err_type, refused.detail["jump_host"]) == ("auth_failed", "jump")
    assert "Accepted" not in log


def test_the_passphrase_of_a_key(server: Server) -> None:
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(server.key)]
    subprocess.run(change, check=True, capture_output=True)
    with Ways() as ways:
        connection = openssh.Connection(server.settings(secrets=Secrets(passphrase="secret"), ways=ways))
        assert says(connection, "echo in") == "in\n"
        connection.close()
    assert failure(server.settings()).err_type in ("auth_failed", "key_unusable")
    refused = failure(server.settings(secrets=Secrets(passphrase=WRONG)))
    assert refused.err_type in ("auth_failed", "key_unusable")


@as_root
def test_checks_from_outside_go_the_same_way(tmp_path: Path, alice: Account) -> None:
    secrets = Secrets(login=Password(alice.password), sudo=Password(alice.password))
    with (
        running(tmp_path / "server", *options(alice, *PASSWORDS)) as server,
        alice.in_sudoers(f"ALL=({OTHER}) ALL"),
        postchecks.connect(login(server, alice, secrets, transport="openssh")) as link,
    ):
        ran = link.host(OTHER).run("id -un; cat; exit 4")
        assert (ran.rc, ran.stdout.split()) == (4, [OTHER])
        assert link.host().run("id -un").stdout.split() == [alice.name]


@as_root
def test_a_core_becomes_another(tmp_path: Path, alice: Account, core: Payload) -> None:
    secrets = Secrets(login=Password(alice.password), sudo=Password(alice.password))
    with running(tmp_path / "server", *options(alice, *PASSWORDS)) as server, alice.in_sudoers(f"ALL=({OTHER}) ALL"):
        way = login(server, alice, secrets, transport="openssh")
        with Host(way, core) as host:
            assert host.run({"act": "owned", "owner": OTHER}, None, lambda _event: None)["outcome"] == "ok"


# Masters


def logins(server: Server) -> int:
    """How often somebody has logged in."""
    return (server.host.ssh_dir / "sshd.log").read_text().count("Accepted publickey")


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_command_logs_in_once_however_often_it_asks(
    server: Server, core: Payload, own_folder: Path, transport: str
) -> None:
    with Ways() as ways:
        settings = server.settings(transport=transport, ways=ways)
        for _ in range(3):
            with Host(settings, core) as host:
                assert host.run({"act": "echo"}, None, lambda _event: None)["outcome"] == "ok"
            with postchecks.connect(settings) as link:
                assert link.host().run("echo in").stdout == "in\n"
        for folder in own_folder.iterdir():
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert logins(server) == 1
    assert list(own_folder.iterdir()) == []


def test_of_connections_that_nobody_uses_only_some_stay(
    server: Server, core: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "IDLE", 2)

    def ask(name: str) -> None:
        with Host(replace(server.settings(ways=shared), name=name), core) as host:
            host.run({"act": "echo"}, None, lambda _event: None)

    with Ways() as shared:
        for name in ("n1", "n2", "n3", "n2", "n3"):
            ask(name)
        assert logins(server) == 3
        # It was the one that nobody had used for longest.
        ask("n1")
        assert logins(server) == 4


def test_a_connection_in_use_is_closed_by_nobody_else(
    server: Server, core: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "IDLE", 0)
    with Ways() as shared, Host(server.settings(ways=shared), core) as first:
        for _ in range(2):
            assert first.run({"act": "echo"}, None, lambda _event: None)["outcome"] == "ok"
            with Host(server.settings(ways=shared), core) as second:
                second.run({"act": "echo"}, None, lambda _event: None)
        assert logins(server) == 1


def test_without_a_command_a_connection_has_its_own_master(server: Server, own_folder: Path) -> None:
    connection = openssh.Connection(server.settings())
    assert says(connection, "echo in") == "in\n"
    connection.close()
    assert list(own_folder.iterdir()) == []


def test_a_master_ends_soon_after_who_made_it_was_killed(server: Server, own_folder: Path) -> None:
    code = f"""
import sys, tempfile
sys.path.insert(0, {str(Path.cwd())!r})
tempfile.tempdir = {str(own_folder)!r}
from pathlib import Path
from relup_remote.host.transport import openssh
from relup_remote.inventory import HostSettings
openssh.LINGERS = 1
openssh.Connection(HostSettings("n1", address={layout.LOOPBACK!r}, port={server.host.ssh_port}, user={ME!r},
    key=Path({str(server.key)!r}), known_hosts=Path({str(server.known_hosts)!r})))
print("connected", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "connected\n"
        [folder] = own_folder.iterdir()
        [master] = masters(folder)
        watched = os.pidfd_open(master)
        controller.send_signal(signal.SIGKILL)
    assert ends(watched)
    # Its folder is removed by who comes next, once it is old enough to be nobody's.
    os.utime(folder, (0, 0))
    openssh.Connection(server.settings()).close()
    assert not folder.exists()


def masters(folder: Path) -> list[int]:
    """The processes that have a folder in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        words = (process / "cmdline").read_bytes() if (process / "cmdline").exists() else b""
        if str(folder).encode() in words and words.startswith(b"ssh"):
            found.append(int(process.name))
    return found


def ends(process: int) -> bool:
    """Whether a process, given by its pidfd, ends within some seconds."""
    import select

    try:
        return bool(select.select([process], [], [], 20)[0])
    finally:
        os.close(process)


def test_nothing_secret_is_where_others_can_see_it(
    server: Server, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever `ssh` starts sees its arguments and its environment: here a proxy command, which notes them."""
    noted = own_folder / "noted"
    spy = own_folder / "spy"
    spy.write_text(f"#!/bin/sh\n(env; cat /proc/$PPID/cmdline /proc/$PPID/environ) > {noted}\nexit 1\n")
    spy.chmod(0o755)
    secrets = Secrets(passphrase="hush-one", login=Password("hush-two"), sudo=Password("hush-three"))
    failure(server.settings(secrets=secrets, ssh_args=("-o", f"ProxyCommand={spy}")))
    seen = noted.read_text()
    assert "SSH_ASKPASS" in seen
    assert "hush" not in seen


def test_a_server_with_one_session_at_a_time(tmp_path: Path) -> None:
    with running(tmp_path / "server", "MaxSessions 1") as server:
        for transport in ("fabric", "openssh"):
            with Ways() as ways:
                connection = choice.connect(server.settings(transport=transport, ways=ways), print)
                first = connection.start("cat; echo over", 10.0)
                with ThreadPoolExecutor(1) as pool:
                    # It is asked for before the first is freed.
                    second = pool.submit(connection.start, "echo second", 10.0)
                    first.end_input()
                    assert first.receive(10.0) == b"over\n"
                    first.close()
                    assert second.result(20).receive(10.0) == b"second\n"
                connection.close()


def ssh_config(sections: Iterable[tuple[str, Server, str]]) -> str:
    """An ssh_config with a section for each name: its server, and what more it has."""
    lines = [
        f"Host {name}\n  HostName {layout.LOOPBACK}\n  Port {server.host.ssh_port}\n  User {ME}\n"
        f"  IdentityFile {server.key}\n  UserKnownHostsFile {server.known_hosts}\n{more}"
        for name, server, more in sections
    ]
    return "".join([*lines, "Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n"])


# Bastions


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[tuple[Server, list[HostSettings]]]:
    """A bastion that turns most of those away who come at once, and eight names of one host behind it."""
    with running(tmp_path / "bastion", "MaxStartups 2:90:4") as bastion, running(tmp_path / "inner") as inner:
        config = tmp_path / "config"
        sections = [
            ("jump", bastion, ""),
            *((f"n{number}", inner, "  ProxyJump jump\n") for number in range(8)),
        ]
        config.write_text(ssh_config(sections))
        yield (
            bastion,
            [
                HostSettings(f"n{number}", address=f"n{number}", ssh_config=config, connect_timeout=20.0)
                for number in range(8)
            ],
        )


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_all_hosts_behind_a_bastion_share_one_connection_to_it(
    behind: tuple[Server, list[HostSettings]], transport: str
) -> None:
    bastion, hosts = behind
    with Ways() as ways, ThreadPoolExecutor(8) as pool:

        def reach(settings: HostSettings) -> bytes:
            connection = choice.connect(replace(settings, transport=transport, ways=ways), print)
            process = connection.start("echo in", 20.0)
            try:
                return process.receive(20.0)
            finally:
                process.close()
                connection.close()

        assert list(pool.map(reach, hosts)) == [b"in\n"] * 8
        assert logins(bastion) == 1


def test_a_connection_to_a_bastion_that_answers_no_more_is_made_anew(behind: tuple[Server, list[HostSettings]]) -> None:
    bastion, hosts = behind
    with Ways() as ways:
        first, second = (replace(host, ways=ways, transport="fabric", connect_timeout=2.0) for host in hosts[:2])
        connection = choice.connect(first, print)
        # From OpenSSH 9.8 on, the process that carries the data is a child of the session's first one.
        frozen = processes.descendants(sshd.pid(bastion.host) or 0)
        assert frozen
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            choice.connect(second, print).close()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
            connection.close()
        assert logins(bastion) == 2


def test_a_host_that_does_not_answer_is_no_reason_to_leave_the_bastion(
    behind: tuple[Server, list[HostSettings]],
) -> None:
    bastion, hosts = behind
    with socket.socket() as silent, Ways() as ways:
        silent.bind((layout.LOOPBACK, 0))
        silent.listen(0)
        way = replace(hosts[0], ways=ways, transport="fabric", connect_timeout=2.0)
        connection = choice.connect(way, print)
        # Its queue is full: who else comes is not answered.
        with socket.create_connection(silent.getsockname()), pytest.raises(Failure) as caught:
            choice.connect(replace(way, port=silent.getsockname()[1]), print)
        assert caught.value.err_type == "ssh_timeout"
        assert says(connection, "echo still") == "still\n"
        connection.close()
        assert logins(bastion) == 1


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_server_that_turns_many_away_is_tried_again(tmp_path: Path, transport: str) -> None:
    with (
        running(tmp_path / "server", "MaxStartups 1:100:1") as server,
        Ways(connects=3) as ways,
        ThreadPoolExecutor(6) as pool,
    ):

        def reach(number: int) -> bool:
            # Each of them is another host, as far as we know.
            way = server.settings(transport=transport, ways=ways, ssh_args=("-o", f"SetEnv=N={number}"))
            connection = choice.connect(replace(way, connect_timeout=20.0), print)
            connection.close()
            return True

        assert all(pool.map(reach, range(6)))


def test_never_more_logins_at_once_than_allowed() -> None:
    at_once, most, lock = 0, 0, threading.Lock()
    barrier = threading.Barrier(2)

    def log_in(ways: Ways) -> None:
        nonlocal at_once, most
        with ways.login(20.0):
            with lock:
                at_once += 1
                most = max(most, at_once)
            # Two come to this point together, and never a third.
            barrier.wait(20)
            with lock:
                at_once -= 1

    with Ways(connects=2) as ways, ThreadPoolExecutor(8) as pool:
        list(pool.map(log_in, [ways] * 8))
    assert most == 2


class CountedLock:
    """A lock, and an event for when so many have come to it."""

    def __init__(self, many: int) -> None:
        self._lock = threading.Lock()
        self._left = threading.Semaphore(many - 1)
        self.all_came = threading.Event()

    def __enter__(self) -> None:
        if not self._left.acquire(blocking=False):
            self.all_came.set()
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def test_who_waits_for_a_bastion_fails_with_who_tried_it() -> None:
    began, go_on = threading.Event(), threading.Event()
    tries: list[int] = []

    def fail() -> Ways:
        tries.append(1)
        began.set()
        go_on.wait(20)
        raise Failure("host_unreachable")

    with Ways() as ways, ThreadPoolExecutor(3) as pool:
        lock = CountedLock(3)
        ways._locks["bastion"] = cast("threading.Lock", lock)
        first = pool.submit(ways.kept, "bastion", fail, lambda _made: True)
        began.wait(20)
        others = [pool.submit(ways.kept, "bastion", fail, lambda _made: True) for _ in range(2)]
        assert lock.all_came.wait(20)
        go_on.set()
        assert all(isinstance(each.exception(20), Failure) for each in (first, *others))
        assert len(tries) == 1
        # Who comes later tries again.
        with pytest.raises(Failure):
            ways.kept("bastion", fail, lambda _made: True)
        assert len(tries) == 2


# This very machine


def test_a_core_runs_here_without_ssh(tmp_path: Path, core: Payload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tarball = tmp_path / "release.tar.gz"
    tarball.write_bytes(bytes(3_000_000))
    here = HostSettings("n1", transport="local", become="never", address="nowhere.invalid")
    with Host(here, core) as host:
        assert host.run({"act": "echo"}, None, lambda _event: None)["facts"]["home"] == str(tmp_path)
        wanted = host.run({"act": "want", "offset": 1, "bytes": 2_000_000}, tarball, lambda _event: None)
        assert wanted["outcome"] == "staged"
        with pytest.raises(Failure) as caught:
            host.run({"act": "die"}, None, lambda _event: None)
    assert caught.value.detail["ended_by"] == "exit status 7"
    assert json.dumps(caught.value.to_json())


@as_root
def test_a_core_becomes_another_here(core: Payload, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Python that everybody may run.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    here = HostSettings("n1", transport="local", become=OTHER)
    with Host(here, core) as host:
        assert host.run({"act": "owned", "owner": OTHER}, None, lambda _event: None)["outcome"] == "ok"


def test_checks_from_outside_run_here() -> None:
    with postchecks.connect(HostSettings("n1", transport="local", address="nowhere.invalid")) as link:
        ran = link.host().run("echo %s; exit 3", "a b")
        assert (ran.rc, ran.stdout) == (3, "a b\n")


# Masters of the operator's


@pytest.fixture
def mastered(tmp_path: Path, own_folder: Path) -> Iterator[tuple[Server, Path]]:
    """A server that lets nobody in any more, a master connection to it, and a host behind it."""
    with running(tmp_path / "bastion") as bastion, running(tmp_path / "inner") as inner:
        config, sockets = tmp_path / "config", own_folder / "100%-%C"
        path = str(sockets).replace("%-", "%%-")
        sections = [("otp", bastion, f"  ControlPath {path}\n"), ("n1", inner, "  ProxyJump otp\n")]
        config.write_text(ssh_config(sections))
        subprocess.run(
            ["ssh", "-F", config, "-o", "BatchMode=yes", "-fNM", "otp"], check=True, stderr=subprocess.DEVNULL
        )
        (bastion.host.ssh_dir / "authorized_keys").write_text("")
        try:
            yield bastion, config
        finally:
            subprocess.run(["ssh", "-F", config, "-O", "exit", "otp"], capture_output=True, check=False)


@pytest.mark.parametrize("address", ["otp", "n1"])
@pytest.mark.parametrize("transport", ["auto", "openssh"])
def test_a_master_of_the_operator_s_is_used_and_left(
    mastered: tuple[Server, Path], address: str, transport: str
) -> None:
    bastion, config = mastered
    told = list[str]()
    for _ in range(2):
        with Ways() as ways:
            way = HostSettings("x", address=address, ssh_config=config, transport=transport, ways=ways)
            connection = choice.connect(way, told.append)
            assert says(connection, "echo in") == "in\n"
            assert connection.is_active
            connection.close()
    subprocess.run(["ssh", "-F", config, "-o", "BatchMode=yes", address, "true"], check=True)
    assert logins(bastion) == 1
    assert [("your master connection" in note) for note in told] == [True, True][: len(told)]
    assert bool(told) is (transport == "auto")
    subprocess.run(["ssh", "-F", config, "-O", "exit", "otp"], check=True, capture_output=True)
    with pytest.raises(Failure) as caught:
        choice.connect(replace(way, ways=None), told.append)
    assert caught.value.err_type == "auth_failed"


@pytest.mark.parametrize("transport", ["auto", "openssh"])
def test_a_master_of_the_operator_s_is_asked_once_and_its_end_is_noticed(
    mastered: tuple[Server, Path], transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bastion, config = mastered
    way = HostSettings("x", address="otp", ssh_config=config, transport=transport)
    control, orders = openssh._control, list[str]()

    def counted(master: Path, order: str) -> bool:
        orders.append(order)
        return control(master, order)

    monkeypatch.setattr(openssh, "_control", counted)
    choice.connect(way, print).close()
    assert orders == ["check"]

    def ends_after(master: Path, order: str) -> bool:
        is_there = control(master, order)
        subprocess.run(["ssh", "-F", config, "-O", "exit", "otp"], check=True, capture_output=True)
        return is_there

    monkeypatch.setattr(openssh, "_control", ends_after)
    with pytest.raises(Failure) as caught:
        choice.connect(way, print)
    # One of ours is tried, which is let in no more.
    assert caught.value.err_type == "auth_failed"


def test_a_master_has_seen_who_knows_what_key(mastered: tuple[Server, Path]) -> None:
    bastion, config = mastered
    for known_hosts in (bastion.known_hosts, Path(os.devnull)):
        with pytest.raises(Failure) as caught:
            choice.connect(HostSettings("x", address="otp", ssh_config=config, known_hosts=known_hosts), print)
        assert caught.value.err_type == ("host_key_unknown" if known_hosts == Path(os.devnull) else "auth_failed")


# The configuration


@as_root
def test_the_system_s_configuration_says_what_it_says_to_ssh(tmp_path: Path, server: Server) -> None:
    system = tmp_path / "system"
    (system / "extra.d").mkdir(parents=True)
    (system / "ssh_config").write_text(
        "Include extra.d/*.conf missing\nHost alias\n  include = 'in section' # why\nHost other\n  Include never\n"
        "Match all\n  Include /etc/ssh/whole.conf\nServerAliveCountMax 9\n"
    )
    (system / "extra.d" / "a.conf").write_text(
        "# caf\udce9\nHost alias\n  HostName 192.0.2.7\n", errors="surrogateescape"
    )
    (system / "extra.d" / "b.conf").write_text("RevokedHostKeys /revoked\nInclude deeper\n")
    (system / "deeper").write_text("ProxyJump bastion\nInclude deeper\n")
    (system / "in section").write_text("HostKeyAlias named\n")
    (system / "never").write_text("BindAddress 192.0.2.1\n")
    (system / "whole.conf").write_text("Port 2200\n")
    (system / "deeper").write_text("ProxyJump bastion\n")
    for file in (file for file in system.rglob("*") if file.is_file()):
        file.chmod(0o644)
    makes = (
        "import sys; from relup_remote.host.transport import openssh; from relup_remote.inventory import HostSettings\n"
        "openssh._Attempt.run = lambda self: sys.exit(__import__('subprocess').call(\n"
        "    [word for word in ['ssh', '-G', *self._command('/x')[1:]] if word not in ('-f', '-N', '-M')]))\n"
        "openssh.Connection(HostSettings('n1', address='alias'))"
    )

    def said(*command: str) -> dict[str, str]:
        script = 'mount --bind "$0" /etc/ssh && exec "$@"'
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, system, *command], capture_output=True, text=True, check=True
        )
        return dict(line.split(" ", 1) for line in ended.stdout.splitlines())

    ours, theirs = said(sys.executable, "-c", makes), said("ssh", "-G", "alias")
    assert (theirs["hostname"], theirs["port"], theirs["hostkeyalias"]) == ("192.0.2.7", "2200", "named")
    assert (theirs["proxyjump"], theirs["revokedhostkeys"]) == ("bastion", "/revoked")
    ruled = {line.split()[0].lower() for line in openssh.RULES.splitlines()}
    ruled |= {"connecttimeout", "serveraliveinterval", "loglevel", "proxycommand", "batchmode", "controlmaster"}
    ruled |= {"controlpath", "controlpersist", "proxyjump", "host", "requesttty", "sessiontype"}
    assert {name: value for name, value in ours.items() if name not in ruled} == {
        name: value for name, value in theirs.items() if name not in ruled
    }
    assert "-- bastion" in ours["proxycommand"]


@as_root
@pytest.mark.parametrize("transport", ["fabric", "openssh"])
@pytest.mark.parametrize("shell", ["/bin/sh", "other"])
def test_an_ssh_in_a_proxy_command_sends_no_password_at_all(
    server: Server, tmp_path: Path, alice: Account, transport: str, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shell == "other":
        # Its name is not one that we know.
        shell = str(tmp_path / "other")
        Path(shell).write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
        Path(shell).chmod(0o755)
    monkeypatch.setenv("SHELL", shell)
    with running(tmp_path / "bastion", *options(alice, *PASSWORDS)) as bastion:
        command = (
            f"ssh -F none -o UserKnownHostsFile={bastion.known_hosts} -o IdentityFile=none "
            f"-p {bastion.host.ssh_port} -W %h:%p {alice.name}@{layout.LOOPBACK}"
        )
        secrets = Secrets(login=Password(alice.password))
        way = server.settings(secrets=secrets, transport=transport, ssh_args=("-o", f"ProxyCommand={command}"))
        with pytest.raises(Failure) as caught:
            choice.connect(way, print)
        log = (bastion.host.ssh_dir / "sshd.log").read_text()
    assert askpass.NOTHING in str(caught.value.to_json())
    assert "Connection" in log
    assert "Failed" not in log


@pytest.mark.parametrize("name", ["with space", 'with"quote', "with\\backslash", "with%h", "[with]"])
@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_files_of_the_inventory_may_have_any_name(server: Server, tmp_path: Path, name: str, transport: str) -> None:
    known, key = tmp_path / f"{name} known", tmp_path / f"{name} key"
    known.write_bytes(server.known_hosts.read_bytes())
    key.write_bytes(server.key.read_bytes())
    key.chmod(0o600)
    connection = choice.connect(server.settings(known_hosts=known, key=key, transport=transport), print)
    assert says(connection, "echo reached") == "reached\n"
    connection.close()
