"""TLS distribution: the option file, and a VM that really uses one."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core.erlang.distribution import Address, Connection, DistributionError
from relup_remote.core.erlang.link import Peer, connect
from relup_remote.core.erlang.options import client_context
from relup_remote.core.protocol import Failure
from relup_remote.core.sockets import of_process

from .planting import KINDS, plant
from .vm import Vm, running_vm


@pytest.mark.parametrize("content", ["", "a.", "[{client, [{certfile}]}", "[]. []."])
def test_option_files_without_options(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dist.conf"
    path.write_text(content)
    with pytest.raises((OSError, ValueError)):
        client_context(str(path))


# ------------------------------------------------------------------------------------------------- a real node


def openssl(*args: "str | Path") -> None:
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and a node's key and certificate signed by it (node.key, node.pem)."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-subj", "/CN=authority", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    openssl(*new, "-subj", "/CN=127.0.0.1", "-keyout", folder / "node.key", "-out", folder / "node.csr")
    signing = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial")
    openssl("x509", "-req", "-in", folder / "node.csr", *signing, "-out", folder / "node.pem")
    return folder


LENIENT = """
[{{server, [{{certfile, "{0}/node.pem"}}, {{keyfile, "{0}/node.key"}}]}}].
"""
MUTUAL = """
[{{server, [{{certfile, "{0}/node.pem"}}, {{keyfile, "{0}/node.key"}}, {{cacertfile, "{0}/ca.pem"}},
           {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}},
 {{client, [{{cacertfile, "{0}/ca.pem"}}, {{verify, verify_peer}}]}}].
"""


@pytest.fixture(scope="module", params=[LENIENT, MUTUAL], ids=["lenient", "mutual"])
def options(request: pytest.FixtureRequest, certificates: Path) -> Path:
    path = certificates / "dist.conf"
    path.write_text(request.param.format(certificates))
    return path


@pytest.fixture(scope="module")
def tls_vm(epmd: int, options: Path) -> Iterator[Vm]:
    """A VM whose distribution is by TLS only."""
    tls = ("-proto_dist", "inet_tls", "-ssl_dist_optfile", str(options))

    def ready(vm: Vm) -> bool:
        try:
            link = connect(peer_of(vm, options), 2.0)
        except Failure:
            return False
        try:
            return bool(link.attempt("erlang", "node", []) == vm.name)
        finally:
            link.close()

    with running_vm(epmd, options.parent, *tls, ready=ready) as vm:
        yield vm


def peer_of(vm: Vm, options: Path) -> Peer:
    peer = Peer(vm.name, vm.cookie, "/nonexistent", lambda: of_process(f"/proc/{vm.process.pid}", os.geteuid()))
    peer.epmd_port, peer.protocol, peer.options_file = vm.epmd, "inet_tls", str(options)
    return peer


def test_calls_over_tls(tls_vm: Vm, options: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relup_remote.core.erlang.distribution._TICK_INTERVAL", 0.001)
    link = connect(peer_of(tls_vm, options))
    value = bytes(range(256)) * 1000
    for _ in range(100):
        assert link.call("erlang", "hd", [[value]]) == value
    with pytest.raises(Failure) as caught:
        link.call("timer", "sleep", [300], 0.05)
    assert caught.value.err_type == "call_timeout"
    assert link.call("erlang", "node", []) == tls_vm.name
    link.close()


def test_plain_tcp_to_a_tls_node(tls_vm: Vm) -> None:
    with pytest.raises(DistributionError):
        Connection(tls_vm.name, tls_vm.cookie, Address("127.0.0.1", tls_vm.port), 2.0)


def test_tls_to_a_plain_node(vm: Vm, options: Path) -> None:
    context = client_context(str(options))
    with pytest.raises(DistributionError):
        Connection(vm.name, vm.cookie, Address("127.0.0.1", vm.port, context), 2.0)


def test_a_node_of_another_authority_is_not_trusted(tls_vm: Vm, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-x509", "-subj", "/CN=other"),
        *("-keyout", tmp_path / "other.key", "-out", other),
    )
    wrong = tmp_path / "dist.conf"
    wrong.write_text(f'[{{client, [{{cacertfile, "{other}"}}, {{verify, verify_peer}}]}}].')
    with pytest.raises(DistributionError, match="CERTIFICATE_VERIFY_FAILED"):
        Connection(tls_vm.name, tls_vm.cookie, Address("127.0.0.1", tls_vm.port, client_context(str(wrong))), 5.0)


def test_relative_paths_are_meant_from_the_working_directory_of_the_vm(
    tls_vm: Vm, options: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relative = options.with_name("relative.conf")
    relative.write_text(options.read_text().replace(str(options.parent), "."))
    monkeypatch.chdir(tmp_path)
    peer = peer_of(tls_vm, relative)
    peer.options_file, peer.working_dir = "relative.conf", lambda: str(options.parent)
    link = connect(peer)
    assert (link.kind, link.call("erlang", "node", [])) == ("distribution", tls_vm.name)
    link.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dist.conf", "node.pem", "node.key", "ca.pem"])
def test_what_is_planted_in_place_of_a_file_of_tls_is_not_waited_for(
    certificates: Path, tmp_path: Path, name: str, kind: str
) -> None:
    for each in ("node.pem", "node.key", "ca.pem"):
        (tmp_path / each).write_bytes((certificates / each).read_bytes())
    (tmp_path / "dist.conf").write_text(MUTUAL.format(tmp_path))
    assert client_context(str(tmp_path / "dist.conf"))
    (tmp_path / name).unlink()
    plant(kind, tmp_path / name)
    with pytest.raises((OSError, ValueError, Failure)):
        client_context(str(tmp_path / "dist.conf"))
