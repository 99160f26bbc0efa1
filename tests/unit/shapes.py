"""Values made from the shapes of `relup_remote.schema`: ones that fit, and the same with something wrong in them."""

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from relup_remote.schema import Anything, Flag, ListOf, Maybe, Number, OneOf, Record, Shape, Text

from .fuzz.inputs import json_values

finite = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
"""Whatever is JSON."""

GONE = object()
"""Stands for a field that is left out."""


def fitting(shape: Shape) -> st.SearchStrategy[Any]:
    """Values that fit."""
    match shape:
        case Text():
            return st.sampled_from(["", "1.1", "emqx@n1", "\x1b[2J"]) | st.text(max_size=8)
        case Flag():
            return st.booleans()
        case Number(high, whole):
            most = min(int(high), 1 << 62)
            return st.integers(0, most) if whole else st.integers(0, most) | st.floats(0, high)
        case OneOf(words):
            return st.sampled_from(words)
        case Maybe(inner):
            return st.none() | fitting(inner)
        case ListOf(inner):
            return st.lists(fitting(inner), max_size=3)
        case Record(fields, optional):
            made = {name: fitting(inner) for name, inner in fields.items()}
            return st.fixed_dictionaries(made, optional={name: fitting(inner) for name, inner in optional.items()})
        case Anything():
            return finite
    raise AssertionError(shape)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within ``value``."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``value`` with something else in one place."""
    if not path:
        return new
    key, *rest = path
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    changed = replaced(value[key], tuple(rest), new)
    if changed is GONE:
        del copy[key]
    else:
        copy[key] = changed
    return copy


@st.composite
def wrong_somewhere(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with any JSON, or nothing, in one or two places but the top."""
    for _ in range(draw(st.integers(1, 2))):
        ways = [path for path in places(value) if path]
        if not ways:
            break
        value = replaced(value, draw(st.sampled_from(ways)), draw(st.just(GONE) | json_values))
    return value
