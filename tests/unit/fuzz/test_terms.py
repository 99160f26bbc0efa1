"""Terms off the wire and from files."""

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.link import show
from relup_remote.core.erlang.term import MAX_DEPTH, MAX_INFLATED, TermError, decode, decode_from, encode, text
from tests.unit.core.terms import terms

from .inputs import bounded, damaged, fuzz

TAGS = b"\x83PwsvdabnoFchijklmtMXgYfxZrepquy"


def read(data: bytes) -> None:
    """A term, which can be shown and written again, or a `TermError`."""
    try:
        value, end = decode_from(data, 0)
    except TermError as error:
        assert str(error)
    else:
        assert 1 < end <= len(data)
        assert isinstance(show(value), str)
        assert isinstance(text(value), str)
        assert encode(decode(encode(value))) == encode(value)


@fuzz
@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    read(b"\x83" + data)


@fuzz
@given(st.lists(st.sampled_from(TAGS) | st.integers(0, 3), max_size=60).map(bytes))
def test_tags(data: bytes) -> None:
    read(b"\x83" + data)


@fuzz
@given(terms.flatmap(lambda value: damaged(encode(value))))
def test_damaged_terms(data: bytes) -> None:
    read(data)


@fuzz
@given(terms.flatmap(lambda value: damaged(encode(value)[1:])), st.integers(-2, 2))
def test_damaged_terms_in_compressed_ones(data: bytes, off: int) -> None:
    read(b"\x83P" + max(0, len(data) + off).to_bytes(4, "big") + zlib.compress(data))


@pytest.mark.parametrize("tag", [b"l", b"i", b"t", b"m", b"o", b"k", b"M", b"p", b"v"])
@pytest.mark.parametrize("times", [1, 1000])
def test_claims_beyond_what_is_there(tag: bytes, times: int) -> None:
    with bounded(memory=8 << 20), pytest.raises(TermError):
        decode(b"\x83" + (tag + b"\x7f\xff\xff\xff") * times)


@pytest.mark.parametrize(
    "level", [b"h\1", b"l\0\0\0\1", b"t\0\0\0\1", b"i\0\0\0\1", b"q", b"X", b"Z\0\1", b"P\0\0\0\1"]
)
def test_nesting_without_end(level: bytes) -> None:
    with bounded(), pytest.raises(TermError):
        decode(b"\x83" + level * (MAX_DEPTH * 10))


def test_deep_tails_and_keys() -> None:
    depth = MAX_DEPTH - 1
    tails: Any = decode(b"\x83" + b"l\0\0\0\1a\1" * depth + b"j")
    assert tails == [1] * depth
    keys = decode(b"\x83" + b"t\0\0\0\1" * depth + b"j" + b"a\1" * depth)
    assert "deep" in show(keys)


@pytest.mark.parametrize("size", [1, MAX_INFLATED, MAX_INFLATED + 1, 2**32 - 1])
def test_bombs(size: int) -> None:
    bomb = zlib.compress(bytes(MAX_INFLATED * 2))
    with bounded(memory=4 * MAX_INFLATED), pytest.raises(TermError):
        decode(b"\x83P" + size.to_bytes(4, "big") + bomb)
