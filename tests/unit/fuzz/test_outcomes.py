"""The outcome of a hop, as the VM wrote it down."""

import json
import types
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.term import MAX_DEPTH, Atom, encode
from relup_remote.core.site import Site
from relup_remote.core.steps.apply import read_outcome
from tests.unit.core.terms import nested, terms

from .inputs import damaged, fuzz

GOOD: Any = {
    Atom("result"): Atom("code_change_failed"),
    Atom("run"): b"2026-11-24T08-15-03-k3f9",
    Atom("n"): 3,
    Atom("message"): b"The process <0.1.0> failed.",
    Atom("undone"): True,
    Atom("instructions"): [{Atom("n"): 1, Atom("text"): b"{load_module, a}", Atom("ms"): 1.5}],
}

keys = st.sampled_from(["result", "run", "n", "message", "undone", "instructions", "left", "seconds"]).map(Atom)
outcomes = st.dictionaries(keys, terms, max_size=6)


def read(folder: Path, content: bytes) -> dict[str, Any] | None:
    """What is read of a file of that content."""
    path = folder / "outcome"
    path.write_bytes(content)
    return read_outcome(cast("Site", types.SimpleNamespace(outcome=str(path))))


@fuzz
@given(st.one_of(damaged(encode(GOOD)), st.binary(max_size=50), terms.map(encode), outcomes.map(encode)))
def test_outcomes(tmp_path: Path, content: bytes) -> None:
    outcome = read(tmp_path, content)
    if outcome is not None:
        assert isinstance(outcome["result"], str)
        assert json.loads(json.dumps(outcome))


def test_an_outcome_nested_too_deep(tmp_path: Path) -> None:
    deep = {**GOOD, Atom("left"): nested(MAX_DEPTH - 1, lambda inner: [inner])}
    assert read(tmp_path, encode(deep)) is None
    assert read(tmp_path, encode(GOOD)) is not None


def test_an_outcome_with_a_number_that_json_does_not_take(tmp_path: Path) -> None:
    outcome = read(tmp_path, encode({**GOOD, Atom("left"): [1 << 20_000]}))
    assert outcome is not None
    assert json.loads(json.dumps(outcome))["n"] == 3
