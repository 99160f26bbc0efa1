"""The order of a draft's instructions, on graphs of any shape."""

from collections.abc import Iterator
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote.hops.draft.order import Kind, Step, cycles_of, ordered
from tests.points import examples

Needs = dict[Step, set[Step]]


@st.composite
def graphs(draw: st.DrawFn) -> Needs:
    """Steps of all kinds, and what each needs: at times itself, and one that is not there."""
    kinds = draw(st.lists(st.sampled_from(Kind), min_size=1, max_size=14))
    steps = [Step(kind, f"app_{number % 3}", f"module_{number:02}") for number, kind in enumerate(kinds)]
    absent = Step(Kind.LOAD, "absent")
    return {step: draw(st.sets(st.sampled_from([*steps, absent]), max_size=4)) for step in steps}


def reached(needs: Needs, start: Step) -> set[Step]:
    """All that a step needs, by whatever way."""
    found: set[Step] = set()
    waiting = [start]
    while waiting:
        for needed in needs[waiting.pop()] & needs.keys():
            if needed not in found:
                found.add(needed)
                waiting.append(needed)
    return found


def flat(groups: list[list[Step]]) -> list[Step]:
    return [step for group in groups for step in group]


@given(graphs())
@settings(max_examples=examples(300), deadline=None)
def test_every_step_comes_after_those_it_needs_unless_they_are_in_one_cycle(needs: Needs) -> None:
    groups = ordered(needs)
    assert sorted(flat(groups)) == sorted(needs)
    place = {step: index for index, group in enumerate(groups) for step in group}
    reaches = {step: reached(needs, step) for step in needs}
    for step in needs:
        for other in reaches[step]:
            if step in reaches[other]:
                assert place[step] == place[other]
            else:
                assert place[step] > place[other]
        assert len(groups[place[step]]) == 1 + len(
            {other for other in reaches[step] if step in reaches[other]} - {step}
        )


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=examples(100), deadline=None)
def test_the_order_is_that_of_the_graph_whatever_the_order_in_which_it_is_told(needs: Needs, random: object) -> None:
    steps = list(needs)
    random.shuffle(steps)  # type: ignore[attr-defined]
    assert ordered({step: sorted(needs[step], reverse=True) for step in steps}) == ordered(needs)


@given(graphs())
@settings(max_examples=examples(100), deadline=None)
def test_a_kind_is_left_only_when_nothing_of_it_can_be_next(needs: Needs) -> None:
    groups = ordered(needs)
    for index in range(1, len(groups)):
        last, current = groups[index - 1][-1].kind, groups[index][-1].kind
        if current != last:
            assert last not in could_be_next(needs, groups, index)


def could_be_next(needs: Needs, groups: list[list[Step]], index: int) -> set[Kind]:
    """The kinds of the groups that need nothing but what comes before the one at ``index``."""
    before = set(flat(groups[:index]))
    return {
        group[-1].kind
        for group in groups[index:]
        if all((needs[step] & needs.keys()) <= before | set(group) for step in group)
    }


def test_loads_are_one_run_then_updates_then_restarts() -> None:
    load, late = Step(Kind.LOAD, "a", "load"), Step(Kind.LOAD, "a", "late")
    update, restart = Step(Kind.UPDATE, "a", "update"), Step(Kind.RESTART, "b")
    free = Step(Kind.LOAD, "z", "free")
    needs: Needs = {restart: set(), update: {load}, late: {update}, load: set(), free: set()}
    assert [kind for kind, _ in groupby(flat(ordered(needs)), lambda step: step.kind)] == [
        Kind.LOAD,
        Kind.UPDATE,
        Kind.LOAD,
        Kind.RESTART,
    ]


def test_of_a_cycle_loads_come_before_updates() -> None:
    plain, server = Step(Kind.LOAD, "z", "plain"), Step(Kind.UPDATE, "a", "server")
    assert ordered({server: {plain}, plain: {server}}) == [[plain, server]]


@pytest.mark.parametrize("closed", [False, True])
def test_a_graph_may_be_deep(closed: bool) -> None:
    last = 50_000

    def targets() -> Iterator[tuple[int, list[int]]]:
        for number in range(last):
            yield number, [number + 1]
        yield last, [0] if closed else []

    found = cycles_of(dict(targets()))
    assert [len(cycle) for cycle in found] == ([last + 1] if closed else [1] * (last + 1))
