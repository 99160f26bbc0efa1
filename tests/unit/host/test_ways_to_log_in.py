"""Passwords and keys in either order: who `ssh` lets in with them gets in, and no password is tried more than once."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import sshd
from relup_remote.core.protocol import Failure
from relup_remote.host.transport import choice
from relup_remote.inventory import HostSettings
from relup_remote.secrets import Password, Secrets
from relup_remote.ways import Ways

from .accounts import Account, account, as_root
from .ssh_server import Server, running
from .test_passwords import WRONG, options

pytestmark = as_root

PASSWORD_FIRST = "PreferredAuthentications password,publickey"


@pytest.fixture(scope="module")
def alice() -> Iterator[Account]:
    """Someone with a password, and with a key that the servers know."""
    with account() as made:
        yield made


class Place(NamedTuple):
    """A server, and the configuration of who logs in there."""

    server: Server
    alice: Account
    config: Path

    def settings(self, password: str | Password | None, transport: str, name: str = "n1") -> HostSettings:
        """The server as a host."""
        given = Password(password) if isinstance(password, str) else password
        return self.server.settings(
            name=name,
            user=self.alice.name,
            key=None,
            ssh_config=self.config,
            secrets=Secrets(login=given),
            transport=transport,
            connect_timeout=30.0,
            command_timeout=60.0,
        )

    def count(self, words: str) -> int:
        """How often the server's log has some words."""
        return (self.server.host.ssh_dir / "sshd.log").read_text().count(words)

    def oracle(self, password: str | None) -> bool:
        """Whether `ssh` is let in, by someone who types this password where it is asked for."""
        program = self.config.with_name("types")
        program.write_text(f"#!/bin/sh\necho {shlex.quote(password or '')}\n")
        program.chmod(0o700)
        asks = ["-o", f"BatchMode={'no' if password else 'yes'}", "-o", "NumberOfPasswordPrompts=1"]
        way = ["-p", str(self.server.host.ssh_port), "-l", self.alice.name, "127.0.0.1", "true"]
        known = ["-o", f"UserKnownHostsFile={self.server.known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        environment = {**os.environ, "SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
        ended = subprocess.run(
            ["ssh", "-F", self.config, *asks, *known, *way],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
            env=environment,
        )
        return ended.returncode == 0


@contextmanager
def place(folder: Path, alice: Account, methods: str, *config: str, has_key: bool = True) -> Iterator[Place]:
    """A server that wants such methods, and a configuration with a key that it knows, or another one."""
    keys = Path("/tmp") / f"{alice.name}.keys"
    ways = (f"AuthenticationMethods {methods}", "PasswordAuthentication yes", f"AuthorizedKeysFile {keys}")
    with running(folder / "server", *options(alice, *ways)) as server:
        sshd.make_key(folder / "stranger", "stranger")
        key = server.key if has_key else folder / "stranger"
        file = folder / "config"
        file.write_text("\n".join([*config, f"IdentityFile {key}", "IdentitiesOnly yes", "IdentityAgent none", ""]))
        try:
            # As the account it is that the server reads them.
            keys.write_text(server.key.with_name(f"{server.key.name}.pub").read_text())
            yield Place(server, alice, file)
        finally:
            keys.unlink()


def reached(settings: HostSettings) -> Failure | None:
    """Why the host is not reached, if it is not."""
    with Ways() as ways:
        try:
            choice.connect(replace(settings, ways=ways), print).close()
        except Failure as failure:
            assert WRONG not in f"{failure} {failure.to_json()}"
            return failure
    return None


@pytest.mark.parametrize("transport", ["auto", "fabric", "openssh"])
def test_a_server_that_wants_the_password_and_then_the_key(tmp_path: Path, alice: Account, transport: str) -> None:
    with place(tmp_path, alice, "password,publickey") as there:
        assert there.oracle(alice.password)
        assert reached(there.settings(alice.password, transport)) is None
        assert not there.oracle(None)
        none_given = reached(there.settings(None, transport))
        assert none_given is not None
        assert none_given.err_type == "auth_failed"
        assert there.count("Failed password") == 0
        wrong = Password(WRONG)
        for name in ("n1", "n2"):
            refused = reached(there.settings(wrong, transport, name))
            assert refused is not None
            assert (refused.err_type, "password" in refused.detail["note"]) == ("auth_failed", True)
        assert there.count("Failed password") == 1


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_right_password_is_not_taken_for_a_wrong_one_where_the_key_is_refused(
    tmp_path: Path, alice: Account, transport: str
) -> None:
    with place(tmp_path, alice, "password,publickey", has_key=False) as there:
        assert not there.oracle(alice.password)
        password = Password(alice.password)
        for name in ("n1", "n2"):
            refused = reached(there.settings(password, transport, name))
            assert refused is not None
            assert refused.err_type == "auth_failed"
            assert "accepted the password, which is not all that it wants to see" in refused.message
            assert "refused" not in str(refused.detail.get("note"))
        # At each of the two, and once by `ssh` itself.
        assert there.count("Partial password") == 3


@pytest.mark.parametrize("transport", ["auto", "fabric", "openssh"])
def test_passwords_that_are_to_be_tried_first(tmp_path: Path, alice: Account, transport: str) -> None:
    with place(tmp_path, alice, "any", PASSWORD_FIRST) as there:
        assert there.oracle(None)
        assert reached(there.settings(None, transport)) is None
        assert there.count("Failed password") == 0
        assert there.oracle(alice.password)
        assert there.count("Accepted password") == 1
        assert reached(there.settings(alice.password, transport)) is None
        # The library offers its keys first whatever is preferred, and says so.
        assert there.count("Accepted password") == (1 if transport == "fabric" else 2)


@pytest.mark.parametrize("transport", ["auto", "fabric", "openssh"])
def test_a_wrong_password_keeps_no_key_from_being_tried_and_is_tried_once(
    tmp_path: Path, alice: Account, transport: str
) -> None:
    with place(tmp_path, alice, "any", PASSWORD_FIRST) as there:
        assert there.oracle(WRONG)
        tried = there.count("Failed password")
        wrong = Password(WRONG)
        for name in ("n1", "n2", "n3"):
            assert reached(there.settings(wrong, transport, name)) is None
        assert there.count("Failed password") - tried == (0 if transport == "fabric" else 1)
