"""The lab's tasks, `inv lab.…`."""

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task
from tabulate import tabulate

from lab.errors import LabError
from lab.hosts import tasks as hosts
from lab.layout import DEFAULT_STATE, Ports

HEADERS = ("host", "ssh port", "node", "role", "pid", "running", "boots", "mqtt port", "connections")
PORTS_HELP = "added to every port, to run a lab beside another"
DIRECTORY_HELP = "state folder of the lab (default: RELUP_LAB_DIR, else .lab)"


@task(
    help={
        "nodes": "number of nodes (default: as the lab is, else 3)",
        "replicants": "how many of them, the last ones, are replicants (default: as the lab is, else none)",
        "hosts": "number of hosts, which share the nodes (default: as the lab is, else one for each node)",
        "directory": DIRECTORY_HELP,
        "port-offset": PORTS_HELP,
        "epmd": "nodes register with epmd instead of living on fixed ports",
    }
)
def up(
    _context: Context,
    nodes: int = 0,
    replicants: int = 0,
    hosts: int = 0,
    directory: str = "",
    port_offset: int = 0,
    epmd: bool = False,
) -> None:
    """Bring up what is not up yet: SSH servers, nodes, inventory."""
    lab = _lab(
        directory,
        nodes=nodes or None,
        replicants=replicants or None,
        hosts=hosts or None,
        ports=_ports(port_offset),
        epmd=epmd or None,
    )
    _guard(lab.up)
    print(f"lab is up: {len(lab.hosts)} hosts, inventory in {_short(lab.inventory_path)}")
    print(f"log in with: ssh -F {_short(lab.layout.ssh_config)} {lab.hosts[0]}")


@task(help={"directory": DIRECTORY_HELP})
def status(_context: Context, directory: str = "") -> None:
    """Show what runs, by what is really there."""
    rows = [
        (
            row.host,
            f"{row.ssh_port}{'' if row.sshd_pid else ' (down)'}",
            row.node,
            row.role,
            row.node_pid or "down",
            row.running or "-",
            row.boots or "-",
            row.mqtt_port,
            row.connections or "-",
        )
        for row in _guard(_lab(directory).status)
    ]
    print(tabulate(rows, HEADERS, disable_numparse=True))


@task(help={"directory": DIRECTORY_HELP})
def reset(_context: Context, directory: str = "") -> None:
    """Put every node back to the first release, with nothing in its home; SSH servers stay up."""
    lab = _lab(directory)
    _guard(lab.reset)
    print("lab is as new")


@task(help={"directory": DIRECTORY_HELP})
def down(_context: Context, directory: str = "") -> None:
    """Stop everything that the lab runs. Nodes come back with `inv lab.up` as they were."""
    _guard(_lab(directory).down)
    print("lab is down")


@task(
    help={
        "nodes": "number of nodes (default: as the lab is, else 3)",
        "clients": "number of MQTT clients",
        "release": "version of the lab to upgrade to (default: 5.10.5-lab)",
        "catalogue": "folder with the hop to try (default: the project's)",
        "keep": "leave the lab up at the end",
        "directory": DIRECTORY_HELP,
        "port-offset": PORTS_HELP,
    }
)
def demo(
    _context: Context,
    nodes: int = 0,
    clients: int = 30,
    release: str = "",
    catalogue: str = "",
    keep: bool = False,
    directory: str = "",
    port_offset: int = 0,
) -> None:
    """Upgrade a cluster while MQTT clients are busy on it, and show what they noticed."""
    from lab.demo import TARGET, run  # noqa: PLC0415 - the other tasks need no MQTT client

    lab = _lab(directory, nodes=nodes or None, ports=_ports(port_offset))
    hops = Path(catalogue).expanduser().absolute() if catalogue else None
    if not _guard(run, lab, clients=clients, keep=keep, target=release or TARGET, catalogue=hops):
        raise Exit(code=1)


def _lab(directory: str, **settings: Any) -> Any:
    from lab.cluster import Lab  # noqa: PLC0415 - listing the tasks should not read the whole lab

    return _guard(Lab, directory or None, say=lambda line: print(line, flush=True), **settings)


def _ports(offset: int) -> Ports | None:
    return Ports().shifted(offset) if offset else None


def _guard(action: Any, *args: Any, **options: Any) -> Any:
    """Run an action of the lab; its refusals are messages, not tracebacks."""
    try:
        return action(*args, **options)
    except LabError as error:
        raise Exit(f"{error.err_type}: {error}", code=1) from None


def _short(path: Path) -> Path:
    """A path as people would type it in the project."""
    project = DEFAULT_STATE.parent
    return path.relative_to(project) if path.is_relative_to(project) and Path.cwd() == project else path


namespace = Collection("lab", up, status, reset, down, demo)
namespace.add_collection(hosts.namespace)
