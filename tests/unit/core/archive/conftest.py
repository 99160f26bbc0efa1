"""What the tests of the archive share."""

from pathlib import Path

import pytest


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """An empty folder to unpack into, as the caller of `extract` makes it."""
    path = tmp_path / "dest"
    path.mkdir(mode=0o700)
    return path
