"""Connecting: who the host is, who we are, and all that can keep the two apart."""

import contextlib
import os
import pwd
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from lab import layout, sshd
from relup_remote.core.protocol import Failure
from relup_remote.host import identities, route
from relup_remote.host.transport.fabric import Connection
from relup_remote.inventory import HostSettings
from relup_remote.secrets import NO_SECRETS, Secrets

from .ssh_server import Server, agent, free_port, running


def failure(settings: HostSettings, ssh_config: Path | None = None, secrets: Secrets = NO_SECRETS) -> Failure:
    """The failure that connecting ends in."""
    with pytest.raises(Failure) as caught:
        Connection(replace(settings, ssh_config=ssh_config, secrets=secrets)).close()
    assert caught.value.stage == "connect"
    return caught.value


def connects(settings: HostSettings, ssh_config: Path | None = None, secrets: Secrets = NO_SECRETS) -> bool:
    """Whether connecting succeeds."""
    connection = Connection(replace(settings, ssh_config=ssh_config, secrets=secrets))
    try:
        return connection.is_active
    finally:
        connection.close()


def fingerprint(server: Server) -> str:
    """The fingerprint of the server's host key, as OpenSSH says it."""
    command = ["ssh-keygen", "-lf", str(server.host.ssh_dir / "host_key.pub")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]


# Who the host is


def test_known_host(server: Server) -> None:
    assert connects(server.settings())


def test_unknown_host(server: Server) -> None:
    server.known_hosts.write_text("")
    found = failure(server.settings())
    assert found.err_type == "host_key_unknown"
    assert fingerprint(server) in found.message
    assert found.detail["files"] == [str(server.known_hosts)]
    assert "ssh-keyscan" in found.hint


def test_changed_host(server: Server, tmp_path: Path) -> None:
    other = sshd.make_key(tmp_path / "other", "other").split()
    server.known_hosts.write_text(f"[{layout.LOOPBACK}]:{server.host.ssh_port} {other[0]} {other[1]}\n")
    found = failure(server.settings())
    assert found.err_type == "host_key_changed"
    assert fingerprint(server) in found.message
    assert found.detail["keys_known"][0].endswith(f"({server.known_hosts}:1)")


def test_revoked_host(server: Server) -> None:
    server.known_hosts.write_text(server.known_hosts.read_text() + "@revoked * " + public_half(server))
    found = failure(server.settings())
    assert found.err_type == "host_key_revoked"
    assert "revoked" in found.message


def test_no_setting_of_ssh_config_lets_an_unknown_host_in(server: Server, tmp_path: Path) -> None:
    server.known_hosts.write_text("")
    config = tmp_path / "config"
    config.write_text("Host *\n StrictHostKeyChecking no\n")
    assert failure(server.settings(), config).err_type == "host_key_unknown"


def public_half(server: Server) -> str:
    """The server's host key as in a known_hosts file, without the host."""
    return " ".join((server.host.ssh_dir / "host_key.pub").read_text().split()[:2]) + "\n"


# Who we are


def test_key_that_is_refused(server: Server, tmp_path: Path) -> None:
    sshd.make_key(tmp_path / "other", "other")
    found = failure(server.settings(key=tmp_path / "other"))
    assert found.err_type == "auth_failed"
    assert len(found.detail["keys_refused"]) == 1


def test_user_that_is_refused(server: Server) -> None:
    assert failure(server.settings(user="nobody")).err_type == "auth_failed"


