"""Terms for the tests that try many: the kinds that need no VM to be made, and how to compare them as Erlang does."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from relup_remote.core.erlang.term import Atom, BitString, Export, ImproperList, Map, Opaque, pid, reference
from tests.points import examples

many = settings(
    deadline=None,
    max_examples=examples(200),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

words = st.integers(0, 2**32 - 1)
node_names = st.sampled_from(["a@b", "é@127.0.0.1", "node-with-a-long-name-12345@host.example"])
atoms = st.text(st.characters(exclude_categories=["Cs"]), max_size=255).map(Atom)
numbers = st.one_of(
    st.integers(),
    st.integers(-(1 << 100), 1 << 100),
    st.sampled_from([255, 256, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63, -(2**63), 2**2040 - 1, -(2**2040)]),
    st.floats(allow_nan=False, allow_infinity=False),
)
bit_strings = st.builds(
    lambda data, last, bits: BitString(data + bytes([last << (8 - bits) & 0xFF]), bits),
    st.binary(max_size=20),
    st.integers(0, 255),
    st.integers(1, 7),
)
exports = st.builds(Export, atoms, atoms, st.integers(0, 255))
identifiers = st.one_of(
    st.builds(pid, node_names, words, words, words),
    st.builds(reference, node_names, words, st.lists(words, min_size=1, max_size=5)),
)
scalars = st.one_of(numbers, atoms, st.binary(), bit_strings, exports, identifiers)


@st.composite
def containers(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> Any:
    """A term made of others."""
    few = st.lists(items, max_size=6)
    pairs = st.lists(st.tuples(items, items), max_size=4, unique_by=lambda pair: _as_key(pair[0]))
    improper = st.builds(ImproperList, st.lists(items, min_size=1, max_size=4), scalars)
    strings = st.lists(st.integers(0, 255), max_size=10)
    maps = st.dictionaries(scalars, items, max_size=6)
    return draw(st.one_of(few, few.map(tuple), improper, strings, maps, pairs.map(Map)))


terms = st.recursive(scalars, containers, max_leaves=25)


def nested(depth: int, around: Callable[[Any], Any], inmost: Any = ()) -> Any:
    """A term within `depth` others."""
    for _ in range(depth):
        inmost = around(inmost)
    return inmost


def exact(value: Any) -> Any:
    """`value` in a form that compares as Erlang does with ``=:=``: 1 is not 1.0, and the order of a map is none."""
    if type(value) is int:
        return ("int", value)
    if isinstance(value, float):
        return ("float", value.hex())
    if isinstance(value, (Map, dict)):
        pairs = value.pairs if isinstance(value, Map) else value.items()
        return ("map", sorted((repr(exact(key)), repr(exact(item))) for key, item in pairs))
    if isinstance(value, Opaque):
        return (value.kind, value.raw)
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [exact(item) for item in value])
    return (type(value).__name__, value)


def _as_key(value: Any) -> str:
    # Before OTP 27 the two zeros are one key.
    return repr(exact(value)).replace("-0x0.0p+0", "0x0.0p+0")
