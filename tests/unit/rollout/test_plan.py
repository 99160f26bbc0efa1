"""What a run is going to do, as request.json keeps it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.hops.catalogue import Helper, Hop
from relup_remote.rollout.ledger import _text as ledger_text
from relup_remote.rollout.plan import Gates, Member, Plan, differences, helper_identities, identities
from relup_remote.secrets import Shell
from tests.unit.rollout.plans import plan

TEXTS = st.none() | st.text(max_size=20)
NUMBERS = st.none() | st.integers(0, 2**53)
MEMBERS = st.builds(
    Member,
    host=st.text(min_size=1, max_size=20),
    address=st.text(max_size=20),
    node=TEXTS,
    role=TEXTS,
    from_vsn=TEXTS,
    connections=NUMBERS,
    bytes=NUMBERS,
    done=st.booleans(),
)
GATES = st.builds(
    Gates,
    connections=st.none() | st.integers(0, 100),
    soak=st.integers(0, 10**6),
    command=st.none() | st.text(max_size=20).map(Shell),
)


@given(st.lists(MEMBERS, max_size=3), GATES, st.lists(st.lists(st.text(max_size=5)), max_size=3), st.integers())
def test_a_plan_outlives_its_way_through_a_file(
    members: list[Member], gates: Gates, waves: list[list[str]], max_failures: int
) -> None:
    made = plan(hosts=tuple(members), gates=gates, waves=tuple(map(tuple, waves)), max_failures=max_failures)
    assert Plan.from_json(json.loads(ledger_text(made.to_json()))) == made


def test_the_document_says_from_and_not_what_python_calls_it() -> None:
    document = plan(["n1"]).to_json()
    assert document["format"] == 1
    assert document["waves"] == (("n1",),)
    assert document["hosts"][0] == {
        "host": "n1",
        "address": "n1",
        "node": "emqx@n1",
        "role": "core",
        "from": "1.0",
        "connections": 100,
        "bytes": None,
        "done": False,
        "ssh_address": None,
        "ssh_key": None,
        "machine": None,
    }


def test_a_member_is_found_by_its_host() -> None:
    assert plan(["n1"], ["n2", "n3"]).member("n2").node == "emqx@n2"


def test_hops_and_helpers_are_named_by_their_digests() -> None:
    [hop] = identities([Hop("a.relup", "1.0", "1.1", "")])
    assert hop == {
        "file": "a.relup",
        "from": "1.0",
        "target": "1.1",
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    [helper] = helper_identities([Helper("h.erl", "-module(h).")])
    assert helper["file"] == "h.erl"
    assert helper["sha256"] != hop["sha256"]


BEFORE = plan(["n1"])


def test_a_run_that_is_given_the_same_does_not_differ() -> None:
    assert differences(BEFORE, "0" * 64, BEFORE.hops, BEFORE.helpers) == []


@pytest.mark.parametrize(
    ("sha256", "hops", "helpers", "said"),
    [
        ("1" * 64, BEFORE.hops, BEFORE.helpers, f"the tarball had SHA-256 {'0' * 64}, now it is {'1' * 64}"),
        ("0" * 64, [], BEFORE.helpers, "the hop a.relup is gone"),
        ("0" * 64, [{**BEFORE.hops[0], "sha256": "c"}], BEFORE.helpers, "the hop a.relup has changed"),
        ("0" * 64, [*BEFORE.hops, {"file": "b.relup", "sha256": "c"}], BEFORE.helpers, "the hop b.relup was not there"),
        ("0" * 64, BEFORE.hops, [{"file": "h.erl", "sha256": "c"}], "the helper h.erl has changed"),
    ],
)
def test_what_a_run_would_be_given_otherwise_is_said(
    sha256: str, hops: list[dict[str, str]], helpers: list[dict[str, str]], said: str
) -> None:
    assert differences(BEFORE, sha256, hops, helpers) == [said]


def test_all_that_differs_is_said_at_once() -> None:
    assert BEFORE.tarball is not None
    assert len(differences(BEFORE, BEFORE.tarball["sha256"], [], [])) == 2


def test_with_another_tarball_nothing_else_can_be_compared() -> None:
    assert len(differences(BEFORE, None, [], [])) == 1


def test_a_run_without_a_tarball_is_never_given_another() -> None:
    assert differences(plan(["n1"], tarball=None, hops=(), helpers=()), None, [], []) == []


def test_files_of_the_same_name_in_two_catalogues_are_told_apart() -> None:
    hops = [{"file": "up.relup", "from": "5.10.3", "target": target, "sha256": target * 8} for target in ("a", "b")]
    before = plan(["n1"], hops=tuple(hops), helpers=())
    assert before.tarball is not None
    sha256 = before.tarball["sha256"]
    assert differences(before, sha256, hops, []) == []
    assert differences(before, sha256, [{**hops[0], "sha256": "c" * 8}, hops[1]], []) == [
        "the hop up.relup has changed"
    ]
