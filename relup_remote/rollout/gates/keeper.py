"""Passing the gates of a wave, one after the other, up to the first that stays closed."""

import time
from collections.abc import Iterator, Mapping

from relup_remote.rollout.endings import Stopped
from relup_remote.rollout.gates import looks
from relup_remote.rollout.gates.case import Case, Gate, Verdict
from relup_remote.rollout.gates.command import command
from relup_remote.rollout.stop import Stop

LOOKS: Mapping[str, Gate] = {
    "verify": looks.verify,
    "cluster": looks.cluster,
    "connections": looks.connections,
    "postcheck": looks.postcheck,
}
"""The gates that ask the nodes, in the order in which they are passed."""

PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds between two looks of a gate that is not open yet: at first, and at most; each pause is twice the last."""


def pass_gates(case: Case, stop: Stop, *, last: bool) -> None:
    """Pass the gates after ``case``'s wave; it does not soak after the ``last`` one.

    Raises `Stopped` (``gate_closed``; ``interrupted_by_operator`` where the operator wants no more).
    """
    gates = case.plan.gates
    for name in _wanted(case):
        _pass(case, name, LOOKS[name], stop, gates.timeout)
    if gates.soak and not last:
        _soak(case, stop)
    if gates.command:
        _pass(case, "command", command, stop, 0)


def _wanted(case: Case) -> Iterator[str]:
    return (name for name in LOOKS if getattr(case.plan.gates, name) not in (False, None))


def _pass(case: Case, name: str, gate: Gate, stop: Stop, patience: float) -> None:
    _refuse_if(stop)
    started = time.monotonic()
    pause = PAUSE
    case.feed.tell("gate", wave=case.wave, gate=name, status="start")
    while not (verdict := gate(case)).open:
        left = patience - (time.monotonic() - started)
        if left <= 0:
            _tell(case, name, "closed", started, verdict)
            raise Stopped("gate_closed", f"The gate {name} after wave {case.wave} is closed: {verdict.message}")
        _tell(case, name, "wait", started, verdict)
        # The last look is at the very end of the time.
        if stop.wait(min(pause, left)):
            _tell(case, name, "closed", started, verdict)
            _refuse_if(stop)
        pause = min(2 * pause, LONGEST_PAUSE)
    _tell(case, name, "open", started, verdict)


def _soak(case: Case, stop: Stop) -> None:
    """Let the cluster stand for a while, looking at it now and then: what looks bad has to recover in time."""
    _refuse_if(stop)
    started = time.monotonic()
    message = f"{case.plan.gates.soak} s"
    case.feed.tell("gate", wave=case.wave, gate="soak", status="start", message=message)
    bad_since: float | None = None
    while (left := case.plan.gates.soak - (time.monotonic() - started)) > 0 or bad_since is not None:
        if stop.wait(min(LONGEST_PAUSE, left) if left > 0 else PAUSE):
            _tell(case, "soak", "closed", started, Verdict(False, "interrupted"))
            _refuse_if(stop)
        verdict = _glance(case)
        now = time.monotonic()
        if verdict.open:
            bad_since = None
            continue
        bad_since = now if bad_since is None else bad_since
        if now - bad_since >= case.plan.gates.timeout:
            _tell(case, "soak", "closed", started, verdict)
            raise Stopped("gate_closed", f"The gate soak after wave {case.wave} is closed: {verdict.message}")
        _tell(case, "soak", "wait", started, verdict)
    _tell(case, "soak", "open", started, Verdict(True, message))


def _glance(case: Case) -> Verdict:
    """What the gates that were passed say now, but for the slow ones; of those that are closed, the first."""
    verdicts = [LOOKS[name](case) for name in _wanted(case) if name != "postcheck"]
    return next((verdict for verdict in verdicts if not verdict.open), Verdict(True, ""))


def _tell(case: Case, name: str, status: str, started: float, verdict: Verdict) -> None:
    case.feed.tell(
        "gate",
        wave=case.wave,
        gate=name,
        status=status,
        seconds=round(time.monotonic() - started, 3),
        message=verdict.message,
        detail=dict(verdict.detail),
    )


def _refuse_if(stop: Stop) -> None:
    if stop:
        raise stop.why()
