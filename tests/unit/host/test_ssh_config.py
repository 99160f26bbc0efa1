"""Situations of ssh_config on real servers: who `ssh` reaches we reach, and who it refuses we refuse.

`ssh` itself is run in each of them. What it would accept only by not checking host keys is no part of it: we never do.
"""

import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from lab import layout, sshd
from relup_remote.core.protocol import Failure
from relup_remote.host.transport import choice, fabric, openssh
from relup_remote.inventory import HostSettings
from relup_remote.ways import Ways

from .ssh_server import ME, Server, agent, running


@dataclass
class World:
    """Some servers, what authorities have signed, and programs that lead to hosts."""

    folder: Path
    main: Server
    certified: Server
    chacha: Server
    shut: Server
    two: Server
    both: Server
    stale: Server
    files: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return str(self.files[name])

    def key_of(self, server: Server) -> str:
        """The public half of a server's key, as known_hosts has it."""
        return " ".join((server.host.ssh_dir / "host_key.pub").read_text().split()[:2])

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file of the world."""
        file = self.folder / name
        file.write_text(text)
        file.chmod(mode)
        self.files[name] = file
        return file


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of it: four servers, started once."""
    folder = tmp_path_factory.mktemp("world")
    with ExitStack() as stack:

        def server(name: str, *options: str) -> Server:
            return stack.enter_context(running(folder / name, *options))

        authority = folder / "authority"
        public = sshd.make_key(authority, "authority")
        made = World(
            folder,
            server("main", f"TrustedUserCAKeys {authority}.pub", "MaxAuthTries 20"),
            server("certified"),
            server("chacha", "Ciphers chacha20-poly1305@openssh.com"),
            server("shut", "AllowTcpForwarding no"),
            server("two", "AuthenticationMethods publickey,publickey"),
            server("both"),
            server("stale"),
        )
        made.files = {"authority": authority}
        _certify_host(made.certified, authority, "always:forever")
        _certify_host(made.stale, authority, "20200101:20200102")
        _keys(made, authority)
        _more_keys(made, stack)
        _second_host_key(made)
        made.write("with_authority", f"@cert-authority * {public}")
        made.write("with_other_authority", f"@cert-authority * {sshd.make_key(folder / 'other_authority', 'x')}")
        made.write("authority_of_others", f"@cert-authority *.example.org {public}")
        made.write("with_revoked_authority", f"@cert-authority * {public}@revoked * {public}")
        made.write("empty", "")
        made.write("unknown space", "")
        made.write("with space", made.main.known_hosts.read_text())
        (folder / "ends in ").mkdir()
        made.write("ends in /known", made.main.known_hosts.read_text())
        made.write(f"known_{layout.LOOPBACK}", made.main.known_hosts.read_text())
        made.write("known_%h", made.main.known_hosts.read_text())
        made.write('with"quote', made.main.known_hosts.read_text())
        made.files["folder"] = folder
        made.files["below_home"] = Path(os.path.relpath(made.main.known_hosts, pwd.getpwuid(os.getuid()).pw_dir))
        _key_by_hash(made)
        made.files["relative"] = Path(os.path.relpath(made.main.known_hosts))
        made.write("without_port", f"{layout.LOOPBACK} {made.key_of(made.main)}\n")
        made.write("wrong_without_port", f"{layout.LOOPBACK} {made.key_of(made.shut)}\n")
        made.write("revoked_main", f"{made.key_of(made.main)}\n")
        made.write("revoked_other", f"{made.key_of(made.shut)}\n")
        name = f"[{layout.LOOPBACK}]:{made.main.host.ssh_port}"
        made.write("says_key", f"#!/bin/sh\necho '{name} {made.key_of(made.main)}'\n", 0o755)
        made.write("says_other_key", f"#!/bin/sh\necho '{name} {made.key_of(made.shut)}'\n", 0o755)
        made.write("relay.py", RELAY)
        made.write("pass.py", PASS)
        made.write("greet.py", RELAY.replace("sys.stderr", "sys.stdout").replace('"x"', '"hello\\n"'))
        made.write("part", f'Match originalhost alias exec "true"\n  Port {made.main.host.ssh_port}\n')
        yield made


