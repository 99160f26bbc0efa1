"""The term format against a real VM, which is the judge of every encoding, and against garbage."""

import math
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.term import (
    MAX_DEPTH,
    MAX_INFLATED,
    Atom,
    BitString,
    Export,
    ImproperList,
    Map,
    Opaque,
    TermError,
    decode,
    decode_from,
    encode,
    text,
)

in_vm = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

atoms = st.text(st.characters(exclude_categories=["Cs"]), max_size=255).map(Atom)
numbers = st.one_of(
    st.integers(),
    st.integers(-(1 << 100), 1 << 100),
    st.sampled_from([255, 256, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1]),
    st.floats(allow_nan=False, allow_infinity=False),
)
bit_strings = st.builds(
    lambda data, last, bits: BitString(data + bytes([last << (8 - bits) & 0xFF]), bits),
    st.binary(max_size=20),
    st.integers(0, 255),
    st.integers(1, 7),
)
exports = st.builds(Export, atoms, atoms, st.integers(0, 255))
scalars = st.one_of(numbers, atoms, st.binary(), bit_strings, exports)


@st.composite
def containers(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> Any:
    """A term made of others."""
    few = st.lists(items, max_size=6)
    pairs = st.lists(st.tuples(items, items), max_size=4, unique_by=lambda pair: repr(plain(pair[0])))
    improper = st.builds(ImproperList, st.lists(items, min_size=1, max_size=4), scalars)
    return draw(st.one_of(few, few.map(tuple), improper, st.dictionaries(scalars, items, max_size=6), pairs.map(Map)))


terms = st.recursive(scalars, containers, max_leaves=25)


def plain(value: Any) -> Any:
    """`value` in a form that compares as Erlang does with ``=:=``: 1 is not 1.0, and the order of a map is none."""
    if isinstance(value, float):
        # Before OTP 27 the two zeros are one.
        return ("float", (value + 0.0).hex())
    if isinstance(value, (Map, dict)):
        pairs = value.pairs if isinstance(value, Map) else value.items()
        return ("map", sorted((repr(plain(key)), repr(plain(item))) for key, item in pairs))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(item) for item in value])
    return (type(value).__name__, value)


def through(connection: Connection, value: Any) -> Any:
    """`value` as it comes back from the VM."""
    return connection.call("erlang", "hd", [[value]])


@in_vm
@given(terms)
def test_terms_come_back_from_the_vm_as_they_went(connection: Connection, value: Any) -> None:
    assert plain(through(connection, value)) == plain(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1] * 65_535, id="longest string"),
        pytest.param([1] * 65_536, id="list of bytes too long for a string"),
        pytest.param([256] * 70_000, id="long list"),
        pytest.param(tuple(range(300)), id="large tuple"),
        pytest.param(Map([(1, Atom("int")), (1.0, Atom("float"))]), id="keys that a dict confuses"),
        pytest.param(Map([([1, 2], 1), ({}, 2)]), id="keys that a dict can't hold"),
        pytest.param({number: str(number).encode() for number in range(1000)}, id="large map"),
        pytest.param(ImproperList([1, 2], Atom("tail")), id="improper list"),
        pytest.param(Atom("é" * 255), id="atom of Latin-1"),
        pytest.param(Atom("Ж" * 255), id="atom of more than 255 bytes"),
        pytest.param(b"x" * 1_000_000, id="large binary"),
        pytest.param(2**2040 - 1, id="longest small big integer"),
        pytest.param(-(2**40_000), id="large big integer"),
    ],
)
def test_large_and_odd_terms_come_back_as_they_went(connection: Connection, value: Any) -> None:
    assert plain(through(connection, value)) == plain(value)


