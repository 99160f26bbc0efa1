"""Passing the gates of a wave, one after the other, up to the first that stays closed.

The gates that go by what the nodes say are judged by one look, which is one request to each host. Where one of them is
closed the hosts are asked anew until it opens, and the gates after it go by what they said last.
"""

import time
from collections.abc import Mapping, Sequence

from relup_remote.rollout.endings import Stopped
from relup_remote.rollout.gates import looks
from relup_remote.rollout.gates.case import Case, Gate, Judge, Verdict
from relup_remote.rollout.gates.command import command
from relup_remote.rollout.rows import Row
from relup_remote.rollout.stop import Stop

JUDGES: Mapping[str, tuple[Judge, str]] = {
    "verify": (looks.verify, "verify"),
    "cluster": (looks.cluster, "status"),
    "connections": (looks.connections, "status"),
}
"""The gates that go by what the nodes say, in the order in which they are passed, with the command that tells enough.

All that `status` tells them `verify` tells as well.
"""

PAUSE, LONGEST_PAUSE = 1.0, 10.0
"""Seconds between two looks of a gate that is not open yet: at first, and at most; each pause is twice the last."""


def pass_gates(case: Case, stop: Stop, *, last: bool) -> None:
    """Pass the gates after ``case``'s wave; it does not soak after the ``last`` one.

    Raises `Stopped` (``gate_closed``; ``interrupted_by_operator`` where the operator wants no more).
    """
    gates = case.plan.gates
    look = _Look(case)
    for name in look.wanted:
        _pass(case, name, look.gate(name), stop, gates.timeout)
    if gates.postcheck:
        _pass(case, "postcheck", looks.postcheck, stop, gates.timeout)
    if gates.soak and not last:
        _soak(case, stop)
    if gates.command:
        _pass(case, "command", command, stop, 0)


class _Look:
    """What the nodes of the wave have said last, to gates of which each is passed before the next is asked."""

    def __init__(self, case: Case) -> None:
        self.wanted = [name for name in JUDGES if getattr(case.plan.gates, name) not in (False, None)]
        self._case = case
        self._rows: Sequence[Row] | None = None

    def gate(self, name: str) -> Gate:
        """The gate of that name. It goes by what was said to the gate before it, and asks anew where that closes it."""
        judge, command = JUDGES[name]
        is_first = True

        def gate(case: Case) -> Verdict:
            nonlocal is_first
            if self._rows is None or not is_first:
                self._rows = case.ask(command)
            is_first = False
            return judge(case, self._rows)

        return gate

    def verdict(self, *, is_last: bool) -> Verdict:
        """Of the gates that are closed now the first, else an open one.

        A wrapper that reads the node's configuration is a VM that starts, and takes seconds of CPU. So only the last
        look has it do that; the gates before the soak did so too.
        """
        if not self.wanted:
            return Verdict(True, "")
        # The first one's command tells enough for all.
        rows = self._case.ask(
            JUDGES[self.wanted[0]][1], is_last=is_last, **({} if is_last else {"no_boot_check": True})
        )
        verdicts = [JUDGES[name][0](self._case, rows) for name in self.wanted]
        return next((verdict for verdict in verdicts if not verdict.open), Verdict(True, ""))


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
    look = _Look(case)
    started = time.monotonic()
    message = f"{case.plan.gates.soak} s"
    case.feed.tell("gate", wave=case.wave, gate="soak", status="start", message=message)
    bad_since: float | None = None
    is_last = False
    while not is_last or bad_since is not None:
        left = case.plan.gates.soak - (time.monotonic() - started)
        is_last = left <= LONGEST_PAUSE
        if stop.wait(min(LONGEST_PAUSE, left) if left > 0 else PAUSE):
            _tell(case, "soak", "closed", started, Verdict(False, "interrupted"))
            _refuse_if(stop)
        verdict = look.verdict(is_last=is_last)
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
