"""`plan`, `stage` and `upgrade`: the way of a tarball to the nodes."""

from collections.abc import Sequence
from typing import Any

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.asking import confirm
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.hops import catalogue as catalogues
from relup_remote.hops.catalogue import Catalogue, Hop
from relup_remote.inventory import HostSettings
from relup_remote.rollout import missed
from relup_remote.rollout.tarball import Tarball
from relup_remote.rollout.upgrade import upgrade as roll_out
from relup_remote.summary.text import size

AFTER_FAILURE = {
    "stop": "the node is left up, as far as the hop got",
    "restart": "the node restarts into the release it boots now",
}


@command
def plan(
    _context: Context,
    tarball: str = "",
    force: bool = False,
    kill_lingering: bool = False,
    catalogue: str = "",
    call_timeout: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check everything an upgrade would, on every host, and change nothing."""
    with Invocation("plan", host, inventory, json, quiet) as call:
        chosen = {
            "force": force,
            "kill_lingering": kill_lingering,
            **options.numbers(call_timeout=call_timeout),
        }
        path = options.required("tarball", tarball)
        hops = _catalogue(call, catalogue)
        release = call.tarball(path)
        if release:
            rows = call.ask_all(call.order(**_parts(release, hops, chosen)))
            call.show(missed.told(rows, hops.malformed), hops=True)


@command
def stage(
    _context: Context,
    tarball: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Bring a tarball to the hosts and check its digest there; the nodes are not touched."""
    with Invocation("stage", host, inventory, json, quiet) as call:
        release = call.tarball(options.required("tarball", tarball))
        if release:
            order = call.order(tarball=release.to_json(), target=release.version)
            call.show(call.in_turn(order, release.path))


@command
def upgrade(
    _context: Context,
    tarball: str = "",
    force: bool = False,
    kill_lingering: bool = False,
    on_failure: str = "stop",
    yes: bool = False,
    catalogue: str = "",
    hop_timeout: str = "",
    step_timeout: str = "",
    call_timeout: str = "",
    boot_timeout: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upgrade nodes while they run, one host after the other, stopping at the first that is not done."""
    with Invocation("upgrade", host, inventory, json, quiet) as call:
        chosen = {
            "force": force,
            "kill_lingering": kill_lingering,
            "on_failure": options.choice("on_failure", on_failure, options.ON_FAILURE),
            **options.numbers(
                hop_timeout=hop_timeout,
                step_timeout=step_timeout,
                call_timeout=call_timeout,
                boot_timeout=boot_timeout,
            ),
        }
        path = options.required("tarball", tarball)
        hops = _catalogue(call, catalogue)
        release = call.tarball(path)
        if release:
            parts = _parts(release, hops, chosen)
            confirm(intention(call.hosts, release, parts["hops"], chosen), "upgrade these hosts?", yes=yes, quiet=quiet)
            rows = roll_out(call.runner, call.hosts, call.order(**parts), release)
            call.show(missed.told(rows, hops.malformed), hops=True)


def intention(hosts: Sequence[HostSettings], release: Tarball, hops: Sequence[Hop], chosen: dict[str, Any]) -> str:
    """What an upgrade is going to do, in plain words."""
    lines = [
        f"upgrade to {release.version or 'an unknown version'} from {release.path.name} ({size(release.bytes)})",
        f"  hosts, one after the other up to the first that is not done: {', '.join(host.name for host in hosts)}",
        f"  hops to it: {', '.join(f'{hop.from_vsn} -> {hop.target} ({hop.file})' for hop in hops) or 'none'}",
        f"  if a hop fails where it can no longer be undone: {AFTER_FAILURE[chosen['on_failure']]}",
    ]
    if chosen["force"]:
        lines.append("  patches folders that are not empty do not keep it from going on (--force)")
    if chosen["kill_lingering"]:
        lines.append("  processes that run old code of a module which a hop replaces are killed (--kill-lingering)")
    return "\n".join(lines)


def _catalogue(call: Invocation, given: str) -> Catalogue:
    found = catalogues.load(catalogues.locate(given))
    for file in found.malformed:
        call.note(f"catalogue: {file.file} is left out: {file.place}{file.reason}")
    return found


def _parts(release: Tarball, hops: Catalogue, chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        "tarball": release.to_json(),
        "target": release.version,
        "hops": hops.to(release.version) if release.version else [],
        "helpers": hops.helpers,
        "options": chosen,
    }
