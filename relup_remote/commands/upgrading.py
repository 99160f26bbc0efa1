"""`plan`, `stage`, `prepare` and `upgrade`: the way of a tarball to the nodes."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from invoke.context import Context

from relup_remote.commands import options
from relup_remote.commands.hopping import (
    AS_CHECKED,
    AS_CHECKED_WITH_BACKUP,
    AS_HOPPED,
    BACKUP_AGE,
    Checked,
    CheckedWithBackup,
    Hopping,
)
from relup_remote.commands.invocation import Invocation
from relup_remote.commands.options import command
from relup_remote.commands.rolling import Rolling, over_first, taken_up
from relup_remote.commands.wishes import UPGRADE_AS_USUAL, UpgradeWishes
from relup_remote.hops import catalogue as catalogues
from relup_remote.hops.catalogue import Catalogue, Hop
from relup_remote.rollout import missed
from relup_remote.rollout.plan import Gates, Plan, differences, helper_identities, identities
from relup_remote.rollout.roll import Work
from relup_remote.rollout.run import AT_ONCE
from relup_remote.rollout.tarball import Tarball
from relup_remote.summary.prepared import after_preparation
from relup_remote.summary.text import size
from relup_remote.usage import UsageError, all_of

AFTER_FAILURE = {
    "stop": "the node keeps running, with the part of the hop that was done",
    "restart": "the node is restarted, into the release that it would boot now",
}


@command
def plan(
    _context: Context,
    tarball: str = "",
    full: bool = False,
    checked: CheckedWithBackup = AS_CHECKED_WITH_BACKUP,
    catalogue: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Check on every host everything that an upgrade would check. Nothing is changed."""
    with Invocation("plan", host, inventory, json, quiet) as call:
        chosen = {"backup_age": BACKUP_AGE, **checked.request_options()}
        hops = _needed(call, tarball, catalogue)
        release = call.tarball(tarball)
        if release:
            rows = call.ask_all(call.order(**_parts(release, hops, chosen)))
            call.show(missed.told(rows, hops.malformed), hops=True, full=full)