def _key_by_hash(world: World) -> None:
    """A key and an agent, named by OpenSSH's hash of the way to the main server."""
    way = ["-p", str(world.main.host.ssh_port), "-l", ME, "-o", "ControlPath=%C"]
    said = subprocess.run(
        ["ssh", "-F", "none", "-G", *way, layout.LOOPBACK], capture_output=True, text=True, check=True
    )
    found = re.search(r"^controlpath (\w+)$", said.stdout, re.MULTILINE)
    assert found
    world.write(f"key_{found[1]}", world.main.key.read_text())
    (world.folder / f"agent_{found[1]}").symlink_to(world["agent"])


def _certify_host(server: Server, authority: Path, validity: str) -> None:
    """Give a server a certificate, and have it read it."""
    key = server.host.ssh_dir / "host_key.pub"
    _run("ssh-keygen", "-q", "-s", authority, "-h", "-I", "host", "-n", layout.LOOPBACK, "-V", validity, key)
    _again_with(server, f"HostCertificate {server.host.ssh_dir / 'host_key-cert.pub'}")


def _again_with(server: Server, option: str) -> None:
    """Start a server anew with an option more."""
    config = sshd.config(server.host)
    config.write_text(f"{option}\n{config.read_text()}")
    sshd.stop(server.host)
    sshd.start(server.host)


def _second_host_key(world: World) -> None:
    """Give a server a host key of another type, and write both down, the first one rightly or wrongly."""
    server = world.both
    key = server.host.ssh_dir / "second_key"
    _run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key)
    _again_with(server, f"HostKey {key}")
    name = f"[{layout.LOOPBACK}]:{server.host.ssh_port}"
    second = f"{name} {' '.join(Path(f'{key}.pub').read_text().split()[:2])}\n"
    world.write("both_right", f"{second}{name} {world.key_of(server)}\n")
    world.write("first_wrong", f"{second}{name} {world.key_of(world.shut)}\n")
    world.write("second_only", second)


def _more_keys(world: World, stack: ExitStack) -> None:
    """Keys that others may read, and keys that agents hold."""
    world.write("open", world.main.key.read_text(), 0o644)
    world.write("open_to_group", world.main.key.read_text(), 0o640)
    authorized = world.two.host.ssh_dir / "authorized_keys"
    authorized.write_text(authorized.read_text() + Path(f"{world['rsa']}.pub").read_text())
    world.files["key_of_two"] = world.two.key
    # Closed by a passphrase, and with a certificate; the agent holds it without one.
    closed = world.write("closed", Path(world["signed_bare"]).read_text())
    _run("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", closed)
    Path(f"{closed}.pub").write_text(Path(f"{world['signed']}.pub").read_text())
    world.write("closed-cert.pub", Path(world["signed_certificate"]).read_text())
    world.files["agent"] = stack.enter_context(agent(world.folder / "agent", [Path(world["signed_bare"])]))
    # Bound to one host.
    world.files["public"] = Path(f"{world.main.key}.pub")
    bound = stack.enter_context(agent(world.folder / "bound", []))
    place = f"{ME}@[{layout.LOOPBACK}]:{world.main.host.ssh_port}"
    _run("env", f"SSH_AUTH_SOCK={bound}", "ssh-add", "-q", "-H", world.main.known_hosts, "-h", place, world.main.key)
    world.files["bound"] = bound


