"""What the core's start costs on every host: modules that most requests don't need are imported late."""

import subprocess
from pathlib import Path

import pytest

from relup_remote.host.payload import payload

from .pythons import oldest_and_newest

SLOW = {"bz2", "getpass", "lzma", "pkgutil", "platform", "shutil", "sqlite3", "ssl", "subprocess"}

STARTED = "import sys; sys.path.insert(0, sys.argv[1]); import relup_remote.core.main; print(*sys.modules)"


@pytest.mark.parametrize("python", oldest_and_newest(), ids=lambda path: path.name)
def test_the_start_imports_nothing_slow(python: Path, tmp_path: Path) -> None:
    core = tmp_path / "core.pyz"
    core.write_bytes(payload().content)
    command = [str(python), "-I", "-S", "-c", STARTED, str(core)]
    started = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "relup_remote.core.main" in started
    assert SLOW.intersection(started) == set()
