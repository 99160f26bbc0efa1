"""The requests of the commands, as `relup_remote.core.protocol` describes them. Pure: nothing is read or contacted."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from relup_remote.core.protocol import OPTIONS, PROTOCOL_VERSION
from relup_remote.hops.catalogue import Helper, Hop
from relup_remote.inventory import HostSettings

Request = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a command asks of every host it goes to.

    ``tarball`` is the request's own description of one, ``hops`` those of the catalogue to the target, ``options`` what
    differs from the defaults of `OPTIONS`. ``hop_values`` has, by host, what its hop was found to be when it was
    planned; ``paths`` from where to where all hops of the catalogue lead.
    """

    command: str
    run: str
    operator: str
    tarball: dict[str, Any] | None = None
    target: str | None = None
    hops: Iterable[Hop] = ()
    helpers: Iterable[Helper] = ()
    options: dict[str, Any] = field(default_factory=dict)
    hop_values: Mapping[str, dict[str, str]] = field(default_factory=dict)
    paths: Iterable[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        unknown = self.options.keys() - OPTIONS.keys()
        if unknown:
            raise ValueError(f"no such options: {', '.join(sorted(unknown))}")


DATA = 6 * 3600
"""Seconds in which a host must be done with what goes through all of a node's data, or through a tarball."""

LIMITS: Mapping[str, int] = {
    "stage": DATA,
    "prepare": DATA,
    "backup": DATA,
    "backup-verify": DATA,
    "restore": DATA,
    "upgrade": DATA,
    "cleanup": 1800,
}
"""Seconds in which a host must be done with a request, beside what its own options allow; `LIMIT` for the others."""

LIMIT = 600

_WAITS = (
    "hop_timeout",
    "stop_timeout",
    "stop_timeout",
    "boot_timeout",
    "boot_timeout",
    "settle",
    "boot_check_timeout",
    "call_timeout",
)


def limit(command: str, options: Mapping[str, Any]) -> float:
    """Seconds after which a request has taken too long, whatever it does."""
    return float(LIMITS.get(command, LIMIT) + sum(options[name] for name in _WAITS))


def request(order: Order, host: HostSettings) -> Request:
    """The request that carries ``order`` to ``host``."""
    options = {
        **{name: default for name, (default, _meaning) in OPTIONS.items()},
        "restart_by": host.restart,
        **order.options,
    }
    return {
        "protocol": PROTOCOL_VERSION,
        "run": order.run,
        "command": order.command,
        "operator": order.operator,
        "node": {
            "root_dir": host.root_dir,
            "name": host.node,
            "data_dir": host.data_dir,
            "staging_dir": host.staging_dir,
            # Hosts may share what is mounted there.
            "backup_dir": host.backup_dir and f"{host.backup_dir}/{host.name}",
        },
        "tarball": order.tarball,
        "target": order.target,
        "hop_value": order.hop_values.get(host.name),
        "hops": [
            {"file": hop.file, "from": hop.from_vsn, "target": hop.target, "text": hop.text} for hop in order.hops
        ],
        "paths": [{"from": source, "target": target} for source, target in order.paths],
        "helpers": [_helper(helper) for helper in order.helpers],
        "options": options,
        "deadline": limit(order.command, options),
    }


def _helper(helper: Helper) -> dict[str, str]:
    if helper.is_compiled:
        return {"file": helper.file, "code": base64.b64encode(helper.code).decode("ascii")}
    return {"file": helper.file, "text": helper.text}


def hop_values(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """By host, what its hop was found to be, by rows of surveys; the first that tells counts."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        hop = row["facts"].get("hop") or {}
        if hop.get("sha256") and hop.get("term"):
            found.setdefault(row["host"], {"sha256": hop["sha256"], "term": hop["term"]})
    return found
