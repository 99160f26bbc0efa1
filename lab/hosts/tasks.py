"""The tasks of the machines, `inv lab.hosts.…`."""

from functools import partial
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task
from tabulate import tabulate

from lab.errors import LabError

HEADERS = ("machine", "system", "address", "init", "service", "running")
SYSTEM_HELP = "Debian's name of the system, bookworm (default) or trixie"


@task(help={"system": SYSTEM_HELP})
def image(_context: Context, system: str = "bookworm") -> None:
    """Make the file system that machines begin with, and the releases for it: minutes, with debootstrap."""
    found = _system(system)
    _guard(found.make)
    from lab.hosts.image import VERSIONS  # noqa: PLC0415 - as below

    for version in VERSIONS:
        print(_guard(found.tarball, version))
    print(f"the image of {found.name} is {found.image}")


@task(
    help={
        "nodes": "number of machines with a node (default: 3)",
        "bastion": "have the machines behind another one",
        "system": SYSTEM_HELP,
    }
)
def up(_context: Context, nodes: int = 0, bastion: bool = False, system: str = "") -> None:
    """Boot machines with a cluster on them, and write an inventory. Needs root. Machines that are there come back."""
    hosts = _hosts(nodes=nodes or None, bastion=bastion or None, system=_system(system) if system else None)
    _guard(hosts.up)
    print(f"machines are up, inventory in {hosts.inventory}")
    print(f"their network is only theirs: {' '.join(hosts.within(['bash']))}")


@task
def status(_context: Context) -> None:
    """Show what runs, by what is really there."""
    rows = [[value or "-" for value in vars(row).values()] for row in _guard(_hosts().status)]
    print(tabulate(rows, HEADERS, disable_numparse=True))


@task
def down(_context: Context) -> None:
    """Shut the machines down. They come back as they were."""
    _guard(_hosts().down)


@task
def forget(_context: Context) -> None:
    """Take all power away, and remove what the machines have written. Images stay."""
    _guard(_hosts().forget)
    print("machines are gone")


def _hosts(**settings: Any) -> Any:
    from lab.hosts.lab import Hosts  # noqa: PLC0415 - listing the tasks should not read the whole lab

    return _guard(partial(Hosts.as_made, say=lambda line: print(line, flush=True), **settings))


def _system(suite: str) -> Any:
    from lab.hosts.image import SYSTEMS  # noqa: PLC0415 - as above

    found = {system.suite: system for system in SYSTEMS}
    if suite not in found:
        raise Exit(f"There is no system {suite}. There are {', '.join(found)}.", code=2)
    return found[suite]


def _guard(action: Any, *args: Any) -> Any:
    """Run an action of the lab; its refusals are messages, not tracebacks."""
    try:
        return action(*args)
    except LabError as error:
        raise Exit(f"{error.err_type}: {error}", code=1) from None


namespace = Collection("hosts", image, up, status, down, forget)
