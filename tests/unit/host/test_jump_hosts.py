"""Jump hosts that keep us from a host: which one, why, and what to do, in the same words by every transport."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, NamedTuple

import pytest

from lab import layout, sshd
from relup_remote.core.protocol import Failure
from relup_remote.host.transport import choice
from relup_remote.inventory import HostSettings
from relup_remote.ways import Ways

from .ssh_server import ME, Server, running
from .test_ssh_config import oracle

Servers = Mapping[str, Server]
Sections = Mapping[str, Mapping[str, object]]

BY_BASTION = {"ProxyJump": "bastion"}
BY_TWO = {"ProxyJump": "first,bastion"}


class Case(NamedTuple):
    """What ssh_config says, and what is said: the error, the jump host that is named, why, and what to do.

    A section may name its ``server``; the file of a stranger's key is ``stranger``.
    """

    sections: Sections
    err_type: str
    jump: str
    why: str
    hint: str


UNREACHABLE = "host_unreachable"
CASES: dict[str, Case] = {
    "it forwards nothing": Case(
        {"alias": BY_BASTION, "bastion": {"server": "shut"}},
        UNREACHABLE,
        "bastion",
        "does not allow a connection to 127.0.0.1 port",
        "AllowTcpForwarding",
    ),
    "it forwards elsewhere": Case(
        {"alias": BY_BASTION, "bastion": {"server": "elsewhere"}},
        UNREACHABLE,
        "bastion",
        "does not allow a connection to 127.0.0.1 port",
        "PermitOpen",
    ),
    "the host refuses it": Case(
        {"alias": {**BY_BASTION, "Port": 1}, "bastion": {}},
        UNREACHABLE,
        "bastion",
        "can't connect to 127.0.0.1 port 1: Connection refused.",
        "as the jump host sees them",
    ),
    "it has no way to the host": Case(
        {"alias": {**BY_BASTION, "HostName": "192.0.2.1"}, "bastion": {}},
        UNREACHABLE,
        "bastion",
        "can't connect to 192.0.2.1 port",
        "as the jump host sees them",
    ),
    "it does not know the name": Case(
        {"alias": {**BY_BASTION, "HostName": "nowhere.invalid"}, "bastion": {}},
        UNREACHABLE,
        "bastion",
        "does not know the name in nowhere.invalid port",
        "The jump host itself looks the name up.",
    ),
    "it does not accept our key": Case(
        {"alias": BY_BASTION, "bastion": {"IdentityFile": "stranger"}},
        "auth_failed",
        "bastion",
        "accepted none of the keys that were offered.",
        "Jump hosts get no password.",
    ),
    "it is down": Case(
        {"alias": BY_BASTION, "bastion": {"Port": 1}},
        UNREACHABLE,
        "bastion",
        "can't be reached: Connection refused.",
        "Check HostName and Port of bastion",
    ),
    "the first of two forwards nothing": Case(
        {"alias": BY_TWO, "first": {"server": "shut"}, "bastion": {}},
        UNREACHABLE,
        "first",
        "does not allow a connection to 127.0.0.1 port",
        "AllowTcpForwarding",
    ),
    "the second of two is down": Case(
        {"alias": BY_TWO, "first": {}, "bastion": {"Port": 1}},
        UNREACHABLE,
        "first",
        "can't connect to 127.0.0.1 port 1: Connection refused.",
        "as the jump host sees them",
    ),
    "the first of two, which the second leads over, forwards nothing": Case(
        {"alias": BY_BASTION, "bastion": {"ProxyJump": "first"}, "first": {"server": "shut"}},
        UNREACHABLE,
        "first",
        "does not allow a connection to 127.0.0.1 port",
        "AllowTcpForwarding",
    ),
    "the first of two does not accept our key": Case(
        {"alias": BY_TWO, "first": {"IdentityFile": "stranger"}, "bastion": {"server": "shut"}},
        "auth_failed",
        "first",
        "accepted none of the keys that were offered.",
        "`ssh -v first`",
    ),
    "the second of two does not accept our key": Case(
        {"alias": BY_TWO, "first": {}, "bastion": {"server": "second", "IdentityFile": "stranger"}},
        "auth_failed",
        "bastion",
        "accepted none of the keys that were offered.",
        "`ssh -v bastion`",
    ),
    "the host refuses the second of two": Case(
        {"alias": {**BY_TWO, "Port": 1}, "first": {}, "bastion": {"server": "second"}},
        UNREACHABLE,
        "bastion",
        "can't connect to 127.0.0.1 port 1: Connection refused.",
        "as the jump host sees them",
    ),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that forward to anywhere, to nowhere, or elsewhere."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        options = {
            "main": (),
            "second": (),
            "shut": ("AllowTcpForwarding no",),
            "elsewhere": ("PermitOpen 127.0.0.1:1",),
        }
        yield {name: stack.enter_context(running(folder / name, *each)) for name, each in options.items()}


def configured(servers: Servers, folder: Path, sections: Sections) -> Path:
    """The configuration of a case."""
    sshd.make_key(folder / "stranger", "stranger")
    text = ""
    for name, options in sections.items():
        server = servers[str(options.get("server", "main"))]
        given: dict[str, Any] = {
            "HostName": layout.LOOPBACK,
            "Port": server.host.ssh_port,
            "User": ME,
            "IdentityFile": server.key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": server.known_hosts,
            "GlobalKnownHostsFile": "none",
            **options,
        }
        given.pop("server", None)
        if given["IdentityFile"] == "stranger":
            given["IdentityFile"] = folder / "stranger"
        text += f"Host {name}\n" + "".join(f"  {option} {value}\n" for option, value in given.items())
    config = folder / "config"
    config.write_text(text)
    return config


def refused(config: Path, transport: str) -> Failure:
    """What is said of a host that can't be reached."""
    with Ways() as ways, pytest.raises(Failure) as caught:
        choice.connect(
            HostSettings("n1", address="alias", ssh_config=config, connect_timeout=5.0, ways=ways, transport=transport),
            print,
        )
    return caught.value