@pytest.mark.parametrize("content", [None, "no key at all", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"])
def test_key_that_is_unusable(server: Server, tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "bad key"
    if content is not None:
        key.write_text(content)
    found = failure(server.settings(key=key))
    assert found.err_type == "key_unusable"
    assert str(key) in found.message


def test_key_with_a_passphrase(server: Server) -> None:
    protect(server.key)
    found = failure(server.settings())
    assert found.err_type == "key_unusable"
    assert "passphrase" in found.message
    assert "secret" not in str(found.to_json())


def test_key_with_a_passphrase_is_taken_from_the_agent_and_no_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(server.key.read_bytes())
    plain.chmod(0o600)
    others = [tmp_path / f"other{number}" for number in range(8)]
    for other in others:
        sshd.make_key(other, "other")
    protect(server.key)
    with agent(tmp_path / "agent", [*others, plain]) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        # The server hangs up after six keys.
        assert connects(server.settings())
        # A public half alone names one of the agent's keys, too.
        assert connects(server.settings(key=server.key.with_name(f"{server.key.name}.pub")))


def test_keys_of_the_agent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with agent(tmp_path / "agent", [server.key]) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert connects(server.settings(key=None))


def many_keys(folder: Path, right: Path) -> list[Path]:
    """Ten keys, the last of them ``right``, as an agent may hold them."""
    others = [folder / f"other{number}" for number in range(9)]
    for other in others:
        sshd.make_key(other, "other")
    return [*others, right]


@pytest.mark.parametrize("tries", [1, 2, 6])
def test_many_keys_of_the_agent_and_a_server_that_takes_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        running(tmp_path / "server", f"MaxAuthTries {tries}") as server,
        agent(tmp_path / "agent", many_keys(tmp_path, server.key)) as path,
    ):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        assert connects(server.settings(key=None))
        refused = failure(server.settings(key=None, user="nobody"))
        assert (refused.err_type, len(refused.detail["keys_refused"])) == ("auth_failed", 10)


def test_the_key_that_ssh_config_names_comes_before_the_others_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "server", "MaxAuthTries 2") as server:
        public = tmp_path / "named.pub"
        public.write_text(server.key.with_name(f"{server.key.name}.pub").read_text())
        with agent(tmp_path / "agent", many_keys(tmp_path, server.key)) as path:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            config = config_for(server, tmp_path, IdentityFile=public, IdentitiesOnly="no")
            assert connects(ALIAS, config)
        log = (server.host.ssh_dir / "sshd.log").read_text()
        assert "Accepted publickey" in log
        assert "Failed publickey" not in log
        assert "Too many authentication failures" not in log


@pytest.mark.parametrize("only", ["yes", "no"])
def test_the_agent_that_ssh_config_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: str
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "none"))
    with agent(tmp_path / "agent", [server.key]) as path:
        public = f"{server.key}.pub"
        config = config_for(server, tmp_path, IdentityFile=public, IdentitiesOnly=only, IdentityAgent=path)
        assert connects(ALIAS, config)
        config = config_for(server, tmp_path, IdentityFile=public, IdentitiesOnly=only, IdentityAgent="none")
        assert failure(ALIAS, config).err_type == "auth_failed"


def test_the_passphrase_of_a_key(server: Server, tmp_path: Path) -> None:
    protect(server.key)
    assert connects(server.settings(), secrets=Secrets(passphrase="secret"))
    assert connects(ALIAS, config_for(server, tmp_path), Secrets(passphrase="secret"))
    found = failure(server.settings(), secrets=Secrets(passphrase="wrong-one"))
    assert found.err_type == "key_unusable"
    assert "the passphrase that was given does not open it" in found.message
    assert "wrong-one" not in str(found.to_json())


def test_no_key_to_offer(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = failure(server.settings(key=None))
    assert found.err_type == "auth_failed"
    assert "no key to offer" in found.message


def test_a_key_that_needs_a_passphrase_is_named_where_there_is_no_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    protect(server.key)
    found = failure(ALIAS, config_for(server, tmp_path))
    assert found.err_type == "auth_failed"
    assert f"{server.key}: it has a passphrase" in found.message


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
@pytest.mark.parametrize("form", ["OpenSSH", "PEM", "PKCS8"])
def test_formats_of_keys(tmp_path: Path, kind: str, form: str) -> None:
    """The public half that OpenSSH makes of a key is the one that we offer."""
    file = tmp_path / "key"
    # The usual size of an RSA key takes a second to make.
    size = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", file], check=True)
    if form == "PKCS8" and kind == "ed25519":
        # Older versions of ssh-keygen can't write these.
        key = serialization.load_ssh_private_key(file.read_bytes(), None)
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    elif form != "OpenSSH":
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "", "-m", form, "-f", file], check=True)
    (found,) = identities.only(file, identities.Keys()).found
    assert found.get_base64() == file.with_name("key.pub").read_text().split()[1]


