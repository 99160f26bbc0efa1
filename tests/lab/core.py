"""A host's core, asked over SSH as a rollout asks it, with no rollout around it."""

from pathlib import Path
from typing import Any

from lab.layout import PROJECT
from relup_remote import inventory
from relup_remote.hops import catalogue as catalogues
from relup_remote.host import Host
from relup_remote.rollout import tarball as tarballs
from relup_remote.rollout.identity import operator, run_id
from relup_remote.rollout.request import Order, request
from relup_remote.rollout.rows import Row
from relup_remote.rollout.run import Job, Runner
from tests.lab.cluster import Tool

CATALOGUE = PROJECT / "priv" / "relup"


class Core:
    """The core of the host `host` of the tool's inventory. ``heard``: its events; ``notes``: those for the operator."""

    def __init__(self, relup: Tool, host: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self._host = inventory.load(relup.inventory).select([host])[0]
        self._runner = Runner(Host, self._watch)

    @property
    def notes(self) -> list[str]:
        return [event["message"] for event in self.heard if event["event"] == "note"]

    def ask(self, command: str, **options: Any) -> Row:
        """Have it carry out a command that needs no tarball, with the core's own options; the host's row."""
        return self._ask(Order(command, run_id(), operator(), options=options))

    def upgrade(self, tarball: Path, catalogue: Path = CATALOGUE, command: str = "upgrade", **options: Any) -> Row:
        """Have it upgrade its node, or do another command with a tarball; the host's row."""
        release, hops = tarballs.read(tarball), catalogues.load(catalogue)
        order = Order(
            command,
            run_id(),
            operator(),
            tarball=release.to_json(),
            target=release.version,
            hops=hops.to(release.version) if release.version else (),
            helpers=hops.helpers,
            options=options,
        )
        return self._ask(order, tarball)

    def _ask(self, order: Order, tarball: Path | None = None) -> Row:
        return self._runner.one(Job(self._host, request(order, self._host), tarball))

    def _watch(self, _host: str, event: dict[str, Any]) -> None:
        self.heard.append(event)