def _keys(world: World, authority: Path) -> None:
    """Keys that the main server knows, or that the authority has signed."""
    for name, validity in (("signed", "always:forever"), ("expired", "20200101:20200102")):
        file = world.folder / name
        sshd.make_key(file, name)
        _run("ssh-keygen", "-q", "-s", authority, "-I", name, "-n", ME, "-V", validity, f"{file}.pub")
        world.files[name] = file
        # The same without its certificate beside it.
        bare = world.write(f"{name}_bare", file.read_text())
        (world.folder / f"{name}_bare.pub").write_text(Path(f"{file}.pub").read_text())
        world.files[f"{name}_certificate"] = world.folder / f"{name}-cert.pub"
        assert bare.exists()
    # A certificate of the key that the server accepts by itself.
    known = world.folder / "known_and_expired"
    world.write(known.name, world.main.key.read_text())
    Path(f"{known}.pub").write_text(Path(f"{world.main.key}.pub").read_text())
    _run("ssh-keygen", "-q", "-s", authority, "-I", "x", "-n", ME, "-V", "20200101:20200102", f"{known}.pub")
    world.files["known_and_expired_certificate"] = world.folder / "known_and_expired-cert.pub"
    rsa = world.folder / "rsa"
    _run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa)
    authorized = world.main.host.ssh_dir / "authorized_keys"
    authorized.write_text(authorized.read_text() + Path(f"{rsa}.pub").read_text())
    world.files["rsa"] = rsa
    sshd.make_key(world.folder / "stranger", "stranger")
    world.files["stranger"] = world.folder / "stranger"


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


RELAY = """\
import os, socket, sys, threading
sys.stderr.write("x" * int(sys.argv[3]))
sys.stderr.flush()
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536):
        peer.sendall(data)
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
while data := peer.recv(65536):
    os.write(1, data)
"""

PASS = """\
import array, socket, sys
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
out = socket.socket(fileno=1)
out.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [peer.fileno()]))])
"""


class Case(NamedTuple):
    """A situation: what the configuration has more or else, and what is expected: the way, and the error if refused.

    Values are filled in from the files of the world. ``hosts`` are more sections of the configuration.
    """

    way: str
    options: Mapping[str, str] = MappingProxyType({})
    error: str | tuple[str, ...] = ""
    to: str = "main"
    hosts: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    says: str = ""


