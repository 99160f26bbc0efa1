"""Payload, shipped to hosts (Python 3.6 and up, standard library only): the step that runs the hop in the VM."""

import base64
import os
import time
from typing import Any, Dict, List, Optional, Tuple

from .. import release
from ..agent import outcome_of
from ..context import Context
from ..erlang import term
from ..files import remove_file, reserve, sync_dir
from ..opening import read_small
from ..protocol import ERRORS, Failure
from ..site import Site
from .extract import discard, note_used
from .restart import restart

_AFTER = {
    "undone": "Everything was undone; the node is as before.",
    "left": "Only a part could be undone; the detail names the rest.",
    "kept": "What was done before it was not undone.",
}

_ROOM = 256 << 10
"""Bytes that are kept for the outcome of a hop."""

OF_THE_HOP = ("malformed_hop", "hop_call_not_allowed", "hop_too_costly", "hop_changed")
"""What is found wrong with a hop's file before any of its instructions is looked at."""

_LOOK_AGAIN = 0.2
"""Seconds between two tries to reach a VM whose link broke: nothing tells when it can be reached again."""


def preflight(context: Context, tree: Optional[str]) -> List[Failure]:
    """What the VM finds in the way of the hop; fills in the result's hop. `tree` None: it is not deployed yet."""
    return _preflight(context, tree)[1]


def check(context: Context) -> Dict[Any, Any]:
    """Checks the hop against the tree; returns the agent's request for it.

    Raises the `Failure` of the first problem (all are in the result). A tree that this request has deployed is removed
    then.
    """
    request, problems = _preflight(context, context.tree)
    if problems:
        if context.deployed and release.marker(context.site.base) != context.target:
            discard(context.tree)
        context.result.problems = problems
        raise problems[0]
    return request


def run(context: Context) -> Tuple[str, Dict[str, Any]]:
    """Checks the hop against the tree, runs it, and waits for its outcome; the VM writes the marker as the last act.

    Raises the `Failure` of the first problem (all are in the result), or of the instruction that failed.
    """
    request = check(context)
    note_used(context.tree)
    remove_file(context.site.outcome)
    # Now, while nothing is changed: a hop whose outcome finds no room is one of which nobody knows how it ended.
    reserve(context.site.outcome, _ROOM)
    context.note(
        hop=context.hop()["file"],
        hop_sha256=context.hop_value()["sha256"],
        modules=context.result.facts["hop"]["modules"],
        changed=True,
    )
    context.changed = context.hop_runs = context.hop_started = True
    try:
        context.agent.start(request)
    except Failure as failure:
        # Any other failure leaves open whether it began.
        if failure.err_type == "upgrade_in_progress":
            context.changed = context.hop_runs = context.hop_started = False
            remove_file(context.site.outcome + ".tmp")
            context.note(changed=False)
        raise
    outcome = follow(context)
    context.hop_runs = False
    return finish(context, outcome)


def follow(context: Context) -> Optional[Dict[str, Any]]:
    """Waits for the hop under way in the VM; its outcome, also where it ended before we came. None: none is known.

    A link that breaks is made anew while the VM runs.
    """
    deadline = time.monotonic() + context.option("hop_timeout")
    total = len(context.result.facts.get("hop", {}).get("instructions", []))

    def show(event: Dict[str, Any]) -> None:
        text = "{} {}: {}".format(event.get("n"), event.get("text"), event.get("does"))
        progress = {"event": "progress", "step": "apply", "unit": "instructions", "text": text}
        context.emit(dict(progress, done=event.get("n"), total=total))

    while True:
        try:
            outcome = context.agent.wait(show, lambda: deadline - time.monotonic())
            return outcome or read_outcome(context.site)
        except Failure as failure:
            if failure.err_type not in ("node_unreachable", "call_timeout"):
                raise
            if not context.vm_runs():
                return read_outcome(context.site)
            if time.monotonic() >= deadline:
                raise Failure("hop_timeout", changed=True)
            context.leave_vm()
            time.sleep(_LOOK_AGAIN)


def read_outcome(site: Site, run: Optional[str] = None) -> Optional[Dict[str, Any]]:
    """The outcome that the VM wrote down, of the `run` where given; None where there is none."""
    content = read_small(site.outcome, 64 << 20)
    if content is None:
        return None
    try:
        outcome = outcome_of(term.decode(content))
    except (term.TermError, TypeError, ValueError, RecursionError):
        return None
    return outcome if isinstance(outcome.get("result"), str) and run in (None, outcome.get("run")) else None