@pytest.mark.share(5)
@pytest.mark.parametrize("name", CASES)
def test_the_jump_host_is_named_with_the_reason(servers: Servers, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    config = configured(servers, tmp_path, case.sections)
    assert not oracle(config)
    said = set()
    for transport in ("fabric", "openssh"):
        found = refused(config, transport)
        assert (found.stage, found.err_type, found.detail["jump_host"]) == ("connect", case.err_type, case.jump)
        assert found.message.startswith(f"The jump host {case.jump} {case.why}"), found.to_json()
        assert case.hint in found.hint
        said.add((found.message, found.hint))
    assert len(said) == 1, said


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_two_jump_hosts_are_passed(servers: Servers, tmp_path: Path, transport: str) -> None:
    sections = {"alias": BY_TWO, "first": {}, "bastion": {"server": "second"}}
    config = configured(servers, tmp_path, sections)
    assert oracle(config)
    with Ways() as ways:
        settings = HostSettings("n1", address="alias", ssh_config=config, ways=ways, transport=transport)
        process = choice.connect(settings, print).start("echo reached", 5.0)
        assert process.receive(5.0) == b"reached\n"
        process.close()


@pytest.mark.parametrize("transport", ["fabric", "openssh"])
def test_each_of_several_hosts_behind_one_jump_host_gets_its_own_reason(
    servers: Servers, tmp_path: Path, transport: str
) -> None:
    names = [f"n{number}" for number in range(6)]
    closed: Sections = {
        name: {**BY_BASTION, **({"Port": 1} if number % 2 else {"HostName": f"{name}.invalid"})}
        for number, name in enumerate(names)
    }
    config = configured(servers, tmp_path, {**closed, "bastion": {}})
    said: dict[str, str] = {}
    together = Barrier(len(names))
    with Ways() as ways:

        def connect(name: str) -> None:
            together.wait()
            settings = HostSettings(name, address=name, ssh_config=config, ways=ways, transport=transport)
            try:
                choice.connect(settings, print)
            except Failure as failure:
                said[name] = failure.message

        threads = [Thread(target=connect, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, name in enumerate(names):
        why = "can't connect to 127.0.0.1 port 1: " if number % 2 else f"does not know the name in {name}.invalid port"
        assert said[name].startswith(f"The jump host bastion {why}"), said


DIFFERENCES: Mapping[str, tuple[Mapping[str, object], str]] = {
    "the known key": ({"UserKnownHostsFile": "wrong"}, "host_key_changed"),
    "no known key": ({"UserKnownHostsFile": "none"}, "host_key_unknown"),
    "the revoked keys": ({"RevokedHostKeys": "revoked"}, "host_key_revoked"),
    "our key": ({"IdentityFile": "stranger"}, "auth_failed"),
}
"""What the configuration of another host says of the same bastion, and what comes of it."""


def keys_in(folder: Path, server: Server, options: Mapping[str, object]) -> Mapping[str, object]:
    """The options, with the files that they name: a wrong key of the server, or a list that revokes its key."""
    stranger = sshd.make_key(folder / "stranger", "stranger").split()
    (folder / "wrong").write_text(f"[{layout.LOOPBACK}]:{server.host.ssh_port} {stranger[0]} {stranger[1]}\n")
    (folder / "revoked").write_text((server.host.ssh_dir / "host_key.pub").read_text())
    return {option: folder / str(name) if name in ("wrong", "revoked") else name for option, name in options.items()}


@pytest.mark.share(4)
@pytest.mark.parametrize("transport", ["fabric", "openssh"])
@pytest.mark.parametrize("order", [("right", "other"), ("other", "right")], ids=" ".join)
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_jump_host_is_shared_only_by_hosts_that_say_the_same_of_it(
    servers: Servers, tmp_path: Path, difference: str, order: tuple[str, str], transport: str
) -> None:
    options, err_type = DIFFERENCES[difference]
    configs = dict[str, Path]()
    for name in ("right", "other"):
        (tmp_path / name).mkdir()
        of_bastion = keys_in(tmp_path / name, servers["main"], options) if name == "other" else {}
        configs[name] = configured(servers, tmp_path / name, {"alias": BY_BASTION, "bastion": of_bastion})
        assert oracle(configs[name]) is (name == "right")
    came = dict[str, str]()
    with Ways() as ways, ExitStack() as stack:
        for name in order:
            settings = HostSettings(name, address="alias", ssh_config=configs[name], ways=ways, transport=transport)
            try:
                stack.callback(choice.connect(settings, print).close)
                came[name] = ""
            except Failure as failure:
                came[name] = failure.err_type
                assert failure.detail["jump_host"] == "bastion"
    assert came == {"right": "", "other": err_type}


@pytest.mark.parametrize("way", ["listed", "nested"])
@pytest.mark.parametrize("difference", ["the known key", "no known key", "the revoked keys"])
def test_the_key_of_the_first_of_two_jump_hosts(servers: Servers, tmp_path: Path, way: str, difference: str) -> None:
    options, err_type = DIFFERENCES[difference]
    first = keys_in(tmp_path, servers["main"], options)
    bastion: Mapping[str, object] = {"server": "second", **({"ProxyJump": "first"} if way == "nested" else {})}
    sections = {"alias": BY_TWO if way == "listed" else BY_BASTION, "first": first, "bastion": bastion}
    config = configured(servers, tmp_path, sections)
    assert not oracle(config)
    for transport in ("fabric", "openssh"):
        found = refused(config, transport)
        assert (found.err_type, found.detail["jump_host"]) == (err_type, "first"), found.to_json()
