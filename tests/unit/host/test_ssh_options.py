"""The table of ssh_config's options against the installed OpenSSH."""

import subprocess
from pathlib import Path

import pytest

from relup_remote.host import route
from relup_remote.host.transport import fabric
from relup_remote.host.transport.options import TABLE, By, unmet

SET = """\
Host h
  BindAddress 127.0.0.1
  BindInterface lo
  CertificateFile /none
  ControlPath /none
  DynamicForward 1
  GSSAPIClientIdentity x
  GSSAPIServerIdentity x
  HostKeyAlias x
  IdentityAgent none
  KbdInteractiveDevices x
  KnownHostsCommand /none
  LocalCommand x
  LocalForward 1 x:1
  PKCS11Provider /none
  PreferredAuthentications publickey
  ProxyCommand x
  RemoteCommand x
  RemoteForward 1 x:1
  RevokedHostKeys /none
  SendEnv X
  SetEnv X=Y
"""
"""The options that OpenSSH only prints where they are set."""


def printed(*arguments: str) -> dict[str, list[str]]:
    """What `ssh -G` says, by option."""
    ended = subprocess.run(["ssh", "-G", *arguments, "h"], check=True, capture_output=True, text=True)
    return route._read(ended.stdout)


def test_every_option_of_the_installed_openssh_is_in_the_table(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(SET)
    jump = tmp_path / "jump"
    jump.write_text("Host h\n  ProxyJump x\n")
    seen = {*printed("-F", "none"), *printed("-F", str(config)), *printed("-F", str(jump))}
    assert seen - {*TABLE} == set()
    # The three files together name nearly all of them.
    assert len({*TABLE} - seen) < 15


def test_nothing_is_asked_for_where_nothing_is_configured() -> None:
    usual = printed("-F", "none")
    assert unmet(usual, usual, fabric.KNOWN, has_ticket=True) == []


@pytest.mark.parametrize("name", [name for name, option in TABLE.items() if option.by is By.OPENSSH])
def test_what_only_openssh_honours_is_named_with_its_value_and_the_reason(name: str) -> None:
    [said] = unmet({name: ["something"]}, {}, fabric.KNOWN, has_ticket=True)
    assert said == f"{name} something ({TABLE[name].why})"
    assert all(unmet({name: [plain.upper()]}, {}, fabric.KNOWN, has_ticket=True) == [] for plain in TABLE[name].plain)


def test_an_option_that_is_newer_than_the_table_is_not_dropped() -> None:
    usual = {"quantumtunnel": ["no"]}
    assert unmet(usual, usual, fabric.KNOWN, has_ticket=False) == []
    assert unmet({"quantumtunnel": ["yes"]}, usual, fabric.KNOWN, has_ticket=False) == [
        "quantumtunnel yes (not known here)"
    ]


def test_kerberos_asks_for_nothing_without_a_ticket() -> None:
    wanted = {"gssapiauthentication": ["yes"]}
    assert unmet(wanted, {}, fabric.KNOWN, has_ticket=False) == []
    assert unmet(wanted, {}, fabric.KNOWN, has_ticket=True) == ["gssapiauthentication yes (Kerberos)"]


@pytest.mark.parametrize("name", [name for name, option in TABLE.items() if option.by is By.LIST])
def test_lists_of_algorithms(name: str) -> None:
    assert unmet({name: [f"odd,{fabric.KNOWN[name][0]}"]}, {}, fabric.KNOWN, has_ticket=False) == []
    assert unmet({name: ["odd"]}, {}, fabric.KNOWN, has_ticket=False) == [f"{name} odd ({TABLE[name].why})"]
