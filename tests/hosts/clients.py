"""MQTT clients of all nodes, who live on one of the machines: what they see says whether anybody noticed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.evidence import Evidence
from lab.hosts import package
from lab.hosts.lab import Hosts
from lab.layout import PROJECT

WATCH = """
import json, sys
from dataclasses import asdict
from lab.clients import Traffic

addresses = json.loads(sys.argv[1])
with Traffic(dict.fromkeys(addresses, int(sys.argv[2])), clients=12, rate=2, addresses=addresses) as traffic:
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps(asdict(traffic.stop())))
"""


@contextmanager
def watching(hosts: Hosts) -> Iterator[list[Evidence]]:
    """Clients are there as long as the context lasts; then the list has what they saw.

    They reach the nodes from the first machine, so what happens to the operator's cable is nothing to them.
    """
    addresses = json.dumps({machine.name: machine.address for machine in hosts.nodes})
    words = ["nsenter", f"--target={hosts.nodes[0].init}", "--net", "--", sys.executable, "-c", WATCH]
    clients = subprocess.Popen(
        [*words, addresses, str(package.MQTT_PORT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    )
    assert clients.stdout is not None
    seen: list[Evidence] = []
    try:
        assert clients.stdout.readline() == "ready\n"
        yield seen
        told, _ = clients.communicate(timeout=60)
        seen.append(Evidence(**json.loads(told)))
    finally:
        clients.kill()
        clients.communicate()
