"""The state table as the agent's source has it, and the fault matrix over it."""

from itertools import product

import pytest

from relup_remote.core.protocol import ERRORS
from relup_remote.failures import COLUMNS, State, states
from relup_remote.faults import FAULTS, KILL, KINDS, PLACES, POINTS, Cell, cells, ending, meaningless

HEAD = f"%%     {' | '.join(COLUMNS)}\n%%     ----------+-----\n"


def test_a_row_may_take_several_lines() -> None:
    first = "%%     a callback | no | new | no  | goes | goes on | callbacks,\n"
    second = "%%                |    |     |     | on   |         | marker\n"
    expected = State("a callback", "no", "new", "no", "goes on", "goes on", "callbacks, marker")
    assert states(f"%% Words | words\n{HEAD}{first}{second}%% More words.\n") == [expected]


@pytest.mark.parametrize(
    "source",
    ["%% No table.\n", "%%     failed in | undone\n", f"{HEAD}%%     a callback | no\n"],
)
def test_no_table_of_this_form(source: str) -> None:
    with pytest.raises(ValueError, match="no table"):
        states(source)


def test_the_agents_table_speaks_with_few_words() -> None:
    found = states()
    assert {state.undone for state in found} == {"yes", "no", "-"}
    assert {state.modules for state in found} == {"old", "mixed", "new", "as far"}
    assert {state.marker for state in found} == {"yes", "no", "as far"}
    assert {state.stop for state in found} == {"as before", "goes on"}
    assert {state.restart for state in found} == {"as before", "goes on", "boots base"}
    assert {state.next_upgrade for state in found} == {
        "whole hop",
        "callbacks, marker",
        "waits for the hop",
        "nothing left",
    }


def test_what_is_undone_is_never_restarted_and_what_is_mixed_can_be() -> None:
    for state in states():
        assert (state.undone == "yes") <= ((state.modules, state.restart) == ("old", "as before"))
        assert (state.modules == "mixed") == (state.restart == "boots base")


def test_every_combination_is_either_tried_or_has_a_reason_not_to_be() -> None:
    tried = list(cells())
    combinations = [Cell(*each) for each in product(KINDS, POINTS, FAULTS)]
    assert tried == [cell for cell in combinations if meaningless(cell) is None]
    assert {cell.kind for cell in tried} == set(KINDS)
    assert {cell.fault for cell in tried} == set(FAULTS)
    assert {(cell.kind, cell.point) for cell in tried} == set(PLACES)


def test_every_cell_ends_in_a_row_of_the_table_and_every_row_is_tried() -> None:
    rows = {state.failed_in for state in states()}
    endings = [ending(cell) for cell in cells()]
    # What the preflight finds is refused before there is a hop.
    assert {end.failed_in for end in endings} == rows - {"preflight"}
    assert {end.result for end in endings} <= {*ERRORS, "success"}


def test_a_killed_hop_leaves_what_one_that_failed_there_leaves() -> None:
    for (kind, point), place in PLACES.items():
        if KILL in place.meets and kind != "marker":
            assert ending(Cell(kind, point, KILL)).failed_in == place.failed_in
