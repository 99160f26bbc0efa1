"""Clusters of cores and replicants, and a controller with a state directory of its own for each module.

Six nodes, four cores and two replicants, unless a module says that `four` will do: three cores and a replicant.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.lab.cluster import FIRST, all_back, running_lab
from tests.lab.rollout.controller import Controller
from tests.lab.rollout.held import HeldHops


@pytest.fixture(scope="package")
def six(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The nodes, as they are after whatever test came before."""
    with running_lab(tmp_path_factory.mktemp("six"), 6, replicants=2) as made:
        yield made


@pytest.fixture(scope="package")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Fewer nodes, as they are after whatever test came before."""
    with running_lab(tmp_path_factory.mktemp("four"), 4, replicants=1) as made:
        yield made


@pytest.fixture(scope="module")
def lab(six: Lab) -> Lab:
    """The nodes, on the first release when the module begins."""
    all_back(six)
    return six


@pytest.fixture(scope="module")
def controller(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """The tool on the lab's inventory."""
    return Controller(lab.inventory_path, tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> HeldHops:
    """A catalogue whose hop waits or fails where it is told to."""
    return HeldHops(tmp_path_factory.mktemp("held"))


@pytest.fixture(scope="module")
def tarball(lab: Lab) -> Path:
    """The target."""
    return lab.tarball(FIRST)
