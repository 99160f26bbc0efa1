"""How inputs are made: at random, and from good ones by damage; the same ones in every run."""

import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.points import examples

fuzz = settings(
    deadline=None,
    max_examples=examples(200),
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def damaged(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample with some bytes changed, put in or taken out, and maybe cut short."""
    raw = bytearray(sample)
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return bytes(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)


def garbled(sample: str) -> st.SearchStrategy[str]:
    """The sample as text, damaged; it stays UTF-8."""
    return damaged(sample.encode()).map(lambda raw: raw.decode("utf-8", "replace"))


def made_of(parts: Sequence[str]) -> st.SearchStrategy[str]:
    """Text of these parts in any order, and of other characters now and then."""
    return st.lists(st.sampled_from(parts) | st.text(max_size=2), max_size=25).map("".join)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
"""Whatever JSON can hold."""


@contextmanager
def bounded(seconds: float = 10.0, memory: int | None = None) -> Iterator[None]:
    """Fails where the block takes longer, or more bytes at once; both are far beyond what is needed.

    ``seconds`` are those of the thread on a processor: a machine may be busy with something else.
    """
    if memory is not None:
        tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        assert time.thread_time() - started < seconds
        assert memory is None or tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
