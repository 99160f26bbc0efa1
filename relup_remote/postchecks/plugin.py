"""The pytest plugin of the checks: their options, and the fixture ``node``, once for each host."""

from collections.abc import Iterator, Sequence

import pytest

from relup_remote import inventory
from relup_remote.core.protocol import Failure
from relup_remote.inventory import HostSettings
from relup_remote.postchecks.node import Node, look_at
from relup_remote.usage import UsageError

HOSTS = pytest.StashKey[Sequence[HostSettings]]()
"""The hosts to check, in pytest's configuration; whoever runs pytest in-process may put them there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, which mean what they mean to `inv`."""
    group = parser.getgroup("relup_remote")
    group.addoption("--relup-inventory", metavar="FILE", help="inventory file (default: as for inv)")
    group.addoption(
        "--relup-host", action="append", default=[], metavar="HOST", help="host, group, glob or comma list; repeatable"
    )
    group.addoption("--relup-target", metavar="VERSION", help="the version nodes should be on (default: the marker's)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every check that asks for a ``node`` once for each host."""
    if "node" in metafunc.fixturenames:
        hosts = _hosts(metafunc.config)
        metafunc.parametrize("node", hosts, ids=[host.name for host in hosts], indirect=True, scope="session")


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """The node of one host; all its checks fail, and no others, where the host can't be reached."""
    try:
        context = look_at(request.param, request.config.getoption("relup_target"))
        found = context.__enter__()
    except Failure as failure:
        raise pytest.fail.Exception(f"{failure} {failure.detail}", pytrace=False) from failure
    yield found
    context.__exit__(None, None, None)


def _hosts(config: pytest.Config) -> Sequence[HostSettings]:
    if HOSTS not in config.stash:
        try:
            path = inventory.locate(config.getoption("relup_inventory"))
            config.stash[HOSTS] = inventory.load(path).select(config.getoption("relup_host"))
        except UsageError as error:
            raise pytest.UsageError(error.message) from None
    return config.stash[HOSTS]