@command
def stage(
    _context: Context,
    tarball: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Copy a tarball to the hosts and check its digest there. The nodes are not touched."""
    with Invocation("stage", host, inventory, json, quiet) as call:
        all_of(partial(options.required, "tarball", tarball), lambda: call.selected)
        release = call.tarball(tarball)
        if release:
            order = call.order(tarball=release.to_json(), target=release.version)
            call.show(call.in_turn(order, release.path))


@command
def prepare(
    _context: Context,
    tarball: str = "",
    parallel: str = "",
    checked: Checked = AS_CHECKED,
    no_boot_check: bool = False,
    catalogue: str = "",
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Bring a release to the hosts, unpack it there and check the hop against it. The nodes are not touched."""
    with Invocation("prepare", host, inventory, json, quiet) as call:
        chosen = {**checked.request_options(), **({"no_boot_check": True} if no_boot_check else {})}
        limit = options.numbers(parallel=parallel).get("parallel", AT_ONCE)
        hops = _needed(call, tarball, catalogue)
        release = call.tarball(tarball)
        if release:
            jobs = call.jobs(call.order(**_parts(release, hops, chosen)), release.path)
            # How much each host lacks is not known yet.
            jobs = [replace(job, bytes=release.bytes) for job in jobs]
            rows = call.change_all(jobs, limit)
            call.show(missed.told(rows, hops.malformed), after=after_preparation(rows))


@command
def upgrade(
    _context: Context,
    tarball: str = "",
    check: bool = False,
    yes: bool = False,
    resume: str = "",
    wishes: UpgradeWishes = UPGRADE_AS_USUAL,
    checked: CheckedWithBackup = AS_CHECKED_WITH_BACKUP,
    hopping: Hopping = AS_HOPPED,
    catalogue: str = "",
    events: bool = False,
    host: list[str] | None = None,
    inventory: str = "",
    json: bool = False,
    quiet: bool = False,
) -> None:
    """Upgrade nodes while they run: a canary first, then in waves, with gates after each; stop at the first problem."""
    with Invocation("upgrade", host, inventory, json, quiet, events) as call:
        wishes.check()
        record = taken_up(call, resume, wishes) if resume else None
        before = Plan.from_json(record.plan) if record else None
        chosen = {
            "backup_age": BACKUP_AGE,
            "on_failure": "stop",
            **(before.options if before else {}),
            **checked.request_options(),
            **hopping.request_options(),
        }
        given = catalogue or (before.catalogue or "" if before else "")
        path = tarball or (str(before.tarball["path"]) if before and before.tarball else "")
        with over_first(call):
            hops = _needed(call, path, given)
            release = call.tarball(path)
            parts = _parts(release, hops, chosen) if release else {}
            named = _named(release, hops, parts) if release else {}
            if before and release:
                _refuse_differences(before, named)
        if release:
            Rolling(
                call=call,
                work=Work(call.order(**parts), release),
                look="plan",
                gates=Gates(),
                wishes=wishes,
                parts=named,
                record=record,
                yes=yes,
                quiet=quiet,
                check=check,
                said=lambda _survey: _said(release, parts["hops"], chosen),
                told=lambda rows: missed.told(rows, hops.malformed),
            ).roll()


def _said(release: Tarball, hops: Sequence[Hop], chosen: dict[str, Any]) -> list[str]:
    """What an upgrade is going to do, in plain words."""
    lines = [
        f"tarball: {release.path.name}, {size(release.bytes)}, SHA-256 {release.sha256}",
        f"hops: {', '.join(f'{hop.from_vsn} -> {hop.target} ({hop.file})' for hop in hops) or 'none'}",
        f"if a hop fails and can't be undone: {AFTER_FAILURE[chosen['on_failure']]}",
    ]
    if not chosen["backup_age"]:
        lines.append("no backup is required (--no-backup)")
    if chosen.get("force"):
        lines.append("patches in a node's data folder do not stop it (--force)")
    if chosen.get("kill_lingering"):
        lines.append("processes that run old code of a replaced module will be killed (--kill-lingering)")
    if chosen.get("no_boot_check"):
        lines.append("it will not be checked whether the release can read the node's configuration (--no-boot-check)")
    if chosen.get("allow_calls"):
        lines.append(f"the hop's file may also call {chosen['allow_calls']} (--allow-calls)")
    return lines


def _named(release: Tarball, hops: Catalogue, parts: dict[str, Any]) -> dict[str, Any]:
    """What the plan of a run says of what it brings to the hosts."""
    return {
        "target": release.version,
        "tarball": {
            "path": str(release.path.absolute()),
            "name": release.path.name,
            "bytes": release.bytes,
            "sha256": release.sha256,
            "version": release.version,
        },
        "hops": identities(parts["hops"]),
        "helpers": helper_identities(parts["helpers"]),
        "catalogue": os.pathsep.join(str(place.absolute()) for place in hops.places),
    }


def _refuse_differences(before: Plan, named: dict[str, Any]) -> None:
    """Raises `UsageError` (``run_differs``) where a run would go on with something else than it began with."""
    found = differences(before, named["tarball"]["sha256"], named["hops"], named["helpers"])
    if found:
        raise UsageError("run_differs", f"{before.run} began with other files: {'; '.join(found)}")


def _needed(call: Invocation, tarball: str, catalogue: str) -> Catalogue:
    """The catalogue. Raises `UsageError` that names all that is missing: tarball, inventory and hosts, catalogue."""
    hops: Catalogue
    _, _, hops = all_of(
        partial(options.required, "tarball", tarball), lambda: call.selected, partial(_catalogue, call, catalogue)
    )
    return hops


def _catalogue(call: Invocation, given: str) -> Catalogue:
    found = catalogues.load(*catalogues.locate(given))
    for file in found.malformed:
        call.warn(f"catalogue: {found.named(file)} is left out: {file.place}{file.reason}")
    for other in found.overridden:
        call.warn(
            f"catalogue: {other.file} of {other.catalogue} is not used: {other.by} comes first and has another one"
        )
    return found


def _parts(release: Tarball, hops: Catalogue, chosen: dict[str, Any]) -> dict[str, Any]:
    return {
        "tarball": release.to_json(),
        "target": release.version,
        "hops": hops.to(release.version) if release.version else [],
        "paths": [(hop.from_vsn, hop.target) for hop in hops.hops],
        "helpers": hops.helpers,
        "options": chosen,
    }
