"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that judges the node after a hop."""

import time
from typing import Any, Dict, List, Optional, Tuple

from .. import boot, release
from ..context import Context
from ..history import amend, attempts, last_change, succeeded
from ..protocol import Failure
from .extract import lacks

PASSING = ("broker running", "old code", "suspended")
"""The signals that may be off for a moment on a node that is well: a process is busy, or somebody looks at it."""

_LOOK_AGAIN = 0.5
"""Seconds between two looks: a VM tells nobody when a process goes on."""

_COMPARING = 120.0
"""Seconds in which the VM has to compare its modules with files."""


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Asks the node itself, and looks at the disk. Raises `Failure` verify_failed, naming every signal that is off.

    What may pass is looked at again for a while. A good look also amends the row of an upgrade that failed only because
    it was looked at too early.
    """
    target = _target(context)
    deadline = time.monotonic() + context.option("look_for")
    left: List[Optional[str]] = []
    while True:
        signals = _signals(context, target, left)
        off = {name: what for name, what in signals.items() if what is not None}
        if not off:
            amend(context, target)
            return "ok", {"signals": sorted(signals)}
        if not set(off) <= set(PASSING) or time.monotonic() >= deadline:
            message = "; ".join("{}: {}".format(name, what) for name, what in off.items())
            raise Failure("verify_failed", message + ".", detail={"signals": signals})
        time.sleep(_LOOK_AGAIN)


def _target(context: Context) -> str:
    wanted = context.request.get("target")
    if wanted is None and context.request.get("tarball"):
        wanted = context.target
    return str(wanted or release.marked_version(context.site.base) or context.result.running or "")


def _signals(context: Context, target: str, left: List[Optional[str]]) -> Dict[str, Optional[str]]:
    """Every signal with None where it is right, else with what is off. An unmarked node boots and runs its base.

    `left` is empty at the first look, which puts there what it finds of the modules that the hop has not.
    """
    base = context.site.base
    marker, tree = release.deployed(base) or (None, base)
    booted = context.site.booted_by_marker()
    missing = lacks(tree) if marker is not None else release.missing_in(base)
    signals: Dict[str, Optional[str]] = {
        "broker running": None if context.view.is_ready() else "it is not",
        "running version": _differs(context.view.version(), target),
        "marker": None if marker is None and release.version_of(base) == target else _differs(marker, target),
        "tree whole": None if not missing else "lacks {}".format(", ".join(missing[:5])),
        "boot chain": None if booted == tree else "the next boot is from {}".format(booted),
    }
    signals["boot"] = _boot(context, tree)
    signals["history"] = _history(context)
    modules = _modules_of_hop(context, target)
    whose = "the base release's" if marker is None else "the tree's"
    beams = release.beams_in(tree)
    if left:
        # All others were compared by the first look, which reads a file for each.
        beams = [beam for beam in beams if beam.name in modules]
    found = context.agent.verify(beams, modules, max(context.option("call_timeout"), _COMPARING))
    if not left:
        left.append(_left_old(context, found, whose))
        context.result.facts["modules_checked"] = len({beam.name for beam in beams}.union(modules))
        context.result.facts["modules_left_old"] = found["left_count"] + found["unloaded_count"]
    other = " of the hop {} other code than " + whose
    signals["module code"] = _counted(
        found, "differ", "1 module" + other.format("runs"), "{} modules" + other.format("run")
    )
    signals["old code"] = _counted(
        found, "old_code", "1 module has processes in old code", "{} modules have processes in old code"
    )
    if not found["old_code_checked"]:
        message = "There are too many processes to be asked whether they run old code of the hop's modules."
        _warn(context, Failure("old_code_in_use", message, stage="verify"))
    signals["suspended"] = _counted(found, "suspended", "1 process is suspended", "{} processes are suspended")
    unknown = _counted(found, "unknown", "1 process is suspended", "{} processes are suspended")
    if unknown:
        _warn(context, Failure("not_verified", "It can't be told whether {}.".format(unknown), stage="verify"))
    signals["all code"] = left[0]
    return signals


def _boot(context: Context, tree: str) -> Optional[str]:
    """What would keep the next start from booting. The tree's wrapper reads the configuration once for a request."""
    before = context.result.facts.get("boot") or {}
    try:
        is_proven = before.get("tree") == tree and before.get("configuration") and not before.get("problems")
        if is_proven:
            now = boot.look(tree, context.site)
            boot.tell(context.result, dict(before, problems=now["problems"]), context.site.base)
            return "; ".join(now["problems"]) or None
        context.prove_boot(tree)
    except Failure as failure:
        said = failure.message.rstrip(".")
        return "{}. {}".format(said, failure.hint) if failure.hint.startswith(boot.APPEND) else said
    return None


def _warn(context: Context, failure: Failure) -> None:
    warning = failure.to_json()
    if warning not in context.result.warnings:
        context.result.warnings.append(warning)


def _left_old(context: Context, found: Dict[str, Any], whose: str) -> Optional[str]:
    """What is not of the hop, and is not the release's: a warning, unless all of it has to be right."""
    told = [
        _counted(found, "left", "1 module runs other code than " + whose, "{} modules run other code than " + whose),
        _counted(
            found, "unloaded", "1 module of the release is not loaded", "{} modules of the release are not loaded"
        ),
    ]
    message = "; ".join(text for text in told if text)
    if message and not context.option("strict"):
        detail = {what: found[what] for what in ("left", "left_count", "unloaded", "unloaded_count")}
        _warn(context, Failure("code_left_old", message + ".", detail=detail, stage="verify"))
        return None
    return message or None


def _history(context: Context) -> Optional[str]:
    try:
        context.journal.check()
    except Failure as failure:
        return failure.message
    row = last_change(context)
    if row is None or row["id"] == context.row or succeeded(row):
        return None
    return "the last attempt ended in {}".format(row["result"]) if row["result"] else "the last attempt has not ended"


def _differs(found: Optional[str], wanted: str) -> Optional[str]:
    return None if found == wanted else "{}, not {}".format(found or "none", wanted)


def _counted(found: Dict[str, Any], what: str, one: str, many: str) -> Optional[str]:
    count = found[what + "_count"]
    if not count:
        return None
    names = [item if isinstance(item, str) else item.get("name") or item.get("pid") for item in found[what]]
    return "{}: {}".format(one if count == 1 else many.format(count), ", ".join(names))


def _modules_of_hop(context: Context, target: str) -> List[str]:
    """What the last hop to the target loaded; nothing where no hop of ours led there."""
    hops = [row for row in attempts(context) if row["extra"].get("changed") and row["target_vsn"] == target]
    return [str(name) for name in hops[-1]["extra"].get("modules", [])] if hops else []
