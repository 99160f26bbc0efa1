"""A real account of this machine with a password, made for a test and removed after it. Only root can."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SUDOERS = Path("/etc/sudoers.d")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make accounts with passwords")


@dataclass(frozen=True)
class Account:
    """An account, and its password."""

    name: str
    password: str

    @contextmanager
    def in_sudoers(self, rule: str) -> Iterator[None]:
        """Let sudo know what the account may do: what follows its name in a line of sudoers."""
        file = SUDOERS / self.name
        try:
            # sudo refuses to run at all over one that others may write to.
            file.touch(mode=0o440)
            file.write_text(f"{self.name} {rule}\n")
            subprocess.run(["visudo", "-cqf", str(file)], check=True)
            yield
        finally:
            file.unlink()


@contextmanager
def account() -> Iterator[Account]:
    """An account without a home."""
    made = Account(f"relup-test-{secrets.token_hex(4)}", secrets.token_urlsafe(12))
    salted = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=made.password, check=True, capture_output=True, text=True
    ).stdout.strip()
    new = ["useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", "--user-group", made.name]
    subprocess.run(new, check=True, capture_output=True)
    try:
        subprocess.run(["chpasswd", "-e"], input=f"{made.name}:{salted}", check=True, capture_output=True, text=True)
        yield made
    finally:
        subprocess.run(["userdel", made.name], check=True, capture_output=True)
