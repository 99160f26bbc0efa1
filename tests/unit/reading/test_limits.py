"""Reading takes time and memory in proportion to the file, however the file is made, and ends well for every file."""

import sys
import time
from collections.abc import Callable

import pytest

from relup_remote.core.erlang.term import encode
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading import ReadError, Script, decoded, read
from relup_remote.hops.reading.evaluation import Evaluation
from relup_remote.hops.reading.values import Dynamic, Located, is_constant, plain, walk
from relup_remote.hops.reading.writing import written
from tests.points import Points, examples

SHAPES: dict[str, Callable[[int], str]] = {
    "terms side by side": lambda n: "[" + "{load_module, emqx_stats},\n" * n + "{}].",
    "forms": lambda n: "{load_module, emqx_stats}.\n" * n,
    "tuples in one another": lambda n: "{" * n + "}" * n + ".",
    "lists in one another": lambda n: "[a, " * n + "b" + "]" * n + ".",
    "tails in one another": lambda n: "[a | " * n + "[]" + "]" * n + ".",
    "maps in one another": lambda n: "#{a => " * n + "b" + "}" * n + ".",
    "maps in keys": lambda n: "#{" * n + "a" + " => b}" * n + ".",
    "parentheses": lambda n: "(" * n + "a" + ")" * n + ".",
    "calls in one another": lambda n: "f(" * n + "a" + ")" * n + ".",
    "funs in one another": lambda n: "fun() -> " * n + "a" + " end" * n + ".",
    "blocks in one another": lambda n: "begin " * n + "a" + " end" * n + ".",
    "binaries in one another": lambda n: "<< " * n + "1" + ">>" * n + ".",
    "signs": lambda n: "- " * n + "1.",
    "a long sum": lambda n: "1 + " * n + "1.",
    "a long match": lambda n: "A = " + "a = " * n + "b.",
    "lists appended": lambda n: "[a] ++ " * n + "[].",
    "lists appended, in parentheses": lambda n: "(" * n + "[a]" + " ++ [a])" * n + ".",
    "strings side by side": lambda n: '"a" ' * n + ".",
    "escapes": lambda n: '"' + "\\x{41}\\n" * n + '".',
    "comments": lambda n: "% '\"\n" * n + "a.",
    "quotes that are not closed": lambda n: "'" + "\\'a " * n,
    "triple quotes that are not closed": lambda n: '"""\n' * n,
    "sigils that are none": lambda n: "~x " * n,
    "escapes that are none": lambda n: "$\\x{" * n,
    "brackets that are not closed": lambda n: "[{" * n,
    "brackets that are closed wrongly": lambda n: "[" * n + "}" * n,
    "digits": lambda n: "9" * n + ".",
    "digits of a fraction": lambda n: "0." + "9" * n + ".",
    "zeros of an escape": lambda n: '"\\x{' + "0" * n + '41}".',
    "bits": lambda n: "<<" + "1:3, " * n + "1:2>>.",
    "variables": lambda n: "".join(f"X{i} = a{i}, " for i in range(n)) + "a.",
    "variables of variables": lambda n: "X0 = a, " + "".join(f"X{i + 1} = {{X{i}, X{i}}}, " for i in range(n)) + "a.",
    "calls of calls": lambda n: (
        "F0 = fun(X) -> X end, " + "".join(f"F{i + 1} = fun(X) -> F{i}(F{i}(X)) end, " for i in range(n)) + f"F{n}(a)."
    ),
    "doubled lists": lambda n: "F = fun(X) -> X ++ X end, " + "F(" * n + "[a]" + ")" * n + ".",
    "a fun that calls itself": lambda n: "F = fun(G) -> [" + "a, " * n + "G(G)] end, F(F).",
    "comprehensions in one another": lambda n: "[" * n + "X" + " || X <- [a, b]]" * n + ".",
    "comprehensions of comprehensions": lambda n: "X = [a, b], " + "[X || _ <- " * n + "X" + "]" * n + ".",
    "huge bit strings": lambda n: "<<" + "1:99999999, " * n + "1>>.",
}  # fmt: skip