@in_vm
@given(terms)
def test_what_the_vm_encodes_is_read_and_what_we_encode_is_the_same_to_it(connection: Connection, value: Any) -> None:
    encoded = connection.call("erlang", "term_to_binary", [value])
    assert plain(decode(encoded)) == plain(value)
    assert connection.call("erlang", "=:=", [decode(encoded), value]) == Atom("true")
    packed = connection.call("erlang", "term_to_binary", [[value] * 40, [Atom("compressed")]])
    assert plain(decode(packed)) == plain([value] * 40)


def evaluate(connection: Connection, source: str) -> Any:
    """The value of Erlang expressions in the VM."""
    tokens = connection.call("erl_scan", "string", [source])[1]
    expressions = connection.call("erl_parse", "parse_exprs", [tokens])[1]
    return connection.call("erl_eval", "exprs", [expressions, []])[1]


@pytest.mark.parametrize(
    ("source", "kind", "guard"),
    [
        ("self().", "pid", "is_pid"),
        ("whereis(init).", "pid", "is_pid"),
        ("make_ref().", "reference", "is_reference"),
        ("hd(erlang:ports()).", "port", "is_port"),
        ("X = self(), fun(Y) -> {X, Y} end.", "fun", "is_function"),
    ],
)
def test_what_only_a_vm_can_make_goes_back_unchanged(
    connection: Connection, source: str, kind: str, guard: str
) -> None:
    found = evaluate(connection, source)
    assert isinstance(found, Opaque)
    assert found.kind == kind
    assert through(connection, found) == found
    assert connection.call("erlang", guard, [found]) == Atom("true")


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('"text".', [116, 101, 120, 116]),
        ("[1, 2 | 3].", ImproperList([1, 2], 3)),
        ("#{1 => a, 1.0 => b}.", Map([(1, Atom("a")), (1.0, Atom("b"))])),
        ("#{[] => {}}.", Map([([], ())])),
        ("#{a => <<5:3>>}.", {Atom("a"): BitString(b"\xa0", 3)}),
        ("fun lists:map/2.", Export(Atom("lists"), Atom("map"), 2)),
        ("-1 bsl 64.", -(1 << 64)),
        ("'hello world'.", Atom("hello world")),
        ("1.0e300.", 1.0e300),
    ],
)
def test_what_expressions_give(connection: Connection, source: str, value: Any) -> None:
    assert plain(evaluate(connection, source)) == plain(value)


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (True, Atom("true")),
        (False, Atom("false")),
        (None, Atom("undefined")),
        ("añЖ", [97, 241, 1046]),
        ("", []),
        ([True, 1], [Atom("true"), 1]),
        (bytearray(b"ab"), b"ab"),
    ],
)
def test_what_python_values_become(connection: Connection, value: Any, seen: Any) -> None:
    assert plain(through(connection, value)) == plain(seen)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        object(),
        {1, 2},
        1j,
        Atom("a" * 256),
        Atom("\udcff"),
        [object()],
        BitString(b"a", 300),
        BitString(b"a", 0),
        BitString(b"", 1),
        Export(Atom("m"), Atom("f"), 256),
    ],
    ids=repr,
)
def test_values_that_no_term_stands_for(value: Any) -> None:
    with pytest.raises(TermError):
        encode(value)


def nested(depth: int, around: Callable[[Any], Any], inmost: Any = ()) -> Any:
    """A term within `depth` others."""
    for _ in range(depth):
        inmost = around(inmost)
    return inmost


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: [inner],
        lambda inner: (inner, 1),
        lambda inner: ImproperList([inner], 1),
        lambda inner: {Atom("key"): inner},
    ],
    ids=["list", "tuple", "improper list", "map"],
)
def test_terms_may_be_nested_deeply_but_not_without_end(connection: Connection, around: Callable[[Any], Any]) -> None:
    deepest = encode(nested(MAX_DEPTH, around))
    assert encode(decode(deepest)) == deepest
    # The VM's answer is within a tuple.
    deep = encode(nested(MAX_DEPTH - 1, around))
    assert encode(connection.call("erlang", "binary_to_term", [deep])) == deep
    with pytest.raises(TermError, match="deep"):
        decode(encode(nested(MAX_DEPTH + 1, around)))


