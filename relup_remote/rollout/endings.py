"""How a run can end.

===============  ==========================================================================
outcome          when
===============  ==========================================================================
``done``         no host is left to do; hosts within ``--max-failures`` may have failed
``stopped``      a gate closed, more hosts failed than may, or something nobody foresaw
``interrupted``  the operator stopped it
``refused``      it did not begin: nothing was changed anywhere
===============  ==========================================================================
"""

from dataclasses import dataclass, field
from typing import Any

from relup_remote.core.protocol import ErrorSpec

ROLLOUT_ERRORS: dict[str, ErrorSpec] = {
    "cluster_not_whole": ErrorSpec(
        "Hosts can't be reached or nodes of the cluster are down, so nothing was begun.",
        "Bring those hosts and nodes back, or go on without them by --allow-missing.",
    ),
    "too_many_failures": ErrorSpec(
        "More hosts failed than --max-failures allows; nothing more was begun.",
        "Look at the hosts that failed; then take the run up again by --resume.",
    ),
    "gate_closed": ErrorSpec(
        "A gate between two waves did not open in time; nothing more was begun.",
        "Remove the cause, then take the run up again by --resume: the gates are passed anew.",
    ),
    "hosts_not_ready": ErrorSpec(
        "More hosts can't be done than --max-failures allows, so nothing was begun.",
        "Remove what the hosts' errors name, then begin again.",
    ),
    "lock_not_taken": ErrorSpec(
        "The lock of the cluster could not be taken on every host, so nothing was begun.",
        "Wait for that run, or take it up by --resume if it is yours; `inv unlock` takes off a lock of your own.",
    ),
    "interrupted_by_operator": ErrorSpec(
        "The operator interrupted the run; the hosts in hand were finished, unless it was left at once.",
        "Take it up again by --resume.",
    ),
    "out_of_time": ErrorSpec(
        "The run took longer than its deadline; the hosts in hand were finished, and nothing more was begun.",
        "Take it up again by --resume; --deadline gives it more time.",
    ),
    "broke_off": ErrorSpec(
        "Something happened that relup_remote did not foresee; nothing more was begun.",
        "This is a defect: report it with the traceback. The run can be taken up again by --resume.",
    ),
    "ledger_unwritable": ErrorSpec(
        "The ledger of the run could not be written any more, so nothing more was begun.",
        "Make room in the controller's state directory, then take the run up again by --resume.",
    ),
}
"""Why a run ended before all was done, in the same shape as the hosts' own errors."""


@dataclass(frozen=True)
class Ending:
    """How a run ended. ``err_type`` is a key of `ROLLOUT_ERRORS`, ``reason`` one sentence, ``next`` what to run now."""

    outcome: str
    err_type: str | None = None
    reason: str = ""
    next: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The ending in the commands' document and in the event ``end``."""
        return {
            "outcome": self.outcome,
            "err_type": self.err_type,
            "reason": self.reason,
            "next": self.next,
            "detail": self.detail,
        }


class Stopped(Exception):
    """Raised within a run where it has to end before all is done."""

    def __init__(self, err_type: str, reason: str, outcome: str = "stopped", detail: dict[str, Any] | None = None):
        super().__init__(reason)
        self.err_type = err_type
        self.reason = reason
        self.outcome = outcome
        self.detail = detail or {}
