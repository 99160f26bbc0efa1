"""The term format by itself: what the VM no longer writes or never would, limits, and garbage."""

import math
import re
import tracemalloc
import zlib
from typing import Any

import pytest

from relup_remote.core.erlang.term import (
    MAX_DEPTH,
    MAX_INFLATED,
    Atom,
    BitString,
    Export,
    Map,
    Opaque,
    TermError,
    decode,
    encode,
    text,
)

from .terms import nested


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
    ids=lambda value: re.sub(r" at 0x\w+", "", repr(value)),
)
def test_values_that_no_term_stands_for(value: Any) -> None:
    with pytest.raises(TermError):
        encode(value)


def test_a_key_may_be_nested_deeply() -> None:
    assert len(decode(encode(Map([(nested(MAX_DEPTH - 1, lambda inner: (inner,)), 1)])))) == 1


def test_how_old_peers_encode() -> None:
    """The tags that a VM of today no longer writes."""
    assert decode(b"\x83d\0\2h\xe9") == Atom("hé")
    assert decode(b"\x83s\2h\xe9") == Atom("hé")
    assert decode(b"\x83c" + b"1.50000000000000000000e+00".ljust(31, b"\0")) == 1.5
    for kind, head, rest in (
        ("pid", b"g", bytes(9)),
        ("port", b"f", bytes(5)),
        ("reference", b"e", bytes(5)),
        ("reference", b"r\0\1", bytes(5)),
    ):
        raw = head + b"w\2\xc3\xa9" + rest
        assert decode(b"\x83" + head + b"s\1\xe9" + rest) == decode(b"\x83" + raw) == Opaque(kind, raw)
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
        b"\x83qw\1aw\1bb\0\0\1\0",
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
        pytest.param(nested(200_000, lambda inner: [inner]), "<list>", id="deep"),
    ],
)
def test_text(value: Any, shown: str) -> None:
    assert text(value) == shown
