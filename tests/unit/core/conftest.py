"""What the tests of the payload share: real VMs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core.erlang.distribution import Connection

from .backups import Node
from .lent import Vms
from .vm import OTPS, Otp, Vm, running_epmd, running_vm


@pytest.fixture(scope="session")
def epmd() -> Iterator[int]:
    """The port of an epmd for the tests' VMs."""
    with running_epmd() as port:
        yield port


@pytest.fixture(scope="session")
def vm(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A VM that the tests share; none of them changes it for good."""
    with running_vm(epmd, tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="session")
def vms(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vms]:
    """VMs of which each test has one for itself, as after its start."""
    made = Vms(epmd, tmp_path_factory.mktemp("vms"))
    yield made
    made.end()


@pytest.fixture(scope="session")
def connection(vm: Vm) -> Iterator[Connection]:
    """A connection to the shared VM."""
    with vm.connected() as found:
        yield found


@pytest.fixture(scope="session", params=list(OTPS))
def otp(request: pytest.FixtureRequest) -> Otp:
    """Each version of Erlang/OTP in turn."""
    return OTPS[request.param]()


@pytest.fixture(scope="session")
def each_vm(otp: Otp, epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A VM of each version in turn, which the tests share as they do `vm`."""
    with running_vm(epmd, tmp_path_factory.mktemp("home"), otp=otp) as found:
        yield found


@pytest.fixture(scope="session")
def each_connection(each_vm: Vm) -> Iterator[Connection]:
    """A connection to it."""
    with each_vm.connected() as found:
        yield found


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """The root of a node that is down, with data and settings."""
    made = Node(tmp_path)
    yield made
    # Else a folder that nothing may be written to is left.
    for path in tmp_path.rglob("certs"):
        path.chmod(0o700)
