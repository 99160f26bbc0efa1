"""The format of known_hosts, and the verdict on a key."""

import subprocess
from pathlib import Path

import pytest

from lab import sshd
from relup_remote.host.known_hosts import Entry, Verdict, find, fingerprint, host_name, judge

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIHVtcGZ0aWQgaXMgbm90IGEga2V5IGJ1dCBoYXM="


@pytest.mark.parametrize(
    ("host", "port", "alias", "name"),
    [
        ("n1.example.com", 22, None, "n1.example.com"),
        ("N1.Example.com", 2222, None, "[n1.example.com]:2222"),
        ("10.0.0.1", 2222, "n1", "n1"),
        ("fe80::1", 2222, None, "[fe80::1]:2222"),
    ],
)
def test_name_of_a_host(host: str, port: int, alias: str | None, name: str) -> None:
    assert host_name(host, port, alias) == name


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        ("n1", "n1", True),
        ("n1", "n10", False),
        ("N1,n2", "n1", True),
        ("n?", "n1", True),
        ("*.example.com", "n1.example.com", True),
        ("*.example.com", "example.com", False),
        ("*,!n1", "n1", False),
        ("!n1,*", "n1", False),
        ("!n1,*", "n2", True),
        ("[n1]:2222", "[n1]:2222", True),
        ("[n1]:2222", "n", False),
        ("[*]:2222", "[10.0.0.1]:2222", True),
        ("10.0.0.1", "10x0x0x1", False),
        ("|1|garbage", "n1", False),
    ],
)
def test_patterns(tmp_path: Path, patterns: str, name: str, fits: bool) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{patterns} ssh-ed25519 {KEY} a comment\n")
    assert bool(find([file], name)) is fits


def test_hashed_names_as_openssh_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[n1]:2222 ssh-ed25519 {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert file.read_text().startswith("|1|")
    assert find([file], "[n1]:2222")
    assert not find([file], "[n2]:2222")


def test_other_lines_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    lines = ["# n1", "", "n1", "n1 ssh-ed25519", "n1 ssh-ed25519 ***", f"@cert-authority n1 ssh-ed25519 {KEY}"]
    file.write_text("\n".join(lines))
    assert find([file, tmp_path / "none", tmp_path], "n1") == []


def test_entries_say_where_they_are_from(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# ours\nn1 ssh-ed25519 {KEY}\n@revoked n1 ssh-ed25519 {KEY}\n")
    found = find([file], "n1")
    assert [(entry.where, entry.revoked) for entry in found] == [(f"{file}:2", False), (f"{file}:3", True)]


def entry(blob: bytes, revoked: bool = False) -> Entry:
    """An entry for a key."""
    return Entry("ssh-ed25519", blob, revoked, "file:1")


@pytest.mark.parametrize(
    ("entries", "verdict"),
    [
        ([], Verdict.UNKNOWN),
        ([entry(b"a")], Verdict.KNOWN),
        ([entry(b"b"), entry(b"a")], Verdict.KNOWN),
        ([entry(b"b")], Verdict.CHANGED),
        ([entry(b"a"), entry(b"a", revoked=True)], Verdict.REVOKED),
        ([entry(b"b", revoked=True)], Verdict.UNKNOWN),
    ],
)
def test_verdict(entries: list[Entry], verdict: Verdict) -> None:
    assert judge(entries, b"a") is verdict


def test_fingerprint_is_openssh_s(tmp_path: Path) -> None:
    import base64

    public = sshd.make_key(tmp_path / "key", "test")
    command = ["ssh-keygen", "-lf", str(tmp_path / "key.pub")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]
    assert fingerprint(base64.b64decode(public.split()[1])) == said
