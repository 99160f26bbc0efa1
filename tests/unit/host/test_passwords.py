"""Passwords: real accounts, a real SSH server that takes them, and a real sudo that asks for them."""

import json
import pwd
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import sshd
from relup_remote.core.protocol import Failure
from relup_remote.host import Host
from relup_remote.host.payload import Payload
from relup_remote.host.transport.fabric import Connection
from relup_remote.inventory import HostSettings
from relup_remote.postchecks import ssh as postchecks
from relup_remote.secrets import NO_SECRETS, Password, Secrets

from ..terminal import on_terminal
from .accounts import Account, account, as_root
from .ssh_server import Server, running

pytestmark = as_root

OTHER = "nobody"
WRONG = "not-the-password"


@pytest.fixture(scope="module")
def alice() -> Iterator[Account]:
    """Someone with a password."""
    with account() as made:
        yield made


def options(alice: Account, *more: str) -> tuple[str, ...]:
    """The server's options for sessions of an account that can't see the server's files."""
    return (*more, f"AllowUsers {alice.name}", "ForceCommand none", "SetEnv HOME=/nonexistent")


PASSWORDS = ("AuthenticationMethods any", "PasswordAuthentication yes")
QUESTIONS = ("AuthenticationMethods any", "KbdInteractiveAuthentication yes", "UsePAM yes")


def settings(server: Server, alice: Account, secrets: Secrets = NO_SECRETS, **changes: Any) -> HostSettings:
    """The server as a host to log in to as ``alice``, with all the time it takes on a busy machine."""
    wanted: dict[str, Any] = {"key": None, "connect_timeout": 30.0, "command_timeout": 60.0, "become": OTHER}
    return server.settings(user=alice.name, secrets=secrets, **{**wanted, **changes})


def logs_in(settings: HostSettings) -> bool:
    connection = Connection(settings)
    try:
        return connection.is_active
    finally:
        connection.close()


def failure(settings: HostSettings) -> Failure:
    with pytest.raises(Failure) as caught:
        Connection(settings)
    assert WRONG not in f"{caught.value} {caught.value.to_json()}"
    return caught.value


@pytest.fixture(autouse=True)
def no_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of whoever runs the tests are left alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.mark.parametrize("ways", [PASSWORDS, QUESTIONS], ids=["password", "questions"])
def test_a_password_is_used_when_it_was_asked_for_and_not_else(tmp_path: Path, alice: Account, ways: Any) -> None:
    with running(tmp_path / "server", *options(alice, *ways)) as server:
        assert logs_in(settings(server, alice, Secrets(login=Password(alice.password))))
        assert failure(settings(server, alice)).message == "There is no key to offer to the SSH server."
        refused = failure(settings(server, alice, Secrets(login=Password(WRONG))))
        assert (refused.err_type, refused.detail["note"]) == ("auth_failed", "the password was refused")


def test_a_server_that_takes_no_passwords(tmp_path: Path, alice: Account) -> None:
    with running(tmp_path / "server", *options(alice)) as server:
        refused = failure(settings(server, alice, Secrets(login=Password(WRONG))))
    assert (refused.err_type, refused.detail["server_accepts"]) == ("auth_failed", ["publickey"])


def test_keys_come_first_even_where_the_server_hangs_up_after_each(tmp_path: Path, alice: Account) -> None:
    sshd.make_key(tmp_path / "other", "other")
    with running(tmp_path / "server", "MaxAuthTries 1", *options(alice, *PASSWORDS)) as server:
        assert logs_in(settings(server, alice, Secrets(login=Password(alice.password)), key=tmp_path / "other"))