def test_an_expired_certificate_keeps_no_key_from_being_tried(server: Server, tmp_path: Path) -> None:
    sshd.make_key(tmp_path / "ca", "ca")
    signed = [
        "ssh-keygen",
        "-q",
        "-s",
        str(tmp_path / "ca"),
        "-I",
        "id",
        "-V",
        "20200101:20200102",
        f"{server.key}.pub",
    ]
    subprocess.run(signed, check=True)
    assert server.key.with_name(f"{server.key.name}-cert.pub").exists()
    assert connects(server.settings())


def test_a_key_of_the_agent_that_can_not_sign_keeps_no_other_from_being_tried(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a key on a token that has been pulled out. It is one that the server would accept."""
    other = tmp_path / "other"
    with (server.host.ssh_dir / "authorized_keys").open("a") as file:
        file.write(sshd.make_key(other, "other"))
    with agent(tmp_path / "real", [other]) as real, refusing(tmp_path / "agent", real) as path:
        config = config_for(
            server, tmp_path, IdentityFile=f"{other}.pub\n  IdentityFile {server.key}", IdentityAgent=path
        )
        other.unlink()
        assert connects(ALIAS, config)
        found = failure(ALIAS, config_for(server, tmp_path, IdentityFile=f"{other}.pub", IdentityAgent=path))
    assert found.err_type == "auth_failed"
    (reason,) = found.detail["keys_not_used"]
    assert "signing" in reason


def test_an_agent_that_never_answers(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "agent"))
        silent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert connects(server.settings(connect_timeout=2.0))
        found = failure(server.settings(connect_timeout=2.0, key=None))
    assert "did not answer within" in str(found.detail["keys_not_used"])


def protect(key: Path) -> None:
    """Give a key a passphrase."""
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True, capture_output=True
    )


@contextmanager
def refusing(path: Path, real: Path) -> Iterator[Path]:
    """An agent that lists the keys of another and signs with none of them; its socket."""
    sign_request, failed = 13, b"\0\0\0\1\5"

    def relay(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as behind:
            behind.connect(str(real))
            while head := client.recv(4):
                asked = client.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
                if asked[0] == sign_request:
                    client.sendall(failed)
                    continue
                behind.sendall(head + asked)
                size = behind.recv(4, socket.MSG_WAITALL)
                client.sendall(size + behind.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=relay, args=[listener.accept()[0]], daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


# Getting there


def test_closed_port(server: Server) -> None:
    found = failure(server.settings(port=free_port()))
    assert found.err_type == "host_unreachable"
    assert "refused" in found.detail["error"]


def test_name_that_does_not_exist(server: Server) -> None:
    assert failure(server.settings(address="no-such-host.invalid")).err_type == "host_unreachable"


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["nothing", "banner"])
def test_server_that_falls_silent(server: Server, says: bytes) -> None:
    with speaking(says) as port:
        started = time.monotonic()
        found = failure(server.settings(port=port, connect_timeout=0.7))
        assert found.err_type == "ssh_timeout"
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-1.5-old\r\n"])
def test_server_of_another_kind(server: Server, says: bytes) -> None:
    with speaking(says, then_close=True) as port:
        assert failure(server.settings(port=port)).err_type == "host_unreachable"


@contextmanager
def speaking(words: bytes, then_close: bool = False) -> Iterator[int]:
    """A server that says ``words`` to the first who connects, and then nothing; its port."""
    with socket.create_server((layout.LOOPBACK, 0)) as listener:
        accepted: list[socket.socket] = []

        def serve() -> None:
            client, _ = listener.accept()
            client.sendall(words)
            if then_close:
                client.close()
            accepted.append(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()
        accepted[0].close()


# The user's ssh_config


def config_for(server: Server, tmp_path: Path, **more: Any) -> Path:
    """An ssh_config with the server as ``alias``."""
    options = {
        "HostName": layout.LOOPBACK,
        "Port": server.host.ssh_port,
        "User": server.settings().user,
        "IdentityFile": server.key,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": server.known_hosts,
        "GlobalKnownHostsFile": "none",
        **more,
    }
    config = tmp_path / "config"
    config.write_text("Host alias\n" + "".join(f"  {name} {value}\n" for name, value in options.items()))
    return config


ALIAS = HostSettings("n1", address="alias", connect_timeout=5.0)


def test_alias_with_all_it_says(server: Server, tmp_path: Path) -> None:
    assert connects(ALIAS, config_for(server, tmp_path))


def test_inventory_wins_over_ssh_config(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, Port=1, User="nobody", IdentityFile="/none", UserKnownHostsFile="/none")
    assert connects(server.settings(address="alias"), config)


def test_host_key_alias(server: Server, tmp_path: Path) -> None:
    server.known_hosts.write_text("the-cluster " + public_half(server))
    assert failure(ALIAS, config_for(server, tmp_path)).err_type == "host_key_unknown"
    assert connects(ALIAS, config_for(server, tmp_path, HostKeyAlias="The-Cluster"))


def test_timeout_of_ssh_config_gives_way(server: Server, tmp_path: Path) -> None:
    assert connects(ALIAS, config_for(server, tmp_path, ConnectTimeout=99))


@pytest.mark.parametrize("form", ["keys", "keys with a comment", "list", "list of fingerprints", "damaged", "missing"])
def test_key_that_ssh_config_revokes(server: Server, tmp_path: Path, form: str) -> None:
    """OpenSSH itself is asked as well: who it lets in, we let in."""
    revoked, other = tmp_path / "revoked keys", sshd.make_key(tmp_path / "other", "other")
    option = {"RevokedHostKeys": f'"{revoked}"'}
    revoke(revoked, form, other)
    config = config_for(server, tmp_path, **option)
    lets_in = form not in ("damaged", "missing")
    assert openssh_lets_in(config) is lets_in
    assert connects(ALIAS, config) if lets_in else failure(ALIAS, config).err_type == "host_key_revoked"
    revoke(revoked, form, public_half(server))
    assert not openssh_lets_in(config)
    found = failure(ALIAS, config)
    assert found.err_type == "host_key_revoked"
    assert str(revoked) in found.message
    # What the inventory says of known keys does not make it valid.
    assert failure(server.settings(address="alias"), config).err_type == "host_key_revoked"


def revoke(file: Path, form: str, key: str) -> None:
    """Revokes a public key, in one of the forms that OpenSSH reads."""
    if form == "damaged":
        file.write_bytes(b"SSHKRL\n\0\0\0\0\1")
    elif form.startswith("list"):
        what = f"sha256: {key}" if "fingerprints" in form else key
        made = subprocess.run(
            ["ssh-keygen", "-k", "-f", file, "-"], input=what, check=True, capture_output=True, text=True
        )
        assert made
    elif form != "missing":
        file.write_text(f"# gone\n{key.strip()}{' of n1' if 'comment' in form else ''}\n")


def openssh_lets_in(config: Path) -> bool:
    """Whether `ssh` logs in."""
    ended = subprocess.run(
        ["ssh", "-F", config, "-o", "BatchMode=yes", "alias", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return ended.returncode == 0


def test_proxy_command(server: Server, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(RELAY)
    config = config_for(server, tmp_path, Port=server.host.ssh_port, ProxyCommand=f"python3 {relay} %h %p")
    assert connects(ALIAS, config)


RELAY = """\
import os, socket, sys, threading
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while True:
        data = os.read(0, 65536)
        if not data:
            os._exit(0)
        peer.sendall(data)
threading.Thread(target=up, daemon=True).start()
while True:
    data = peer.recv(65536)
    if not data:
        break
    os.write(1, data)
"""


def jump(server: Server, tmp_path: Path, known_hosts: str) -> Path:
    """An ssh_config in which the way to ``alias`` leads over the same server, called ``jump``."""
    (tmp_path / "jump_known_hosts").write_text(known_hosts)
    config = config_for(server, tmp_path, ProxyJump="jump")
    config.write_text(
        config.read_text()
        + config.read_text()
        .replace("Host alias", "Host jump")
        .replace("  ProxyJump jump\n", "")
        .replace(str(server.known_hosts), str(tmp_path / "jump_known_hosts"))
    )
    return config


def test_proxy_jump(server: Server, tmp_path: Path) -> None:
    assert connects(ALIAS, jump(server, tmp_path, server.known_hosts.read_text()))


def test_jump_host_that_is_unknown(server: Server, tmp_path: Path) -> None:
    found = failure(ALIAS, jump(server, tmp_path, ""))
    assert (found.err_type, found.detail["jump_host"]) == ("host_key_unknown", "jump")


def test_jump_host_that_is_down(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, ProxyJump=f"{layout.LOOPBACK}:{free_port()}")
    found = failure(ALIAS, config)
    assert (found.err_type, found.detail["error"]) == ("host_unreachable", "Connection refused")
    assert found.detail["jump_host"] == layout.LOOPBACK


def test_jump_host_that_does_not_let_through(server: Server, tmp_path: Path) -> None:
    with running(tmp_path / "shut", "PermitOpen none") as shut:
        config = config_for(server, tmp_path, ProxyJump="shut")
        text = config.read_text()
        config.write_text(text + config_for(shut, tmp_path).read_text().replace("alias", "shut"))
        found = failure(ALIAS, config)
    assert found.err_type == "host_unreachable"
    assert "does not allow a connection" in found.message


def test_pattern_that_fits_the_jump_host_too(server: Server, tmp_path: Path) -> None:
    config = jump(server, tmp_path, server.known_hosts.read_text())
    config.write_text("Host alias jump\n  ProxyJump jump\n" + config.read_text())
    assert connects(ALIAS, config)


def test_jump_hosts_in_a_circle(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, ProxyJump="left")
    config.write_text(config.read_text() + "Host left\n  ProxyJump right\nHost right\n  ProxyJump left\n")
    found = failure(ALIAS, config)
    assert found.err_type == "host_unreachable"
    assert "lead in a circle" in found.message


@pytest.mark.parametrize("way", ["list", "each its own", "arguments"])
def test_chain_of_jump_hosts_is_gone_through_from_its_beginning(server: Server, tmp_path: Path, way: str) -> None:
    # The first lets through to the second alone, and the second to the host alone.
    second_leads_to = f"PermitOpen {layout.LOOPBACK}:{server.host.ssh_port}"
    with running(tmp_path / "second", second_leads_to) as second:
        first_leads_to = f"PermitOpen {layout.LOOPBACK}:{second.host.ssh_port}"
        with running(tmp_path / "first", first_leads_to) as first:
            host = config_for(server, tmp_path, **({"ProxyJump": "first,second"} if way == "list" else {}))
            text = host.read_text()
            if way == "each its own":
                text = text.replace("Host alias\n", "Host alias\n  ProxyJump second\n", 1)
            text += config_for(first, tmp_path).read_text().replace("alias", "first")
            more = {"ProxyJump": "first"} if way == "each its own" else {}
            text += config_for(second, tmp_path, **more).read_text().replace("alias", "second")
            config = tmp_path / "chain"
            config.write_text(text)
            arguments = ("-J", "first,second") if way == "arguments" else ()
            assert connects(replace(ALIAS, ssh_args=arguments), config)


def test_jump_host_with_user_and_port(server: Server, tmp_path: Path) -> None:
    user, port = server.settings().user, server.host.ssh_port
    config = config_for(server, tmp_path, ProxyJump=f"{user}@jump:{port}")
    plain = config_for(server, tmp_path).read_text().replace("alias", "jump")
    lines = [line for line in plain.splitlines() if "Port" not in line and "User " not in line]
    config = config_for(server, tmp_path, ProxyJump=f"{user}@jump:{port}")
    config.write_text(config.read_text() + "\n".join([*lines, "  User nobody", "  Port 1", ""]))
    assert connects(ALIAS, config)


def test_ssh_config_in_parts_and_by_cases(server: Server, tmp_path: Path) -> None:
    part = config_for(server, tmp_path).rename(tmp_path / "part")
    config = tmp_path / "config"
    text = part.read_text()
    part.write_text(text.replace("Host alias", 'Match originalhost alias exec "true"'))
    config.write_text(f"Include {part}\n")
    assert connects(ALIAS, config)
    part.write_text(text.replace("Host alias", 'Match originalhost alias exec "false"'))
    assert failure(ALIAS, config).err_type in ("host_unreachable", "ssh_timeout")


def test_arguments_come_before_ssh_config(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, Port=1)
    right = ("-o", f"Port={server.host.ssh_port}")
    assert connects(replace(ALIAS, ssh_args=right), config)
    assert connects(replace(ALIAS, ssh_args=(*right, "-F", str(config))))


def test_arguments_that_ssh_refuses_are_named(server: Server, tmp_path: Path) -> None:
    found = failure(replace(ALIAS, ssh_args=("-o", "Unheard=of")), config_for(server, tmp_path))
    assert (found.err_type, found.hint) == ("host_unreachable", "Correct `ssh_args` of the inventory.")


def test_a_host_name_with_a_port_is_not_found(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, HostName=f"{layout.LOOPBACK}:{server.host.ssh_port}")
    ended = subprocess.run(["ssh", "-F", config, "alias"], capture_output=True, text=True, check=False)
    assert "Could not resolve hostname" in ended.stderr
    assert failure(ALIAS, config).err_type == "host_unreachable"


def test_tokens_and_spaces_in_file_names(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    key = folder / f"{layout.LOOPBACK}-{server.host.ssh_port}-alias-100%"
    key.write_bytes(server.key.read_bytes())
    key.chmod(0o600)
    (folder / "known").write_text(server.known_hosts.read_text())
    config = config_for(
        server,
        tmp_path,
        IdentityFile=f'"{folder}/%h-%p-%n-100%%"',
        UserKnownHostsFile=f'{tmp_path}/none "{folder}/known"',
    )
    assert connects(ALIAS, config)


def test_proxy_command_is_run_by_a_shell(server: Server, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    command = f'sh -c \'true && exec python3 {tmp_path}/relay.py "$0" "$1"\' %h %p'
    assert connects(ALIAS, config_for(server, tmp_path, ProxyCommand=command))


def test_proxy_command_is_run_by_the_shell_of_the_user(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    shell = tmp_path / "shell"
    shell.write_text(f'#!/bin/sh\nRELAY={tmp_path}/relay.py exec /bin/sh "$@"\n')
    shell.chmod(0o755)
    config = config_for(server, tmp_path, ProxyCommand="python3 $RELAY %h %p")
    monkeypatch.setenv("SHELL", str(shell))
    assert connects(ALIAS, config)


def test_the_home_is_the_one_of_the_account(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    more = {"UserKnownHostsFile": "~/known", "IdentityFile": "%d/key", "RevokedHostKeys": "~/revoked"}
    config = config_for(server, tmp_path, ControlPath="~/socket", **more)
    (host,) = route.to(replace(ALIAS, ssh_config=config))
    # OpenSSH says this one itself.
    home = Path(host.options["controlpath"][0]).parent
    assert home == Path(pwd.getpwuid(os.getuid()).pw_dir) != tmp_path
    assert (host.known_hosts, host.identity_files) == ((home / "known",), (home / "key",))
    # This one depends on OpenSSH's version, and is left to it.
    assert host.revoked == Path("~/revoked")


def test_a_key_that_is_named_and_not_there_is_told(server: Server, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, IdentityFile=tmp_path / "nowhere")
    found = failure(ALIAS, config)
    assert found.err_type == "auth_failed"
    assert f"{tmp_path}/nowhere: No such file or directory" in found.detail["keys_not_used"]


def test_no_jump(server: Server, tmp_path: Path) -> None:
    assert connects(ALIAS, config_for(server, tmp_path, ProxyJump="none"))


def test_ssh_config_that_can_not_be_read(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host alias\n  !!!\n")
    found = failure(ALIAS, config)
    assert found.err_type == "host_unreachable"
    assert re.search("ssh_config", found.message)