PYTHON = shlex.quote(sys.executable)
BASTION: Mapping[str, Mapping[str, str]] = {"jump": {}}
CASES: dict[str, Case] = {
    "nothing special": Case("fabric"),
    # Who the host is
    "its key revoked": Case("fabric", {"RevokedHostKeys": "{revoked_main}"}, "host_key_revoked"),
    "another key revoked": Case("fabric", {"RevokedHostKeys": "{revoked_other}"}),
    "its key revoked, by OpenSSH": Case(
        "openssh", {"RevokedHostKeys": "{revoked_main}", "BindAddress": "127.0.0.1"}, "host_key_revoked"
    ),
    "an authority": Case("openssh", {"UserKnownHostsFile": "{with_authority}"}, to="certified"),
    "another authority": Case(
        "openssh", {"UserKnownHostsFile": "{with_other_authority}"}, "host_key_unknown", to="certified"
    ),
    "an authority for others": Case(
        "fabric", {"UserKnownHostsFile": "{authority_of_others}"}, "host_key_unknown", to="certified"
    ),
    "a revoked authority": Case(
        "openssh",
        {"UserKnownHostsFile": "{with_revoked_authority}"},
        ("host_key_revoked", "host_key_unknown"),
        to="certified",
    ),
    "a certificate that has expired": Case(
        "openssh",
        {"UserKnownHostsFile": "{with_authority}"},
        "host_certificate_invalid",
        to="stale",
        says="has expired",
    ),
    "a certificate for another name": Case(
        "openssh",
        {"UserKnownHostsFile": "{with_authority}", "HostKeyAlias": "cluster"},
        "host_certificate_invalid",
        to="certified",
        says="cluster",
    ),
    "an authority, and a host without a certificate": Case(
        "openssh", {"UserKnownHostsFile": "{with_authority}"}, "host_key_unknown"
    ),
    "known without its port": Case("fabric", {"UserKnownHostsFile": "{without_port}"}),
    "known without its port, by another key": Case(
        "fabric", {"UserKnownHostsFile": "{wrong_without_port}"}, ("host_key_changed", "host_key_unknown")
    ),
    "known in a file of a relative name": Case("openssh", {"UserKnownHostsFile": "nothing {relative}"}),
    "known in a file with a space in its name": Case("openssh", {"UserKnownHostsFile": '/nothing "{with space}"'}),
    "not known in a file with a space in its name": Case(
        "openssh", {"UserKnownHostsFile": '/nothing "{unknown space}"'}, "host_key_unknown"
    ),
    "known in a file whose name looks like two": Case("openssh", {"UserKnownHostsFile": '"{folder}/ends in /known"'}),
    "known in what looks like the second of two files, and is none": Case(
        "openssh", {"UserKnownHostsFile": '"/nothing {without_port}"'}, "host_key_unknown"
    ),
    "known in the second of two files": Case("openssh", {"UserKnownHostsFile": "/nothing {without_port}"}),
    "known in no file": Case("fabric", {"UserKnownHostsFile": "none"}, "host_key_unknown"),
    "known in a file below the home folder": Case("fabric", {"UserKnownHostsFile": "~/{below_home}"}),
    "known in a file with the address in its name": Case("fabric", {"UserKnownHostsFile": "{folder}/known_%h"}),
    "known in a file with a percent sign in its name": Case("openssh", {"UserKnownHostsFile": "{folder}/known_%%h"}),
    "known in a file with a quote in its name": Case("fabric", {"UserKnownHostsFile": '"{folder}/with\\"quote"'}),
    "known to all users in a file with a quote in its name": Case(
        "fabric", {"UserKnownHostsFile": "none", "GlobalKnownHostsFile": '"{folder}/with\\"quote"'}
    ),
    "known to all users below the home folder": Case(
        "fabric", {"UserKnownHostsFile": "none", "GlobalKnownHostsFile": "~/{below_home}"}
    ),
    "a program that knows the key": Case(
        "openssh", {"UserKnownHostsFile": "{empty}", "KnownHostsCommand": "{says_key}"}
    ),
    "a program that knows another key": Case(
        "openssh",
        {"UserKnownHostsFile": "{empty}", "KnownHostsCommand": "{says_other_key}"},
        ("host_key_changed", "host_key_unknown"),
    ),
    "a program that fails": Case(
        "openssh", {"UserKnownHostsFile": "{empty}", "KnownHostsCommand": "/bin/false"}, "host_key_unknown"
    ),
    "known by two keys": Case("fabric", {"UserKnownHostsFile": "{both_right}"}, to="both"),
    "known by the second of its keys": Case("fabric", {"UserKnownHostsFile": "{second_only}"}, to="both"),
    "known by two keys, one of which has changed": Case(
        "fabric", {"UserKnownHostsFile": "{first_wrong}"}, "host_key_changed", to="both"
    ),
    "known by two keys, and the changed one is not asked for": Case(
        "fabric", {"UserKnownHostsFile": "{first_wrong}", "HostKeyAlgorithms": "rsa-sha2-512"}, to="both"
    ),
    "unknown": Case("fabric", {"UserKnownHostsFile": "{empty}"}, "host_key_unknown"),
    "unknown, and DNS is asked": Case(
        "openssh", {"UserKnownHostsFile": "{empty}", "VerifyHostKeyDNS": "yes"}, "host_key_unknown"
    ),
    "an alias that is not known": Case("fabric", {"HostKeyAlias": "cluster"}, "host_key_unknown"),
    "the address checked as well": Case("openssh", {"CheckHostIP": "yes"}),
    "kinds of host keys that it does not have": Case(
        "openssh", {"HostKeyAlgorithms": "rsa-sha2-512"}, "host_unreachable"
    ),
    # Who we are
    "a key in a file named by a hash": Case("openssh", {"IdentityFile": "{folder}/key_%C"}),
    # `ssh -G` tells this name as filled in.
    "an agent whose socket is named by a hash": Case(
        "fabric", {"IdentityFile": "{closed}", "IdentityAgent": "{folder}/agent_%C"}
    ),
    "a certificate beside its key": Case("fabric", {"IdentityFile": "{signed}"}),
    "a certificate elsewhere": Case(
        "openssh", {"IdentityFile": "{signed_bare}", "CertificateFile": "{signed_certificate}"}
    ),
    "no certificate for a key that needs it": Case("fabric", {"IdentityFile": "{signed_bare}"}, "auth_failed"),
    "an expired certificate": Case("fabric", {"IdentityFile": "{expired}"}, "auth_failed"),
    "an expired certificate elsewhere": Case(
        "openssh", {"IdentityFile": "{expired_bare}", "CertificateFile": "{expired_certificate}"}, "auth_failed"
    ),
    "an expired certificate beside a valid key": Case("fabric", {"IdentityFile": "{known_and_expired}"}),
    "an expired certificate elsewhere, and a valid key": Case(
        "openssh", {"CertificateFile": "{known_and_expired_certificate}"}
    ),
    "a key that all may read": Case("fabric", {"IdentityFile": "{open}"}, "auth_failed", says="chmod 600"),
    "a key that a group may read": Case("fabric", {"IdentityFile": "{open_to_group}"}, "auth_failed"),
    "a key that all may read, by OpenSSH": Case(
        "openssh", {"IdentityFile": "{open}", "BindAddress": "127.0.0.1"}, "auth_failed", says="bad permissions"
    ),
    "a certificate beside a key that the agent holds": Case(
        "fabric", {"IdentityFile": "{closed}", "IdentityAgent": "{agent}"}
    ),
    "a key that the agent holds for this host": Case(
        "openssh", {"IdentityFile": "{public}", "IdentityAgent": "{bound}"}
    ),
    "a key that the agent holds for another host": Case(
        "openssh", {"IdentityFile": "{public}", "IdentityAgent": "{bound}"}, "auth_failed", to="shut"
    ),
    "a jump host that the agent holds a key for": Case(
        "openssh",
        {"ProxyJump": "jump"},
        hosts={"jump": {"IdentityFile": "{public}", "IdentityAgent": "{bound}"}},
    ),
    "a server that wants two keys": Case(
        "fabric", {"IdentityFile": "{stranger}\n  IdentityFile {rsa}\n  IdentityFile {key_of_two}"}, to="two"
    ),
    "a server that wants two keys, and gets one": Case(
        "fabric", {"IdentityFile": "{rsa}"}, "auth_failed", to="two", says="which is not all that it wants"
    ),
    "a key of a stranger": Case("fabric", {"IdentityFile": "{stranger}"}, "auth_failed"),
    "a stranger": Case("openssh", {"IdentityFile": "{stranger}", "BindAddress": "127.0.0.1"}, "auth_failed"),
    "an RSA key": Case("fabric", {"IdentityFile": "{rsa}"}),
    "an RSA key that is too short": Case("fabric", {"IdentityFile": "{rsa}", "RequiredRSASize": "3072"}, "auth_failed"),
    "an RSA key that is long enough": Case("fabric", {"IdentityFile": "{rsa}", "RequiredRSASize": "2048"}),
    "kinds of keys that ours is not": Case("fabric", {"PubkeyAcceptedAlgorithms": "rsa-sha2-512"}, "auth_failed"),
    "no keys": Case("openssh", {"PubkeyAuthentication": "no"}, "auth_failed"),
    "keys first": Case("openssh", {"PreferredAuthentications": "publickey,password"}),
    "passwords only": Case("openssh", {"PreferredAuthentications": "password"}, "auth_failed"),
    "no passwords": Case("openssh", {"PasswordAuthentication": "no"}),
    "no questions": Case("openssh", {"KbdInteractiveAuthentication": "no"}),
    "the key of this machine as well": Case("openssh", {"HostbasedAuthentication": "yes"}),
    "Kerberos without a ticket": Case("fabric", {"GSSAPIAuthentication": "yes"}),
    # Where to
    "an address to connect from": Case("openssh", {"BindAddress": "127.0.0.1"}),
    "an address that is not ours": Case("openssh", {"BindAddress": "192.0.2.1"}, "host_unreachable"),
    "an interface to connect from": Case("openssh", {"BindInterface": "lo"}),
    "one kind of address": Case("openssh", {"AddressFamily": "inet"}),
    "the other kind of address": Case("openssh", {"AddressFamily": "inet6"}, "host_unreachable"),
    "several attempts": Case("openssh", {"ConnectionAttempts": "2"}),
    "a port that is closed": Case("fabric", {"Port": "1"}, "host_unreachable"),
    "a port that is closed, by OpenSSH": Case("openssh", {"Port": "1", "BindAddress": "127.0.0.1"}, "host_unreachable"),
    "a configuration in parts": Case("fabric", {"Port": "", "Include": "{part}"}),
    # By what
    "a jump host": Case("fabric", {"ProxyJump": "jump"}, hosts=BASTION),
    "a jump host with tokens": Case("fabric", {"ProxyJump": "%r@jump-%n"}, hosts={"jump-alias": {}}),
    "two jump hosts": Case("fabric", {"ProxyJump": "jump,second"}, hosts={"jump": {}, "second": {}}),
    "a jump host with a bind address": Case(
        "openssh", {"ProxyJump": "jump"}, hosts={"jump": {"BindAddress": "127.0.0.1"}}
    ),
    "a jump host that is unknown": Case(
        "fabric", {"ProxyJump": "jump"}, "host_key_unknown", hosts={"jump": {"UserKnownHostsFile": "{empty}"}}
    ),
    "a jump host that is unknown, by OpenSSH": Case(
        "openssh",
        {"ProxyJump": "jump"},
        "host_key_unknown",
        hosts={"jump": {"UserKnownHostsFile": "{empty}", "BindAddress": "127.0.0.1"}},
    ),
    "a jump host that accepts no key of ours, by OpenSSH": Case(
        "openssh",
        {"ProxyJump": "jump"},
        "auth_failed",
        hosts={"jump": {"IdentityFile": "{stranger}", "BindAddress": "127.0.0.1"}},
    ),
    "a jump host that leads nowhere": Case(
        "fabric", {"ProxyJump": "shut"}, "host_unreachable", hosts={"shut": {}}, says="The jump host shut"
    ),
    "a jump host that leads nowhere, by OpenSSH": Case(
        "openssh",
        {"ProxyJump": "shut"},
        "host_unreachable",
        hosts={"shut": {"BindAddress": "127.0.0.1"}},
        says="shut",
    ),
    "a proxy command": Case("fabric", {"ProxyCommand": PYTHON + " {relay.py} %h %p 0"}),
    "a proxy command with each token that it may have": Case(
        "fabric", {"ProxyCommand": PYTHON + " {relay.py} %h %p 0 %k %n %r %%"}
    ),
    "a proxy command with a token that it may not have": Case(
        "openssh", {"ProxyCommand": PYTHON + " {relay.py} %h %p 0 %d"}, "host_unreachable"
    ),
    "a proxy command with a token that only OpenSSH has": Case(
        "openssh", {"ProxyCommand": PYTHON + " {relay.py} %h %p 0 %C"}, "host_unreachable"
    ),
    "a proxy command that talks much": Case("fabric", {"ProxyCommand": PYTHON + " {relay.py} %h %p 1000000"}),
    "a proxy command that talks much, by OpenSSH": Case(
        "openssh", {"ProxyCommand": PYTHON + " {relay.py} %h %p 1000000", "CheckHostIP": "yes"}
    ),
    "a proxy command that greets with much": Case("openssh", {"ProxyCommand": PYTHON + " {greet.py} %h %p 1000"}),
    "a proxy command that greets with too much": Case(
        "openssh", {"ProxyCommand": PYTHON + " {greet.py} %h %p 1100"}, "host_unreachable"
    ),
    "a proxy command that says why not": Case(
        "fabric", {"ProxyCommand": "sh -c 'echo no such tunnel >&2; exit 3'"}, "host_unreachable", says="no such tunnel"
    ),
    "a proxy command that says why not, by OpenSSH": Case(
        "openssh",
        {"ProxyCommand": "sh -c 'echo no such tunnel >&2; exit 3'", "CheckHostIP": "yes"},
        "host_unreachable",
        says="no such tunnel",
    ),
    "a proxy command that hands over": Case(
        "openssh", {"ProxyCommand": PYTHON + " {pass.py} %h %p", "ProxyUseFdpass": "yes"}
    ),
    # How it is said
    "a server with one cipher, unknown to the library": Case("openssh", to="chacha"),
    "a cipher that only OpenSSH has": Case("openssh", {"Ciphers": "chacha20-poly1305@openssh.com"}),
    "a cipher": Case("fabric", {"Ciphers": "aes256-ctr"}),
    "a cipher that the server has not": Case("openssh", {"Ciphers": "3des-cbc"}, "host_unreachable"),
    "a key exchange that only OpenSSH has": Case("openssh", {"KexAlgorithms": "sntrup761x25519-sha512@openssh.com"}),
    "a code that only OpenSSH has": Case("openssh", {"Ciphers": "aes128-ctr", "MACs": "umac-128-etm@openssh.com"}),
    "a master connection that may be, and is not": Case(
        "fabric", {"ControlMaster": "auto", "ControlPath": "/tmp/relup-test-%C"}
    ),
    # What else is done
    "a command to run here": Case("openssh", {"PermitLocalCommand": "yes", "LocalCommand": "true"}),
    "much that has no bearing on us": Case(
        "fabric", {"ForwardAgent": "yes", "SendEnv": "LANG", "Compression": "yes", "VisualHostKey": "yes"}
    ),
}


