"""Every fault at every point of every kind of instruction: the node is what the state table says.

What clients notice follows from the row of the table: one cell of each row and fault has live clients.

The cells are points (`tests.points`): each is a test of its own where all are tried, else one test tries some.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import cycle
from typing import Any

import pytest

from lab.clients import Traffic
from lab.evidence import Evidence
from relup_remote.failures import State, states
from relup_remote.faults import DONE, IN_DOUBT, ON_FAILURE, SUPERVISORS, TOO_LONG, Cell, Ending, cells, ending
from relup_remote.rollout.rows import Row
from tests.lab.cluster import BASE
from tests.lab.faults.hops import options
from tests.lab.faults.node import Look, Node
from tests.lab.faults.release import APP, TARGET
from tests.points import ALL, Points

Case = tuple[Cell, str]
"""A cell, and what is to be done on failure."""

CLIENTS = 20
"""Half of them on the node under test."""

AWAIT_MESSAGES = 30.0
"""Seconds that clients have to come back, and messages to arrive."""

STATES = {state.failed_in: state for state in states()}
BOOTS_BASE = "boots base"


def all_cases() -> Iterator[Case]:
    """Every cell, with what is to be done on failure.

    Where that makes no difference by the state table, one cell of each row is tried with both.
    """
    stop, restart = ON_FAILURE
    tried_with_both: set[str] = set()
    for cell in cells():
        failed_in = ending(cell).failed_in
        yield cell, stop
        if STATES[failed_in].restart == BOOTS_BASE or failed_in not in tried_with_both:
            tried_with_both.add(failed_in)
            yield cell, restart


CASES = list(all_cases())
WITH_CLIENTS = {(ending(cell).failed_in, cell.fault, on_failure): cell for cell, on_failure in reversed(CASES)}
"""The cell of each row and fault that has clients on the node, and what is to be done on failure."""

LABS = 2
"""Where all cells are tried, they are tried in so many labs at once."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each cell, or one for a slice of them."""
    if metafunc.config.option.points == ALL:
        labs = cycle(pytest.mark.xdist_group(f"fault matrix {number}") for number in range(LABS))
        cases = [pytest.param([case], id=named(case), marks=next(labs)) for case in CASES]
    else:
        cases = [pytest.param(CASES, id="slice")]
    metafunc.parametrize("cases", cases)


def named(case: Case) -> str:
    """The name of a cell."""
    cell, on_failure = case
    return "-".join((*cell, on_failure)).replace(" ", "_")


def test_node_is_what_the_table_says(spare: Node, ports: dict[str, int], points: Points, cases: list[Case]) -> None:
    for case in points.named("fault matrix, cells").taken(cases, kind=lambda case: case[0].kind):
        with points.trying(named(case)):
            check_cell(spare, ports, *case)
        spare.put_back()


def check_cell(spare: Node, ports: dict[str, int], cell: Cell, on_failure: str) -> None:
    """Have the fault strike in an upgrade: node, report, history and clients, if any, are as the table says."""
    end = ending(cell)
    state = STATES[end.failed_in]
    is_restarted = on_failure == "restart" and state.restart == BOOTS_BASE
    before = spare.look()
    spare.arm(cell)
    has_clients = WITH_CLIENTS[end.failed_in, cell.fault, on_failure] == cell
    with Traffic(ports, clients=CLIENTS) if has_clients else nullcontext() as traffic:
        row = spare.upgrade(cell, options(cell, on_failure))
        after = spare.look()
        evidence = traffic.stop(AWAIT_MESSAGES, some_lost=is_restarted) if traffic else None
    check_report(row, end, state)
    check_history(spare.history(), end)
    if is_restarted:
        check_restarted(before, after, evidence)
    else:
        assert after.os_pid == before.os_pid
        assert cell.kind != SUPERVISORS or after.supervisors == before.supervisors != set()
        assert evidence is None or evidence.held, str(evidence)
        check_modules(state, before.md5s, after.md5s, spare.md5s_after(cell, before))
        if state.stop == "as before":
            assert len(before.workers - after.workers) == (cell in IN_DOUBT)
    assert after.suspended == 0
    assert end == TOO_LONG or not after.hop_runs
    assert state.marker == "as far" or after.marker == (TARGET if state.marker == "yes" else None)


def check_report(row: Row, end: Ending, state: State) -> None:
    """The row of the command says how it ended, and whether it was taken back."""
    if end == DONE:
        assert (row["outcome"], row["error"]) == ("upgraded", None)
        return
    assert row["outcome"] == "failed"
    assert row["error"]["err_type"] == end.result, row["error"]
    if state.undone != "-":
        assert row["error"]["detail"]["undone"] == (state.undone == "yes"), row["error"]


def check_history(history: list[dict[str, Any]], end: Ending) -> None:
    """There is one row of the attempt, finished unless its hop goes on."""
    status = ("in-progress", None) if end == TOO_LONG else ("finished", end.result)
    assert [(row["status"], row["result"]) for row in history] == [status]


def check_modules(state: State, before: dict[str, bytes], after: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """All modules of the VM are those of before, those of the whole hop, or partly the one and partly the other."""
    if state.modules in ("old", "new"):
        assert differing(after, before if state.modules == "old" else whole) == []
        return
    changed = differing(after, before)
    assert [name for name in changed if after.get(name) != whole.get(name)] == []
    assert changed != []
    assert state.modules == "as far" or differing(after, whole) != []


def check_restarted(before: Look, after: Look, evidence: Evidence | None) -> None:
    """It is another VM, with the code of before, and the clients are back: all they sent was taken in the end."""
    assert after.os_pid not in (before.os_pid, None)
    assert after.version == BASE
    # The application of the matrix is started by the tests, not by the release.
    of_release = [name for name in differing(after.md5s, before.md5s) if not name.startswith(APP)]
    assert of_release == []
    if evidence is not None:
        assert evidence.kept == CLIENTS // 2
        assert evidence.reconnects == CLIENTS // 2
        assert evidence.acknowledged == evidence.sent


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The modules that are not the same in both, sorted."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
