"""Hosts to measure against: real OpenSSH servers on loopback, each with an empty home and a root without a node."""

import pwd
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from os import getuid
from pathlib import Path
from time import perf_counter

from fabric import Connection

from lab import config_files, layout, sshd
from relup_remote.inventory import HostSettings


@contextmanager
def hosts(folder: Path, count: int) -> Iterator[list[HostSettings]]:
    """So many hosts, as an inventory would have them; their servers run as long as the context does."""
    user = pwd.getpwuid(getuid()).pw_name
    key = folder / "client_key"
    public_half = sshd.make_key(key, "bench")
    found = []
    with ExitStack() as running:
        for number in range(1, count + 1):
            port = _free_port()
            host = layout.Host(number, folder / f"n{number}", layout.Ports(ssh=port - number))
            host_key = sshd.prepare(host, user, public_half)
            known_hosts = host.dir / "known_hosts"
            known_hosts.write_text(config_files.known_hosts([host], {host.name: host_key}))
            (host.root / "releases").mkdir(parents=True)
            (host.root / "releases" / "emqx_vars").touch()
            (host.root / "data").mkdir()
            sshd.start(host)
            running.callback(sshd.stop, host)
            found.append(
                HostSettings(
                    name=host.name,
                    address=layout.LOOPBACK,
                    port=port,
                    user=user,
                    key=key,
                    known_hosts=known_hosts,
                    root_dir=str(host.root),
                )
            )
        yield found


def fabric_connection(host: HostSettings) -> Connection:
    """A connection as Fabric makes it, with nothing tuned."""
    options = {"key_filename": str(host.key), "allow_agent": False, "look_for_keys": False}
    return Connection(host.address, user=host.user, port=host.port, connect_kwargs=options)


def seconds_for_all(work: Callable[[HostSettings], object], hosts: Sequence[HostSettings]) -> float:
    """The wall time of ``work`` on all hosts, a thread each."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        started = perf_counter()
        for _done in pool.map(work, hosts):
            pass
        return perf_counter() - started


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((layout.LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
