"""What the next upgrade finds after each kind of failure, and how it goes on: as the state table says."""

import pytest

from relup_remote.failures import State, states
from relup_remote.faults import EXIT, TOO_LONG, Cell, cells, ending
from relup_remote.rollout.rows import Row
from tests.lab.faults.hops import HANG, options
from tests.lab.faults.node import Node
from tests.lab.faults.release import TARGET

BOOTS_BASE = "boots base"
ONE_OF = {ending(cell).failed_in: cell for cell in reversed(list(cells())) if cell.fault != EXIT}
"""The first cell of the fault matrix for each row of the state table whose fault is over when the hop has failed."""

LONG_HANG = 8000
"""Milliseconds: so long that `status` finds the hop under way yet."""

CASES = [
    pytest.param(state, ONE_OF[state.failed_in], on_failure, id=f"{state.failed_in}-{on_failure}".replace(" ", "_"))
    for state in states()
    if state.failed_in in ONE_OF
    for on_failure in (("stop", "restart") if state.restart == BOOTS_BASE else ("stop",))
]


@pytest.mark.share(5)
@pytest.mark.parametrize(("state", "cell", "on_failure"), CASES)
def test_next_upgrade(spare: Node, state: State, cell: Cell, on_failure: str) -> None:
    spare.arm(cell, LONG_HANG if ending(cell) == TOO_LONG else HANG)
    spare.upgrade(cell, options(cell, on_failure))
    assert spare.status()["facts"]["state"] == state_told(state, cell, on_failure)
    spare.clear()
    if on_failure == "restart":
        # The application of the matrix is started by the tests, not by the release.
        spare.put_code_back()
    done = spare.upgrade(cell, {"on_failure": on_failure})
    check_next(state, done)
    after = spare.look()
    assert (after.marker, after.version) == (TARGET, TARGET)
    assert {row["status"] for row in spare.history()} == {"finished"}


def state_told(state: State, cell: Cell, on_failure: str) -> str:
    """What `status` calls a node after a failure."""
    if ending(cell) == TOO_LONG:
        return "in-progress"
    if state.marker == "yes":
        return "hot-upgraded"
    is_left = state.undone == "no" and not (on_failure == "restart" and state.restart == BOOTS_BASE)
    return "half-done" if is_left else "idle"


def check_next(state: State, done: Row) -> None:
    """The upgrade that follows runs what the table says is left."""
    if state.next_upgrade in ("nothing left", "waits for the hop"):
        assert done["facts"]["nothing_to_do"]["err_type"] == "duplicate_pending_target", done["error"]
        return
    assert done["outcome"] == "upgraded", done["error"]
    ran = [each["text"] for each in done["facts"]["hop"]["instructions"]]
    only_callbacks = all(text.startswith("callback ") for text in ran)
    assert only_callbacks == (state.next_upgrade == "callbacks, marker"), ran
