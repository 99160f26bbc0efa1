"""What a run is going to do, decided before it begins: pure, and what the ledger's request.json holds."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relup_remote.hops.catalogue import Helper, Hop
from relup_remote.rollout.ledger import FORMAT, masked
from relup_remote.rollout.run import AT_ONCE
from relup_remote.secrets import Shell

GATES = ("verify", "cluster", "connections", "postcheck")
"""The gates that need no value, in the order in which they are passed; ``soak`` and ``command`` come after them."""


@dataclass(frozen=True)
class Gates:
    """What has to hold between two waves.

    ``connections`` is the share of connections that upgraded nodes must still have, in percent, None where it is not
    looked at; ``soak`` and the timeouts are seconds; ``command`` is a line for the shell.
    """

    verify: bool = True
    cluster: bool = True
    connections: int | None = 90
    postcheck: bool = True
    soak: int = 0
    command: Shell | None = None
    timeout: int = 60
    command_timeout: int = 600

    @property
    def are_any(self) -> bool:
        """Whether anything has to hold."""
        return bool(
            self.verify or self.cluster or self.connections is not None or self.postcheck or self.soak or self.command
        )


@dataclass(frozen=True)
class Member:
    """A host of the run as the survey found it. ``done``: there was nothing to do on it when the run began.

    For all of the run it has to be at the same address (None behind a jump host), with the same host key and node, on
    the same machine.
    """

    host: str
    address: str
    node: str | None = None
    role: str | None = None
    from_vsn: str | None = None
    connections: int | None = None
    bytes: int | None = None
    done: bool = False
    ssh_address: str | None = None
    ssh_key: str | None = None
    machine: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The member in request.json."""
        values = dataclasses.asdict(self)
        values["from"] = values.pop("from_vsn")
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Member":
        """The member that `to_json` made."""
        return cls(**{("from_vsn" if name == "from" else name): value for name, value in values.items()})


@dataclass(frozen=True)
class Plan:
    """A run. ``catalogue`` names the catalogues of its hops as `--catalogue` does, ``waves`` are names of hosts.

    ``nodes`` are those that ran in the cluster when it was surveyed.
    """

    run: str
    command: str
    operator: str
    started_at: int
    version: str | None
    inventory: str
    selection: tuple[str, ...]
    target: str | None
    tarball: Mapping[str, Any] | None
    hops: tuple[Mapping[str, Any], ...]
    helpers: tuple[Mapping[str, Any], ...]
    hosts: tuple[Member, ...]
    waves: tuple[tuple[str, ...], ...]
    catalogue: str | None = None
    nodes: tuple[str, ...] = ()
    parallel: int = 1
    prepare_parallel: int = AT_ONCE
    max_failures: int = 0
    allow_missing: bool = False
    allow_partial: bool = False
    gates: Gates = field(default_factory=Gates)
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as request.json."""
        plain = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        members = [member.to_json() for member in self.hosts]
        return {"format": FORMAT, **plain, "hosts": members, "gates": dataclasses.asdict(self.gates)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Plan":
        """The plan that `to_json` made."""
        values = {name: value for name, value in document.items() if name != "format"}
        values["hosts"] = tuple(Member.from_json(member) for member in values["hosts"])
        values["waves"] = tuple(tuple(wave) for wave in values["waves"])
        values["gates"] = Gates(**masked(document)["gates"])
        for name in ("selection", "hops", "helpers", "nodes"):
            values[name] = tuple(values[name])
        return cls(**values)

    def member(self, host: str) -> Member:
        """What the survey found of a host."""
        return next(member for member in self.hosts if member.host == host)


def identities(hops: Iterable[Hop]) -> tuple[Mapping[str, Any], ...]:
    """Hops as the plan names them."""
    return tuple(
        {"file": hop.file, "from": hop.from_vsn, "target": hop.target, "sha256": _sha256(hop.text)} for hop in hops
    )


def helper_identities(helpers: Iterable[Helper]) -> tuple[Mapping[str, Any], ...]:
    """Helpers as the plan names them."""
    return tuple({"file": helper.file, "sha256": hashlib.sha256(helper.content).hexdigest()} for helper in helpers)


def differences(
    plan: Plan, sha256: str | None, hops: Sequence[Mapping[str, Any]], helpers: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a run that is taken up again would not be given as it was when it began; in words."""
    if plan.tarball is not None and plan.tarball["sha256"] != sha256:
        # With it goes all that was found for it.
        return [f"the tarball had SHA-256 {plan.tarball['sha256']}, now it is {sha256}"]
    found = []
    for what, before, after in (("hop", plan.hops, hops), ("helper", plan.helpers, helpers)):
        digests = [{_which(item): item["sha256"] for item in items} for items in (before, after)]
        which = [one for one in {**digests[0], **digests[1]} if digests[0].get(one) != digests[1].get(one)]
        found += [f"the {what} {one[0]} {_change(one, *digests)}" for one in which]
    return found


def _which(item: Mapping[str, Any]) -> tuple[str, str, str]:
    """A hop or a helper. Files of two catalogues may have the same name."""
    return item["file"], item.get("from", ""), item.get("target", "")


def _change(
    one: tuple[str, str, str], before: Mapping[tuple[str, str, str], str], after: Mapping[tuple[str, str, str], str]
) -> str:
    return "was not there" if one not in before else "is gone" if one not in after else "has changed"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
