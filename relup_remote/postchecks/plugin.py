"""The pytest plugin: its options, and the fixture ``emqx_node``, once for each host.

It is loaded into every pytest of an environment that has the package: without its options it does nothing, and what it
needs it imports once it is used.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from relup_remote.deadline import Deadline
    from relup_remote.inventory import HostSettings
    from relup_remote.postchecks.ahead import Ahead
    from relup_remote.postchecks.node import Node

HOSTS: "pytest.StashKey[Sequence[HostSettings]]" = pytest.StashKey()
"""The hosts to check, in pytest's configuration; whoever runs pytest in-process may put them there."""

DEADLINE: "pytest.StashKey[Deadline]" = pytest.StashKey()
"""When all checks have to be done, in pytest's configuration, by whoever put the hosts there."""

AHEAD: "pytest.StashKey[Ahead]" = pytest.StashKey()
"""What hosts are asked before the checks of this package run, in pytest's configuration."""

CHECKS = Path(__file__).with_name("test_node.py")
"""The checks of this package."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, which mean what they mean to `inv`."""
    group = parser.getgroup("relup_remote", "nodes of a cluster, for the fixture emqx_node")
    group.addoption("--relup-inventory", metavar="FILE", help="inventory file (default: as for inv)")
    group.addoption(
        "--relup-host", action="append", default=[], metavar="HOST", help="host, group, glob or comma list; repeatable"
    )
    group.addoption(
        "--relup-target", metavar="VERSION", help="the version nodes should be on (default: what they boot)"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that asks for an ``emqx_node`` once for each host, if hosts were named."""
    if "emqx_node" in metafunc.fixturenames and _are_named(metafunc.config):
        hosts = _hosts(metafunc.config)
        metafunc.parametrize("emqx_node", hosts, ids=[host.name for host in hosts], indirect=True, scope="session")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look at all hosts of the checks of this package at the same time; checks of others ask for themselves."""
    if AHEAD in session.config.stash:
        return
    items = [item for item in session.items if item.path == CHECKS]
    # Without hosts the checks have no parameters.
    given: list[Any] = [item.callspec.params for item in items if hasattr(item, "callspec")]
    hosts = {params["emqx_node"].name for params in given}
    if hosts and not session.config.option.collectonly:
        from relup_remote.deadline import NEVER  # noqa: PLC0415
        from relup_remote.postchecks.ahead import Ahead  # noqa: PLC0415

        wanted = [host for host in _hosts(session.config) if host.name in hosts]
        deadline = session.config.stash.get(DEADLINE, NEVER)
        session.config.stash[AHEAD] = Ahead(wanted, session.config.getoption("relup_target"), deadline)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at no more hosts where the checks were ended early."""
    if ahead := session.config.stash.get(AHEAD, None):
        ahead.stop()


@pytest.fixture(scope="session")
def emqx_node(request: pytest.FixtureRequest) -> "Iterator[Node]":
    """The node of one host, see docs/postchecks.md.

    All tests that ask for it fail, and no others, where the host can't be reached, or none was named.
    """
    if not hasattr(request, "param"):
        raise pytest.fail.Exception("emqx_node needs --relup-inventory FILE or --relup-host HOST", pytrace=False)
    from relup_remote.core.protocol import Failure  # noqa: PLC0415
    from relup_remote.deadline import NEVER  # noqa: PLC0415
    from relup_remote.postchecks.node import look_at  # noqa: PLC0415

    try:
        deadline, ahead = request.config.stash.get(DEADLINE, NEVER), request.config.stash.get(AHEAD, None)
        known = ahead.known(request.param.name) if ahead else None
        context = look_at(request.param, request.config.getoption("relup_target"), deadline, known)
        found = context.__enter__()
    except Failure as failure:
        raise pytest.fail.Exception(f"{failure} {failure.detail}", pytrace=False) from failure
    yield found
    context.__exit__(None, None, None)


def _are_named(config: pytest.Config) -> bool:
    return HOSTS in config.stash or bool(config.getoption("relup_inventory") or config.getoption("relup_host"))


def _hosts(config: pytest.Config) -> "Sequence[HostSettings]":
    if HOSTS not in config.stash:
        from relup_remote import inventory  # noqa: PLC0415
        from relup_remote.usage import UsageError  # noqa: PLC0415

        try:
            path = inventory.locate(config.getoption("relup_inventory"))
            config.stash[HOSTS] = inventory.load(path).select(config.getoption("relup_host"))
        except UsageError as error:
            raise pytest.UsageError(error.message) from None
    return config.stash[HOSTS]