def finish(context: Context, outcome: Optional[Dict[str, Any]]) -> Tuple[str, Dict[str, Any]]:
    """Turns an outcome into the step's, the hop's report into the result. Raises `Failure` but for a success.

    A node that has to restart is restarted, and awaited.
    """
    if outcome is None:
        raise _lost(context)
    hop = context.result.facts.setdefault("hop", {})
    hop["instructions"] = outcome.get("instructions", hop.get("instructions", []))
    hop.update({key: outcome[key] for key in ("suspended_ms", "swap_ms", "seconds", "undone") if key in outcome})
    for app in outcome.get("stopped", []):
        message = "The application {} ran when the hop began and does not run after it.".format(app)
        context.result.warnings.append(Failure("app_stopped", message, stage="apply").to_json())
    if outcome.get("stopped_known") is False:
        message = "It can't be told whether all applications run as before: the application controller did not answer."
        context.result.warnings.append(Failure("app_stopped", message, stage="apply").to_json())
    if outcome["result"] == "success":
        sync_dir(os.path.join(context.site.base, "relup"))
        detail = {key: hop[key] for key in ("seconds", "suspended_ms", "swap_ms") if key in hop}
        return "ok", dict(detail, instructions=len(hop["instructions"]))
    err_type = outcome["result"] if outcome["result"] in ERRORS else "internal_error"
    undone = bool(outcome.get("undone"))
    place = "Instruction {}: ".format(outcome["n"]) if outcome.get("n") else ""
    said = str(outcome.get("message", "")).rstrip(".")
    after = _AFTER["undone" if undone else "left" if outcome.get("left") else "kept"]
    detail = {key: outcome[key] for key in ("n", "stage", "undone", "left", "killed", "kept") if key in outcome}
    context.changed = not undone
    context.note(updated=outcome.get("updated", {}))
    if outcome.get("killed_count"):
        after += " Processes ended, to be started afresh by their supervisors: {}.".format(outcome["killed_count"])
    if outcome.get("kept"):
        kept = ", ".join(outcome["kept"])
        after += " Processes that go on with a state that may not fit their code: {}.".format(kept)
    if outcome.get("restart"):
        _restart(context, "{}{}.".format(place, said), dict(detail, err_type=err_type))
        after = "The node was restarted and is back."
    raise Failure(err_type, "{}{}. {}".format(place, said, after), detail=detail, changed=not undone)


def _restart(context: Context, said: str, hop: Dict[str, Any]) -> None:
    """Restarts the node after its hop. If that fails, its `Failure` also says what the hop came to."""
    try:
        restart(context)
    except Failure as failure:
        failure.message = "{} {}".format(said, failure.message)
        failure.detail["hop"] = hop
        raise


def _lost(context: Context) -> Failure:
    said = "The hop ended without an outcome." if context.vm_runs() else "The VM died during the hop."
    if context.option("on_failure") == "restart":
        _restart(context, said, {"err_type": "hop_lost"})
        said += " The node was restarted and is back."
    return Failure("hop_lost", said, changed=True)


def _preflight(context: Context, tree: Optional[str]) -> Tuple[Dict[Any, Any], List[Failure]]:
    """The agent's request for the hop, and the problems; without the first where the hop itself is the problem."""
    try:
        request = context.hop_request(tree)
    except Failure as failure:
        if failure.err_type not in OF_THE_HOP:
            raise
        return {}, [failure]
    report = context.agent.preflight(request, context.option("call_timeout"))
    hop, value = context.hop(), context.hop_value()
    context.result.facts["hop"] = {
        "file": hop["file"],
        "from": hop["from"],
        "target": hop["target"],
        "sha256": value["sha256"],
        "term": base64.b64encode(value["term"]).decode("ascii"),
        "instructions": report["instructions"],
        "modules": report["modules"],
    }
    # The second look, at the tree, finds all that the first found and that is still so.
    others = [warning for warning in context.result.warnings if warning not in context.warned]
    context.warned = report["warnings"]
    context.result.warnings = others + context.warned
    return request, list(report["problems"])
