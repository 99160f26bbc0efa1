"""The term format against real VMs of two versions, which are the judges of every encoding."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.term import (
    MAX_DEPTH,
    Atom,
    BitString,
    Export,
    ImproperList,
    Map,
    Opaque,
    TermError,
    decode,
    encode,
)
from tests.points import examples

from .terms import exact, many, nested, terms
from .vm import evaluate

Encodings = Callable[[Any], list[bytes]]

WAYS = """
fun(Value) ->
    [term_to_binary(Value, Options) || Options <- [
        [], [compressed], [{compressed, 1}], [{compressed, 9}],
        [{minor_version, 0}], [{minor_version, 1}], [{minor_version, 2}], [deterministic],
        [compressed, {minor_version, 0}]]]
end.
"""
"""All ways in which a VM encodes for others."""

SAME = (
    "fun(Value, Others) -> [N || {N, Other} <- lists:zip(lists:seq(1, length(Others)), Others), Other =/= Value] end."
)
"""The numbers of those that are not the value itself."""

MADE = """
fun Make(Seed, Depth) ->
    rand:seed(exsss, Seed),
    Number = fun(Limit) -> rand:uniform(Limit) - 1 end,
    Bytes = fun(Size) -> << <<(Number(256))>> || _ <- lists:seq(1, Size) >> end,
    Sign = fun(Value) -> case Number(2) of 0 -> Value; 1 -> -Value end end,
    Inner = fun() -> Make(Number(1 bsl 50), Depth - 1) end,
    Some = fun() -> [Inner() || _ <- lists:seq(1, Number(5))] end,
    Kinds = case Depth of 0 -> 19; _ -> 25 end,
    case Number(Kinds) of
        0 -> self();
        1 -> spawn(fun() -> ok end);
        2 -> make_ref();
        3 -> alias();
        4 -> hd(erlang:ports());
        5 -> X = Number(1000), fun(Y) -> {X, Y} end;
        6 -> fun lists:map/2;
        7 -> fun erlang:'+'/2;
        8 -> list_to_atom([Number(256) || _ <- lists:seq(1, Number(256))]);
        9 -> list_to_atom([1024 + Number(256) || _ <- lists:seq(1, Number(256))]);
        10 -> Sign(Number(1 bsl (1 + Number(120))));
        11 -> Sign(1 bsl (2000 + Number(200)));
        12 -> Sign(rand:uniform() * math:pow(10, Number(600) - 300));
        13 -> Bytes(Number(200));
        14 -> Size = 1 + Number(70), <<_:3, Part:Size/bits, _/bits>> = Bytes(20), Part;
        15 -> [Number(256) || _ <- lists:seq(1, Number(300))];
        16 -> [Number(1 bsl 21) || _ <- lists:seq(1, Number(30))];
        17 -> lists:foldl(fun(N, Acc) -> [N | Acc] end, Number(9), lists:seq(1, 1 + Number(9)));
        18 -> list_to_pid("<0." ++ integer_to_list(Number(30000)) ++ "." ++ integer_to_list(Number(8)) ++ ">");
        19 -> list_to_tuple(Some());
        20 -> Some();
        21 -> Some() ++ Number(5);
        22 -> maps:from_list([{Inner(), Inner()} || _ <- lists:seq(1, Number(5))]);
        23 -> #{1 => Inner(), 1.0 => Inner(), [1] => Inner(), {Inner()} => 1};
        24 -> lists:foldl(fun(_, In) -> case Number(3) of 0 -> [In]; 1 -> {In, 1}; 2 -> #{In => In} end end,
                          Inner(), lists:seq(1, Number(12)))
    end
