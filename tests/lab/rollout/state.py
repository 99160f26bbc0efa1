"""What the hosts of a lab hold of a rollout, looked at from outside."""

import json
from typing import Any

from lab.cluster import Lab
from tests.lab.cluster import ours
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
