"""What the hosts of a lab hold of a rollout, looked at from outside; and putting them back."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.cluster import Lab
from tests.lab.cluster import ours, put_back
from tests.lab.sweep import disk


def successes(lab: Lab, host: str) -> list[tuple[str, str]]:
    """The changes that a host's history says succeeded: from which version to which."""
    return [
        (row["from_vsn"], row["target_vsn"]) for row in disk.attempts(ours(lab, host)) if row["result"] == "success"
    ]


def results(lab: Lab, host: str) -> list[str]:
    """How each attempt on a host ended, by its history."""
    return [row["result"] for row in disk.attempts(ours(lab, host))]


def cluster_lock(lab: Lab, host: str) -> dict[str, Any] | None:
    """Who holds the cluster's lock, as a host's file says."""
    path = ours(lab, host) / "cluster_lock"
    return dict(json.loads(path.read_text())) if path.exists() else None


def marked(lab: Lab) -> dict[str, str | None]:
    """The release that each host's marker names."""
    return {host: disk.marker(lab.root(host)) for host in lab.hosts}


def all_back(lab: Lab) -> None:
    """Every node as it was first and in the cluster, every SSH server up."""
    for host in lab.hosts:
        lab.start_sshd(host)
    with ThreadPoolExecutor() as pool:
        changed = [host for host in lab.hosts if (lab.root(host) / "relup").exists() or lab.node_pid(host) is None]
        list(pool.map(lambda host: put_back(lab, host), changed))
    for host in lab.hosts:
        shutil.rmtree(ours(lab, host), ignore_errors=True)
    # Waits until they have found each other.
    lab.up()