end.
"""
"""Makes terms of kinds that only a VM can make, and of the others."""


@pytest.fixture(scope="session")
def asked(each_connection: Connection) -> Callable[[str], Callable[..., Any]]:
    """Functions of the VM, by their source."""

    def function(source: str) -> Callable[..., Any]:
        made = evaluate(each_connection, source)
        return lambda *args: each_connection.call("erlang", "apply", [made, list(args)])

    return function


@pytest.fixture(scope="session")
def ways(asked: Callable[[str], Callable[..., Any]]) -> Encodings:
    """The encodings of a value, each once: most ways differ for few values only."""
    every = asked(WAYS)
    return lambda value: list(dict.fromkeys(every(value)))


@pytest.fixture(scope="session")
def same(asked: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    return asked(SAME)


@pytest.fixture(scope="session")
def made(asked: Callable[[str], Callable[..., Any]]) -> Callable[..., Any]:
    return asked(MADE)


def through(connection: Connection, value: Any) -> Any:
    """`value` as it comes back from the VM."""
    return connection.call("erlang", "hd", [[value]])


# ------------------------------------------------------------------------------------------------- ours to the VM


@many
@given(terms)
def test_what_we_encode_is_the_same_term_to_the_vm_and_back(
    each_connection: Connection, ways: Encodings, same: Callable[..., Any], value: Any
) -> None:
    wanted = exact(value)
    assert exact(through(each_connection, value)) == wanted
    decoded = [decode(encoded) for encoded in ways(value)]
    assert [exact(one) for one in decoded] == [wanted] * len(decoded)
    assert same(value, decoded) == []
    assert exact(each_connection.call("erlang", "binary_to_term", [encode(value)])) == wanted


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
        pytest.param(Atom(""), id="empty atom"),
        pytest.param(b"x" * 5_000_000, id="large binary"),
        pytest.param(BitString(b"x" * 1_000_000 + b"\x80", 1), id="large bit string"),
        pytest.param(2**2040 - 1, id="longest small big integer"),
        pytest.param(-(2**40_000), id="large big integer"),
        pytest.param([-0.0, 0.0, 5e-324, 1.7976931348623157e308], id="floats at the limits"),
    ],
)
def test_large_and_odd_terms_come_back_as_they_went(each_connection: Connection, ways: Encodings, value: Any) -> None:
    wanted = exact(value)
    assert exact(through(each_connection, value)) == wanted
    for encoded in ways(value):
        assert exact(decode(encoded)) == wanted


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
        (ImproperList([1], [2, 3]), [1, 2, 3]),
        (ImproperList([], Atom("tail")), Atom("tail")),
        (ImproperList([1], ImproperList([2], 3)), ImproperList([1, 2], 3)),
        (BitString(b"ab", 8), b"ab"),
        (Map([(Atom("a"), 1)]), {Atom("a"): 1}),
    ],
)
def test_what_python_values_become(each_connection: Connection, value: Any, seen: Any) -> None:
    assert exact(through(each_connection, value)) == exact(seen)
    assert exact(decode(encode(value))) == exact(seen)


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
def test_terms_may_be_nested_deeply_but_not_without_end(
    each_connection: Connection, around: Callable[[Any], Any]
) -> None:
    deepest = encode(nested(MAX_DEPTH, around))
    assert encode(decode(deepest)) == deepest
    # The VM's answer is within a tuple.
    deep = encode(nested(MAX_DEPTH - 1, around))
    assert encode(each_connection.call("erlang", "binary_to_term", [deep])) == deep
    with pytest.raises(TermError, match="deep"):
        decode(encode(nested(MAX_DEPTH + 1, around)))


# ------------------------------------------------------------------------------------------------- the VM's to us


@many
@given(seed=st.integers(0, 2**50))
def test_what_the_vm_makes_is_read_and_goes_back_as_it_was(
    made: Callable[..., Any], ways: Encodings, same: Callable[..., Any], seed: int
) -> None:
    value = made(seed, 3)
    assert exact(decode(encode(value))) == exact(value)
    decoded = [decode(encoded) for encoded in ways(value)]
    assert same(value, decoded) == []


@pytest.mark.parametrize(
    ("source", "kind", "guard"),
    [
        ("self().", "pid", "is_pid"),
        ("whereis(init).", "pid", "is_pid"),
        ("make_ref().", "reference", "is_reference"),
        ("alias().", "reference", "is_reference"),
        ("hd(erlang:ports()).", "port", "is_port"),
        ("X = self(), fun(Y) -> {X, Y} end.", "fun", "is_function"),
    ],
)
def test_what_only_a_vm_can_make_goes_back_unchanged(
    each_connection: Connection, source: str, kind: str, guard: str
) -> None:
    found = evaluate(each_connection, source)
    assert isinstance(found, Opaque)
    assert found.kind == kind
    assert through(each_connection, found) == found
    assert each_connection.call("erlang", guard, [found]) == Atom("true")


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
        ("<<_:5, X/bits>> = <<16#ffff:16>>, X.", BitString(b"\xff\xe0", 3)),
    ],
)
def test_what_expressions_give(each_connection: Connection, source: str, value: Any) -> None:
    assert exact(evaluate(each_connection, source)) == exact(value)


@pytest.mark.parametrize(
    "data",
    [
        b"\x83M\0\0\0\0\3",
        b"\x83M\0\0\0\1\0a",
        b"\x83M\0\0\0\1\x09a",
        b"\x83p\0\0\0\3",
        b"\x83F\x7f\xf0" + bytes(6),
        b"\x83v\1\0" + b"a" * 256,
        b"\x83qw\1aw\1bw\1c",
        b"\x83u\0\0\0\0",
        b"\x83w\1\xff",
        b"\x83l\xff\xff\xff\xffa\1",
    ],
    ids=repr,
)
def test_what_the_vm_refuses_we_refuse(each_connection: Connection, data: bytes) -> None:
    with pytest.raises(TermError):
        decode(data)
    tried = evaluate(
        each_connection, f"try binary_to_term(<<{','.join(map(str, data))}>>) of _ -> read catch _:R -> R end."
    )
    assert tried == "badarg"


@settings(many, max_examples=examples(50))
@given(value=terms)
def test_each_end_of_a_term_is_found(ways: Encodings, value: Any) -> None:
    for encoded in ways(value):
        with pytest.raises(TermError):
            decode(encoded[:-1])
        with pytest.raises(TermError):
            decode(encoded + b"a")