def test_a_key_may_be_nested_deeply() -> None:
    assert len(decode(encode(Map([(nested(MAX_DEPTH - 1, lambda inner: (inner,)), 1)])))) == 1


def test_how_old_peers_encode() -> None:
    """The tags that a VM of today no longer writes."""
    assert decode(b"\x83d\0\2h\xe9") == Atom("hé")
    assert decode(b"\x83s\2h\xe9") == Atom("hé")
    assert decode(b"\x83c" + b"1.50000000000000000000e+00".ljust(31, b"\0")) == 1.5
    for kind, raw in (
        ("pid", b"gs\1n" + bytes(9)),
        ("port", b"fs\1n" + bytes(5)),
        ("reference", b"es\1n" + bytes(5)),
        ("reference", b"r\0\1s\1n" + bytes(5)),
    ):
        assert decode(b"\x83" + raw) == Opaque(kind, raw)
        assert encode(Opaque(kind, raw)) == b"\x83" + raw


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x83",
        b"\x82a\1",
        b"\x83a",
        b"\x83a\1a",
        b"\x83\xff",
        b"\x83w\5ab",
        b"\x83w\1\xff",
        b"\x83l\xff\xff\xff\xffa\1",
        b"\x83m\xff\xff\xff\xffa",
        b"\x83o\xff\xff\xff\xff\0a",
        b"\x83h\5p\0\0\0\0",
        b"\x83qa\1a\1a\1",
        b"\x83qw\1aw\1bw\1c",
        b"\x83c" + b"one".ljust(31, b"\0"),
        b"\x83c" + b"nan".ljust(31, b"\0"),
        b"\x83F\x7f\xf0\0\0\0\0\0\0",
        b"\x83M\0\0\0\0\3",
        b"\x83M\0\0\0\1\0a",
        b"\x83M\0\0\0\1\x09a",
        b"\x83p\0\0\0\3",
        b"\x83v\1\0" + b"a" * 256,
        b"\x83qw\1aw\1bb\0\0\0\1",
        b"\x83q" * 3000,
        b"\x83P\0\0\0\2garbage",
        b"\x83P\0\0\0\1" + zlib.compress(b"a\1"),
        b"\x83P\0\0\0\3" + zlib.compress(b"a\1"),
        b"\x83P\0\0\0\3" + zlib.compress(b"a\1a"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_term(data: bytes) -> None:
    with pytest.raises(TermError):
        decode(data)


@pytest.mark.parametrize("size", [0, 1, 1000, MAX_INFLATED + 1, 2**32 - 1])
def test_a_compressed_term_takes_no_more_memory_than_it_claims(size: int) -> None:
    bomb = b"\x83P" + size.to_bytes(4, "big") + zlib.compress(bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(TermError):
            decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300).map(lambda data: b"\x83" + data))
def test_garbage_is_a_term_or_an_error(data: bytes) -> None:
    try:
        decode_from(data, 0)
    except TermError as error:
        assert str(error)


@given(terms, st.data())
def test_damage_is_a_term_or_an_error(value: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, end = decode_from(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), 0)
    except TermError as error:
        assert str(error)
    else:
        assert 1 < end <= len(damaged)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("é", "é"),
        ("é".encode(), "é"),
        ([104, 105], "hi"),
        ([b"a", [98, Atom("c")]], "abc"),
        ([-1], "[-1]"),
        ((1, 2), "(1, 2)"),
        (7, "7"),
        pytest.param([1 << 20_000], "<list>", id="huge integer in a list"),
        pytest.param(1 << 20_000, "<int>", id="huge integer"),
        pytest.param(nested(5000, lambda inner: [inner]), "<list>", id="deep"),
    ],
)
def test_text(value: Any, shown: str) -> None:
    assert text(value) == shown
