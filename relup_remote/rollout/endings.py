"""How a run can end."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from relup_remote.core.protocol import ErrorSpec


class Outcome(NamedTuple):
    """What an outcome of a run means, and the exit status it stands for."""

    exit_status: int
    meaning: str


OUTCOMES: dict[str, Outcome] = {
    "done": Outcome(0, "Every host that was asked for is done."),
    "partly done": Outcome(1, "The run went through all waves, and something remains: the summary names it."),
    "nothing to do": Outcome(0, "Every host was where it should be already. No run was begun."),
    "stopped": Outcome(
        1,
        "A gate stayed closed, too many hosts failed, the time was over, or the record of the run could not be "
        "written.",
    ),
    "interrupted": Outcome(1, "The operator stopped the run."),
    "refused": Outcome(3, "The run was not begun. Nothing was changed on any host."),
}
"""The outcomes of a run: the same words in tables, documents, reports and docs."""

ROLLOUT_ERRORS: dict[str, ErrorSpec] = {
    "cluster_not_whole": ErrorSpec(
        "Hosts can't be reached or nodes of the cluster are down, so the run was not started.",
        "Bring those hosts and nodes back, or go on without them with --allow-missing.",
    ),
    "no_host_reached": ErrorSpec(
        "No host can be reached, so the run was not started.",
        "The hosts' errors say why. Check the network of this machine, the inventory and the jump hosts.",
    ),
    "nodes_left_out": ErrorSpec(
        "The inventory does not have all nodes of the cluster, so the run was not started.",
        "Add the missing nodes to the inventory, or name the hosts that you mean with --host. "
        "--allow-partial goes on with the hosts of the inventory.",
    ),
    "hosts_left": ErrorSpec(
        "The run went through all waves, but some hosts are not done.",
        "Remove the cause on those hosts. Then resume the run, or start one if none was begun.",
    ),
    "lock_left": ErrorSpec(
        "The run is done, but its lock could not be removed on every host.",
        "Look at `inv status`. Once nothing goes on there, `inv unlock` removes your own locks.",
    ),
    "too_many_failures": ErrorSpec(
        "More hosts failed than --max-failures allows. No more hosts were started.",
        "Look at the hosts that failed. Then resume the run.",
    ),
    "gate_closed": ErrorSpec(
        "A gate did not open in time. No more hosts were started.",
        "Remove the cause, then resume the run: the gates are checked again.",
    ),
    "hosts_not_ready": ErrorSpec(
        "More hosts are not ready than --max-failures allows, so the run was not started.",
        "Remove the causes that the hosts' errors name. Then start again.",
    ),
    "lock_not_taken": ErrorSpec(
        "The cluster could not be locked on every host, so the run was not started.",
        "The error of each host says what keeps it from being locked, and what to do. Then start again.",
    ),
    "interrupted_by_operator": ErrorSpec(
        "The operator interrupted the run. Hosts that had started were finished, unless it was left at once.",
        "Resume the run.",
    ),
    "out_of_time": ErrorSpec(
        "The run took longer than its deadline. Hosts that had started were finished, and no more were started.",
        "Resume the run; --deadline gives it more time.",
    ),
    "broke_off": ErrorSpec(
        "Something happened that relup_remote did not expect. No more hosts were started.",
        "This is a defect of relup_remote. Report it with the traceback. The run can be resumed.",
    ),
    "ledger_unwritable": ErrorSpec(
        "The record of the run could not be written any more. No more hosts were started.",
        "Make room in the state directory of this machine. Then resume the run.",
    ),
}
"""Why a run ended before all was done, in the same shape as the hosts' own errors."""


@dataclass(frozen=True)
class Ending:
    """How a run ended. ``outcome`` is a key of `OUTCOMES`, ``err_type`` one of `ROLLOUT_ERRORS`.

    ``reason`` is one sentence, ``next`` the command to run now.
    """

    outcome: str
    err_type: str | None = None
    reason: str = ""
    next: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_status(self) -> int:
        """The exit status of the command."""
        return OUTCOMES[self.outcome].exit_status

    def to_json(self) -> dict[str, Any]:
        """The ending in the commands' document and in the event ``end``."""
        return {
            "outcome": self.outcome,
            "err_type": self.err_type,
            "reason": self.reason,
            "next": self.next,
            "detail": self.detail,
        }


def allowed_failures(number: int) -> str:
    """How many hosts may fail, in words."""
    return f"--max-failures allows {number or 'none'}"


class Stopped(Exception):
    """Raised within a run where it has to end before all is done."""

    def __init__(self, err_type: str, reason: str, outcome: str = "stopped", detail: dict[str, Any] | None = None):
        super().__init__(reason)
        self.err_type = err_type
        self.reason = reason
        self.outcome = outcome
        self.detail = detail or {}
