"""Whose turn it is: sizes of waves, orders, and numbers that may be shares."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.rollout.waves import CANARY_FIRST, ORDERS, Amount, amount, ordered, sizes, split
from relup_remote.usage import UsageError

HOSTS = st.integers(0, 200).map(lambda count: [f"n{number}" for number in range(1, count + 1)])
AMOUNTS = st.one_of(
    st.integers(1, 300).map(Amount),
    st.integers(1, 100).map(lambda share: Amount(share, is_share=True)),
)


@given(HOSTS, st.lists(AMOUNTS, min_size=1, max_size=5))
def test_every_host_is_in_one_wave_and_hosts_keep_their_order(hosts: list[str], wanted: list[Amount]) -> None:
    waves = split(hosts, wanted)
    assert [host for wave in waves for host in wave] == hosts
    assert all(waves)


@given(HOSTS, st.lists(AMOUNTS, min_size=1, max_size=5))
def test_waves_have_the_sizes_that_were_asked_for_and_the_last_is_repeated(
    hosts: list[str], wanted: list[Amount]
) -> None:
    waves = split(hosts, wanted)
    asked = [wanted[min(number, len(wanted) - 1)].of(len(hosts), up=True) for number in range(len(waves))]
    assert [len(wave) for wave in waves[:-1]] == asked[:-1]
    assert all(len(wave) <= size for wave, size in zip(waves[-1:], asked[-1:], strict=True))


@pytest.mark.parametrize(
    ("hosts", "text", "found"),
    [
        (6, CANARY_FIRST, [1, 5]),
        (1, CANARY_FIRST, [1]),
        (0, CANARY_FIRST, []),
        (10, "1,25%,100%", [1, 3, 6]),
        (7, "2", [2, 2, 2, 1]),
        (7, "1, 2", [1, 2, 2, 2]),
        (3, "1%", [1, 1, 1]),
        (8, "50%", [4, 4]),
        (5, "50%", [3, 2]),
        (2, "999999", [2]),
    ],
)
def test_sizes_are_numbers_or_shares_rounded_up(hosts: int, text: str, found: list[int]) -> None:
    assert [len(wave) for wave in split([str(number) for number in range(hosts)], sizes(text))] == found


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1,,2", "1,", "half", "1.5", "²", "%", "1 %", "1234567"])
def test_sizes_that_can_not_be_are_wrong_use(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        sizes(text)
    assert caught.value.err_type == "bad_option"
    assert caught.value.message.startswith("--waves: ")


@pytest.mark.parametrize(("text", "of_ten"), [("0", 0), ("3", 3), ("25%", 2), ("0%", 0), ("100%", 10)])
def test_hosts_that_may_fail_are_a_number_or_a_share_rounded_down(text: str, of_ten: int) -> None:
    found = amount("max-failures", text)
    assert found.of(10, up=False) == of_ten
    assert str(found) == text


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_a_share_is_never_off_by_more_than_one(hosts: int, share: int) -> None:
    found = Amount(share, is_share=True)
    down, up = found.of(hosts, up=False), found.of(hosts, up=True)
    assert down * 100 <= hosts * share <= up * 100
    assert up - down in (0, 1)


ROLES = st.sampled_from(["core", "replicant", None])


@given(st.dictionaries(st.integers(0, 50).map(str), ROLES), st.sampled_from(sorted(ORDERS)))
def test_an_order_keeps_all_hosts_and_within_a_role_the_inventorys_order(
    roles: dict[str, str | None], order: str
) -> None:
    hosts = list(roles)
    found = ordered(hosts, roles, order)
    assert sorted(found) == sorted(hosts)
    for before, after in pairwise(found):
        same_role = (roles[before] or "core") == (roles[after] or "core")
        assert not same_role or hosts.index(before) < hosts.index(after)


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("replicants-first", ["r1", "r2", "c1", "unknown", "c2"]),
        ("cores-first", ["c1", "unknown", "c2", "r1", "r2"]),
        ("inventory", ["c1", "r1", "unknown", "c2", "r2"]),
    ],
)
def test_hosts_come_by_role_and_one_of_no_role_is_taken_for_a_core(order: str, found: list[str]) -> None:
    roles = {"c1": "core", "r1": "replicant", "unknown": None, "c2": "core", "r2": "replicant"}
    assert ordered(list(roles), roles, order) == found