def configured(world: World, case: Case) -> Path:
    """The configuration of a case."""
    servers: dict[str, Server] = {"shut": world.shut, "alias": getattr(world, case.to)}
    text = ""
    for name, options in {"alias": case.options, **case.hosts}.items():
        server = servers.get(name, world.main)
        given = {
            "HostName": layout.LOOPBACK,
            "Port": str(server.host.ssh_port),
            "User": ME,
            "IdentityFile": str(server.key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(server.known_hosts),
            "GlobalKnownHostsFile": "none",
            **options,
        }
        text += f"Host {name}\n"
        for option, value in given.items():
            filled = re.sub(r"\{([\w. ]+)\}", lambda word: world[word[1]], value)
            text += f"  {option} {filled}\n" if filled else ""
    return world.write("config", text)


def oracle(config: Path) -> bool:
    """Whether `ssh` runs a command there."""
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5"]
    ended = subprocess.run(
        ["ssh", "-F", config, *options, "alias", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    return ended.returncode == 0


@pytest.mark.share(20)
@pytest.mark.parametrize("name", CASES)
def test_who_ssh_reaches_is_reached_and_who_it_refuses_is_refused(world: World, name: str) -> None:
    case = CASES[name]
    config = configured(world, case)
    told: list[str] = []
    with Ways() as ways:
        settings = HostSettings(name, address="alias", ssh_config=config, connect_timeout=5.0, ways=ways)
        reached, failure = _reached(settings, told)
    assert reached is oracle(config), failure and failure.to_json()
    assert reached is not bool(case.error), failure and failure.to_json()
    assert bool(told) is (case.way == "openssh"), told
    if failure is not None:
        assert failure.stage == "connect"
        assert failure.err_type in case.error if isinstance(case.error, tuple) else failure.err_type == case.error
        assert case.says in f"{failure.to_json()} {failure.hint}"
        if "jump host" in name:
            assert failure.detail["jump_host"] in case.hosts


def _reached(settings: HostSettings, told: list[str]) -> tuple[bool, Failure | None]:
    """Whether a command runs there, else why not."""
    try:
        connection = choice.connect(settings, told.append)
    except Failure as failure:
        return False, failure
    process = connection.start("echo reached", 5.0)
    try:
        said = process.receive(5.0)
        assert isinstance(connection, openssh.Connection if told else fabric.Connection)
        return said == b"reached\n", None
    finally:
        process.close()
        connection.close()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 40


def test_what_the_library_can_not_honour_is_named_where_it_is_to_be_taken(world: World) -> None:
    config = configured(world, CASES["an address to connect from"])
    settings: dict[str, Any] = {"address": "alias", "ssh_config": config, "transport": "fabric"}
    told: list[str] = []
    assert _reached_by_fabric(HostSettings("n1", **settings), told)
    assert told == ["Not honoured by the transport fabric: bindaddress 127.0.0.1 (the address to connect from)."]


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_a_key_of_the_inventory_that_all_may_read_is_named_with_what_mends_it(world: World, transport: str) -> None:
    file = Path(world["open"])
    with pytest.raises(Failure) as caught:
        choice.connect(world.main.settings(key=file, transport=transport), print)
    assert caught.value.err_type == "key_unusable"
    assert f"others may read it (mode 0644; `chmod 600 {file}` mends that)" in caught.value.message


def test_the_library_does_not_say_to_trust_a_key_in_the_place_of_its_certificate(world: World) -> None:
    config = configured(world, CASES["an authority"])
    with pytest.raises(Failure) as caught:
        choice.connect(HostSettings("n1", address="alias", ssh_config=config, transport="fabric"), print)
    assert (caught.value.err_type, "has an authority" in caught.value.message) == ("host_key_unknown", True)
    assert "Do not add the key" in caught.value.hint


@pytest.mark.parametrize("name", ["{folder}/revoked_%h", "~/revoked_elsewhere", "{folder}/${variable}"])
def test_the_name_of_a_list_of_revoked_keys_is_filled_in_by_ssh_or_not_at_all(world: World, name: str) -> None:
    """Old versions do not, and so accept no key where there is no file of the name as it stands."""
    world.write(f"revoked_{layout.LOOPBACK}", "")
    world.files["variable"] = Path("{HOME}")
    config = configured(world, Case("openssh", {"RevokedHostKeys": name}))
    told: list[str] = []
    settings: dict[str, Any] = {"address": "alias", "ssh_config": config, "connect_timeout": 5.0}
    reached, failure = _reached(HostSettings("n1", **settings), told)
    assert reached is oracle(config), failure and failure.to_json()
    assert "revokedhostkeys" in told[0]
    assert failure is None or failure.err_type == "host_key_revoked"
    reached, failure = _reached(HostSettings("n1", transport="fabric", **settings), [])
    assert failure
    assert failure.err_type == "host_key_revoked"


def test_the_library_runs_no_proxy_command_that_ssh_refuses_to_run(world: World) -> None:
    ran = world.folder / "ran"
    config = configured(world, Case("openssh", {"ProxyCommand": f"touch {ran}; false %d"}))
    assert not oracle(config)
    for transport in ("auto", "fabric", "openssh"):
        settings = HostSettings("n1", address="alias", ssh_config=config, connect_timeout=5.0, transport=transport)
        _reached, failure = _tried(settings)
        assert failure
        assert failure.err_type == "host_unreachable"
    assert not ran.exists()


def _tried(settings: HostSettings) -> tuple[bool, Failure | None]:
    return _reached(settings, [])


def _reached_by_fabric(settings: HostSettings, told: list[str]) -> bool:
    connection = choice.connect(settings, told.append)
    connection.close()
    return isinstance(connection, fabric.Connection)


def test_a_reason_is_told_once_in_a_command(world: World) -> None:
    config = configured(world, CASES["an address to connect from"])
    told: list[str] = []
    with Ways() as ways:
        for _ in range(2):
            choice.connect(HostSettings("n1", address="alias", ssh_config=config, ways=ways), told.append).close()
    assert told == [
        "`ssh` makes this connection: nothing else can honour bindaddress 127.0.0.1 (the address to connect from)."
    ]