def test_a_server_that_wants_a_key_and_a_password(tmp_path: Path, alice: Account) -> None:
    ways = ("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    with running(tmp_path / "server", *options(alice, *ways, "AuthorizedKeysFile /etc/ssh/none")) as server:
        keys = Path("/tmp") / f"{alice.name}.keys"
        try:
            # As the account it is that the server reads them.
            keys.write_text(server.key.with_name(f"{server.key.name}.pub").read_text())
            config = sshd.config(server.host)
            config.write_text(config.read_text().replace("/etc/ssh/none", str(keys)))
            sshd.stop(server.host)
            sshd.start(server.host)
            assert logs_in(settings(server, alice, Secrets(login=Password(alice.password)), key=server.key))
            refused = failure(settings(server, alice, key=server.key))
            assert refused.detail["server_wants_also"] == ["password"]
        finally:
            keys.unlink()


def test_secrets_are_never_shown(server: Server, alice: Account) -> None:
    shown = settings(server, alice, Secrets(WRONG, Password(WRONG), Password(WRONG)))
    assert WRONG not in f"{shown!r} {shown} {shown.secrets!r}"


# sudo


@pytest.fixture
def host(tmp_path: Path, alice: Account) -> Iterator[Server]:
    """A host that ``alice`` logs in to by her password."""
    with running(tmp_path / "server", *options(alice, *PASSWORDS)) as server:
        yield server


def become(host: Server, alice: Account, core: Payload, sudo: str | None) -> dict[str, Any]:
    """The facts of a core that runs as another user."""
    with Host(
        settings(host, alice, Secrets(login=Password(alice.password), sudo=None if sudo is None else Password(sudo))),
        core,
    ) as session:
        result = session.run({"act": "owned", "owner": OTHER}, None, lambda _event: None)
    assert result["outcome"] == "ok"
    return dict(result["facts"])


def test_sudo_gets_its_password(host: Server, alice: Account, core: Payload) -> None:
    with alice.in_sudoers(f"ALL=({OTHER}) ALL"):
        assert become(host, alice, core, alice.password)["uid"] == pwd.getpwnam(OTHER).pw_uid


def test_sudo_that_asks_for_nothing_gets_no_password(host: Server, alice: Account, core: Payload) -> None:
    with alice.in_sudoers(f"ALL=({OTHER}) NOPASSWD: ALL"):
        assert become(host, alice, core, WRONG)["uid"] == pwd.getpwnam(OTHER).pw_uid
        assert become(host, alice, core, None)["uid"] == pwd.getpwnam(OTHER).pw_uid


@pytest.mark.parametrize(
    ("password", "said"),
    [(WRONG, "1 incorrect password attempt"), (None, "a password is required"), ("", "1 incorrect password attempt")],
)
def test_sudo_that_refuses_a_password(
    host: Server, alice: Account, core: Payload, password: str | None, said: str
) -> None:
    started = time.monotonic()
    with alice.in_sudoers(f"ALL=({OTHER}) ALL"), pytest.raises(Failure) as caught:
        become(host, alice, core, password)
    assert caught.value.err_type == "become_failed"
    assert said in caught.value.detail["stderr"]
    assert ("did not accept the password" in caught.value.message) is (password is not None)
    assert ("--ask-sudo-password" in caught.value.hint) is (password is None)
    assert WRONG not in str(caught.value.to_json())
    # It ends by itself, not because the host was given up.
    assert time.monotonic() - started < 50


def test_a_wrong_sudo_password_is_one_attempt_however_many_hosts_there_are(
    host: Server, alice: Account, core: Payload
) -> None:
    """Several hosts, which are one here; sudo itself counts, and so does who looks at its log."""
    password = Password(WRONG)
    secrets = Secrets(login=Password(alice.password), sudo=password)
    counted: list[str] = []

    def ask(number: int) -> str:
        way = replace(settings(host, alice, secrets), name=f"n{number}")
        with Host(way, core) as session, pytest.raises(Failure) as caught:
            session.run({"act": "owned", "owner": OTHER}, None, lambda _event: None)
        counted.append(caught.value.detail.get("stderr", ""))
        return caught.value.message

    with alice.in_sudoers(f"ALL=({OTHER}) ALL"), ThreadPoolExecutor(4) as pool:
        said = list(pool.map(ask, range(4)))
        said.append(ask(0))
    assert sum(text.count("incorrect password attempt") for text in counted) == 1
    assert sum("1 incorrect password attempt" in text for text in counted) == 1
    assert sum("was not given to sudo here: it was refused by n" in text for text in said) >= 3


def test_a_wrong_login_password_is_one_attempt_however_many_hosts_there_are(tmp_path: Path, alice: Account) -> None:
    password = Password(WRONG)
    with running(tmp_path / "server", *options(alice, *PASSWORDS)) as server, ThreadPoolExecutor(4) as pool:
        ways = [replace(settings(server, alice, Secrets(login=password)), name=f"n{number}") for number in range(4)]
        notes = [str(failed.detail["note"]) for failed in pool.map(failure, ways)]
    assert sum(note == "the password was refused" for note in notes) == 1
    assert sum(note.startswith("the password was not tried: it was refused by n") for note in notes) == 3


def test_a_server_that_refuses_the_key_is_not_sent_its_passphrase(tmp_path: Path, alice: Account) -> None:
    sshd.make_key(tmp_path / "other", "other")
    # It is the right one for the account, so that whoever sends it gets in.
    with running(tmp_path / "server", *options(alice, *PASSWORDS)) as server:
        refused = failure(settings(server, alice, Secrets(passphrase=alice.password), key=tmp_path / "other"))
        assert (refused.err_type, len(refused.detail["keys_refused"])) == ("auth_failed", 1)
        assert logs_in(settings(server, alice, Secrets(login=Password(alice.password)), key=tmp_path / "other"))


def test_sudo_that_knows_nothing_of_us(host: Server, alice: Account, core: Payload) -> None:
    with pytest.raises(Failure) as caught:
        become(host, alice, core, alice.password)
    assert caught.value.err_type == "become_failed"


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
@pytest.mark.parametrize("command", ["internal-sftp", "/usr/sbin/nologin", "/bin/cat", "/bin/true"])
def test_an_account_without_a_shell_is_known_at_once(
    tmp_path: Path, alice: Account, core: Payload, transport: str, command: str
) -> None:
    """Also where sudo may ask: an SFTP server says nothing before it is spoken to, and neither would we."""
    with running(tmp_path / "server", f"ForceCommand {command}", *options(alice, *PASSWORDS)) as server:
        secrets = Secrets(login=Password(alice.password), sudo=Password(alice.password))
        started = time.monotonic()
        with (
            Host(settings(server, alice, secrets, transport=transport), core) as session,
            pytest.raises(Failure) as caught,
        ):
            session.run({"act": "owned", "owner": OTHER}, None, lambda _event: None)
    # It ends by itself, not because the host was given up.
    assert time.monotonic() - started < 50
    assert (caught.value.err_type, caught.value.stage) == ("no_shell", "connect")
    assert "ForceCommand" in caught.value.hint


@pytest.mark.parametrize("rule", ["ALL", "NOPASSWD: ALL"])
def test_checks_from_outside_become_another_the_same_way(host: Server, alice: Account, rule: str) -> None:
    with (
        alice.in_sudoers(f"ALL=({OTHER}) {rule}"),
        postchecks.connect(
            settings(host, alice, Secrets(login=Password(alice.password), sudo=Password(alice.password)))
        ) as link,
    ):
        ran = link.host(OTHER).run("id -un; cat")
        assert (ran.rc, ran.stdout.split()) == (0, [OTHER])
        assert link.host().run("id -un").stdout.split() == [alice.name]


def test_all_the_way_from_a_terminal(host: Server, alice: Account, tmp_path: Path) -> None:
    way = settings(host, alice)
    inventory = tmp_path / "hosts.yml"
    names = ("address", "port", "user", "become", "connect_timeout")
    more = {"known_hosts": str(way.known_hosts), "root_dir": "/nonexistent"}
    inventory.write_text(json.dumps({"hosts": {"n1": {**{name: getattr(way, name) for name in names}, **more}}}))
    command = [sys.executable, "-m", "relup_remote", "status", "--json", "--inventory", str(inventory)]
    with alice.in_sudoers(f"ALL=({OTHER}) ALL"):
        # What sudo wants is the same.
        typed = [f"{alice.password}\n", "\n"]
        status, seen = on_terminal([*command, "--ask-password", "--ask-sudo-password"], typed, b"password")
    assert status == 1
    assert alice.password not in seen
    [row] = json.loads(seen[seen.index("{") :])["hosts"]
    # The core came to life as the other user, and found no node.
    assert row["error"]["stage"] != "connect", row["error"]
