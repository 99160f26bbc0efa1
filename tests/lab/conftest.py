"""One lab for all of these tests, beside any other: a state folder and ports of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab import preloaded
from tests.lab.cluster import Tool, all_back, put_back, running_lab


@pytest.fixture(scope="session", autouse=True)
def _commands() -> Iterator[None]:
    """What commands are forked from ends with the tests."""
    yield
    preloaded.end()


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Three nodes, as they are after whatever test came before."""
    with running_lab(tmp_path_factory.mktemp("lab"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def lab(three: Lab) -> Lab:
    """Three nodes of the first release, with nothing of other modules when the module begins."""
    all_back(three)
    return three


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    """The tool, on the lab's inventory."""
    return Tool(lab.inventory_path)


@pytest.fixture
def spare(lab: Lab) -> Iterator[str]:
    """A host that a test may do anything to; put back afterwards."""
    yield "n1"
    lab.start_sshd("n1")
    put_back(lab, "n1")


@pytest.fixture(scope="module")
def base_tarball(lab: Lab) -> Path:
    return lab.tarball("5.10.4-lab")


@pytest.fixture(scope="module")
def tarball(lab: Lab) -> Path:
    """The first target."""
    return lab.tarball("5.10.5-lab")


@pytest.fixture(scope="module")
def second_tarball(lab: Lab) -> Path:
    """The second target."""
    return lab.tarball("5.10.6-lab")