def steps(text: str) -> int:
    """How many function calls reading takes, of Python and C."""
    count = 0

    def count_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_call)
    try:
        outcome(text)
    finally:
        sys.setprofile(None)
    return count


def outcome(text: str) -> Script | ReadError:
    try:
        return read(text)
    except ReadError as error:
        return error


@pytest.mark.share(20)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_steps_grow_no_faster_than_the_text(shape: Callable[[int], str]) -> None:
    outcome("a.")
    size = examples(250)
    texts = shape(size), shape(8 * size)
    # What each call may do at most is in proportion to the text as well, but for what a limit of its own keeps small.
    allowed = 20 * Evaluation(0).allowance if "X" in texts[0] or "F" in texts[0] else 0
    assert steps(texts[1]) <= steps(texts[0]) * 1.5 * len(texts[1]) / len(texts[0]) + allowed


@pytest.mark.share(12)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_deep_and_long_files_end_well(shape: Callable[[int], str]) -> None:
    # Deeper than Python's calls may be nested, with any points.
    found = outcome(shape(examples(10_000)))
    if isinstance(found, Script):
        for value in found.values:
            assert sum(1 for _ in walk(value)) <= 2_000_000
            assert len(written(value, "")) <= 2100
            if is_constant(value):
                plain(value)


def test_brackets_may_be_deeper_than_any_stack() -> None:
    depth = examples(100_000)
    (value,) = read("[" * depth + "]" * depth + ".").values
    assert sum(1 for _ in walk(value)) == depth
    assert encode(plain(value)).endswith(bytes([106] * 10))
    with pytest.raises(ReadError) as caught:
        read("{" * depth)
    assert (caught.value.line, caught.value.column) == (1, depth)


def test_a_large_file_is_read(points: Points) -> None:
    """It has 5 MB with all points, a quarter of one else: the time grows with the file."""
    lines = 50_000 if points.all else 2_500
    line = '  {update, emqx_connection, {advanced, #{since => 1_000, why => "a longer text", with => <<1, 2, 3>>}}},\n'
    text = (
        '#{from_version => "1", target_version => "2", code_changes => [\n'
        + line * lines
        + "  {load_module, emqx_release}]}."
    )
    assert len(text) > 100 * lines
    started = time.process_time()
    hop = read_hop("big.relup", text)
    assert time.process_time() - started < 0.0024 * lines
    assert [(change.n, change.span.line) for change in hop.changes[-2:] if not isinstance(change, Dynamic)] == [
        (lines, lines + 1),
        (lines + 1, lines + 2),
    ]


@pytest.mark.parametrize(
    ("content", "line", "column", "message"),
    [
        (b"\xef\xbb\xbfa.", 1, 1, "a byte-order mark"),
        (b"a.\r\n\x80", 2, 1, "not UTF-8 text"),
        (b'\n"\xff"', 2, 2, "not UTF-8 text"),
        ("% coding: latin-1\n'é'.".encode(), 1, 1, "it says that it is in Latin-1, but has to be in UTF-8"),
        ("%\n% coding: latin-1\n'é'.".encode(), 2, 1, "it says that it is in Latin-1, but has to be in UTF-8"),
        (b"a.\r\n\x00 b c.", 2, 5, "syntax error before 'c'"),
    ],
)
def test_bytes_that_are_no_text(content: bytes, line: int, column: int, message: str) -> None:
    with pytest.raises(ReadError) as caught:
        read(decoded(content))
    assert (caught.value.line, caught.value.column, caught.value.message) == (line, column, message)


def test_ascii_is_utf_8_whatever_the_file_says() -> None:
    (value,) = read(decoded(b"%% coding: latin-1\r\na.\r\n\x00")).values
    assert isinstance(value, Located)
    assert value.value == "a"
