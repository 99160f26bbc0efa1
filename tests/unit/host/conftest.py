"""A real OpenSSH server for each test, and a small core to run there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.host.payload import Payload, build

from . import ssh_server

FAKE_CORE = Path(__file__).parent / "fake_core"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ssh_server.Server]:
    """A server of its own."""
    with ssh_server.running(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def core() -> Payload:
    """The payload of the small core."""
    return build(FAKE_CORE)


@pytest.fixture
def other_core(tmp_path: Path) -> Payload:
    """Another version of it."""
    folder = tmp_path / "other_core"
    folder.mkdir()
    for file in FAKE_CORE.glob("*.py"):
        (folder / file.name).write_text(file.read_text() + "\nVERSION = 2\n")
    return build(folder)
