"""What all of these tests share: a compiler, and what it makes."""

from collections.abc import Iterator

import pytest

from tests.unit import erlc
from tests.unit.hop_releases import Beams


@pytest.fixture(scope="session", autouse=True)
def _compiler() -> Iterator[None]:
    """The compiler ends with the tests."""
    yield
    erlc.end()


@pytest.fixture(scope="session")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Beams:
    """The modules of the releases that hops are checked with."""
    return Beams(tmp_path_factory.mktemp("beams"))
