"""Host keys that are known: reading `known_hosts` files, and judging a key that a server shows.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": hashed names, patterns with ``*``, ``?`` and ``!``, and
``@revoked``. Certificate authorities (``@cert-authority``) are for OpenSSH itself: `has_authority` says whether a host
has one, its lines are passed over by all else.

Keys that are revoked for all hosts are in the file of ssh_config's ``RevokedHostKeys``: public keys, one a line, or a
key revocation list of ssh-keygen(1), "KEY REVOCATION LISTS". Such a list is left to `ssh-keygen`, which knows its
format.
"""

import base64
import binascii
import hashlib
import hmac
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from relup_remote.files import read_bytes


class Entry(NamedTuple):
    """A key that a file gives for a host. ``where`` is ``<file>:<line>``."""

    key_type: str
    blob: bytes
    revoked: bool
    where: str


class Verdict(Enum):
    """What the files say about a key."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    CHANGED = "changed"
    REVOKED = "revoked"


def host_name(host: str, port: int, alias: str | None = None) -> str:
    """The name under which a host's keys are filed; ``alias`` is ssh_config's ``HostKeyAlias``."""
    name = (alias or host).lower()
    return name if alias or port == 22 else f"[{name}]:{port}"


def find(files: Iterable[Path], name: str) -> list[Entry]:
    """The entries for a host of that name. A file that is not there or can't be read has none."""
    return [entry for file in files for entry in _read(file, name)]


def has_authority(files: Iterable[Path], host: str, port: int, alias: str | None = None) -> bool:
    """Whether a file trusts an authority to certify the key of a host, by its name with the port or without it."""
    names = {host_name(host, port, alias), (alias or host).lower()}
    for file in files:
        for words in _lines(file):
            if len(words) > 3 and words[0] == AUTHORITY and any(_fits(words[1], name) for name in names):
                return True
    return False


AUTHORITY = "@cert-authority"


def judge(entries: Iterable[Entry], blob: bytes) -> Verdict:
    """What ``entries`` say about the key with the public half ``blob``.

    A host that shows a key of another type than those known for it has changed: it was asked for the known types first.
    """
    entries = list(entries)
    if any(entry.revoked and entry.blob == blob for entry in entries):
        return Verdict.REVOKED
    valid = [entry.blob for entry in entries if not entry.revoked]
    if blob in valid:
        return Verdict.KNOWN
    return Verdict.CHANGED if valid else Verdict.UNKNOWN


def is_revoked(file: Path, key_type: str, blob: bytes, timeout: float) -> bool:
    """Whether the file of ``RevokedHostKeys`` has a key. ``timeout`` is in seconds.

    Raises `OSError` if that can't be found out, as where the file can't be read: OpenSSH then accepts no key at all.
    """
    content = read_bytes(file)
    if content.startswith(_KRL):
        return _is_in_list(file, key_type, blob, timeout)
    for line in content.splitlines():
        words = [] if line.lstrip().startswith(b"#") else line.split()
        # Options may come before a key, as in authorized_keys.
        if base64.b64encode(blob) in words:
            return True
    return False


_KRL = b"SSHKRL\n\0"
"""How a key revocation list begins."""


def _is_in_list(file: Path, key_type: str, blob: bytes, timeout: float) -> bool:
    with tempfile.NamedTemporaryFile("w", prefix="relup_remote-", suffix=".pub") as public:
        public.write(f"{key_type} {base64.b64encode(blob).decode()}\n")
        public.flush()
        command = ["ssh-keygen", "-Q", "-f", str(file), public.name]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"ssh-keygen did not answer within {timeout:g} s") from error
    # It ends in the same way where it can't read the list.
    if ended.returncode == 0 or ended.stdout.rstrip().endswith("REVOKED"):
        return ended.returncode != 0
    raise OSError(ended.stderr.strip() or f"ssh-keygen ended with {ended.returncode}")


def fingerprint(blob: bytes) -> str:
    """A key's fingerprint as OpenSSH shows it: ``SHA256:…``."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _read(file: Path, name: str) -> Iterator[Entry]:
    for number, words in enumerate(_lines(file), 1):
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        patterns, key_type, encoded = words[:3]
        if _fits(patterns, name):
            try:
                blob = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                continue
            yield Entry(key_type, blob, marker == "@revoked", f"{file}:{number}")


def _lines(file: Path) -> list[list[str]]:
    """The words of each line; a file that can't be read has none."""
    try:
        return [line.split() for line in read_bytes(file).decode("utf-8", errors="replace").splitlines()]
    except OSError:
        return []


def _fits(patterns: str, name: str) -> bool:
    if patterns.startswith("|1|"):
        return _fits_hash(patterns, name)
    words = patterns.lower().split(",")
    refused = any(_like(word[1:], name) for word in words if word.startswith("!"))
    return not refused and any(_like(word, name) for word in words)


def _like(pattern: str, name: str) -> bool:
    """Brackets are part of names here, so this is not `fnmatch`."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name) is not None


def _fits_hash(hashed: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(part) for part in hashed.split("|")[2:])
    except ValueError:
        return False
    # SHA-1 is what the format prescribes.
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
