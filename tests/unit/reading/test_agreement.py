"""The reader reads what Erlang reads, and refuses what it refuses, at the same line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relup_remote.hops.reading import Script
from tests.points import examples

from .agreement import agrees, outcome
from .corpus import generated, hand_made
from .erlang import Erlang

CORPUS = [*hand_made(), *generated(300, seed=5)]
SIGNS = "()[]{}<>|,;:.=+-*/#$\"'\\ \n\0~?!_%aX1"
PIECES = (*SIGNS, "->", "=>", ":=", "||", "<-", "<<", ">>", "++", "end", "fun", "case", "catch", "16#", ". ", '"""\n')


def disagreement(content: bytes, erlangs: list[Erlang]) -> str:
    """What there is to say of a file on which the reader agrees with no Erlang. Where those differ, one is enough.

    It reads for each as that one's version does.
    """
    said = [(outcome(content, erlang.otp), erlang.says(content)) for erlang in erlangs]
    if any(agrees(ours, *answer) for ours, answer in said):
        return ""
    return f"{content!r}\n  the reader, and Erlang: {said}"


PARTS = 12


@pytest.mark.share(4)
@pytest.mark.parametrize("part", range(PARTS))
def test_files_are_read_as_erlang_reads_them(erlangs: list[Erlang], part: int) -> None:
    found = [disagreement(text.encode(), erlangs) for text in CORPUS[part::PARTS]]
    assert "\n".join(filter(None, found)) == ""


STRICT = [
    '"a""b".', '"a" "b".', '"a"\n"b".', '"a"%c\n"b".', '"a"b.', "'a'\"x\".", '"\\^"".', '"\\^\\".', '"\\^\\\\^a".',
    '$\\^a.', '$\\^".', "'\\^a'.", "'\\^('.", '"\n\\^{".', "{a\n~\n}\n\"x",
    '"\\\\^(".', '{"a", "b"}.', '["a""b", $\\^1].',
]  # fmt: skip
"""What some versions read and others do not."""


@pytest.mark.parametrize("text", STRICT)
def test_each_version_is_followed(erlangs: list[Erlang], text: str) -> None:
    for erlang in erlangs:
        said = outcome(text.encode(), erlang.otp), erlang.says(text.encode())
        assert agrees(said[0], *said[1]), (erlang.otp, said)


def test_the_corpus_has_all_sorts_of_files() -> None:
    assert len(set(CORPUS)) >= 500
    outcomes = [outcome(text.encode()) for text in CORPUS]
    scripts = [found for found in outcomes if isinstance(found, Script)]
    assert len(outcomes) - len(scripts) >= 200, "files that are refused"
    assert sum(not script.is_script for script in scripts) >= 100, "terms"
    assert sum(script.is_script and script.is_complete for script in scripts) >= 50, "scripts that are read whole"
    assert sum(not script.is_complete for script in scripts) >= 100, "scripts that are not"


usual = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Edit = tuple[float, int, str]
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.sampled_from(PIECES)), min_size=1, max_size=3)


@settings(
    max_examples=examples(500),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.sampled_from(CORPUS), edits=EDITS)
def test_so_are_files_with_mistakes_in_them(erlangs: list[Erlang], text: str, edits: list[Edit]) -> None:
    assert disagreement(mutated(text, edits).encode(), erlangs) == ""


def mutated(text: str, edits: list[Edit]) -> str:
    """A text with some characters left out and pieces put in: where (0 to 1), how many, and which."""
    for where, left_out, piece in edits:
        at = int(where * len(text))
        text = text[:at] + piece + text[at + left_out :]
    return text


@settings(
    max_examples=examples(100),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=40), before=st.sampled_from([b"", b'"', b"'", b"%", b"{a, ", b"<<"]))
def test_so_are_files_of_any_bytes(erlangs: list[Erlang], content: bytes, before: bytes) -> None:
    assert disagreement(before + content, erlangs) == ""


@settings(
    max_examples=examples(100),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(max_size=20).filter(lambda text: not any(0xFFFE <= ord(char) <= 0xFFFF for char in text)))
def test_so_is_any_text_in_quotes(erlangs: list[Erlang], text: str) -> None:
    quoted = "".join(f"\\{char}" if char in "'\"\\" else char for char in text)
    assert (
        disagreement(f"{{'{quoted}', \"{quoted}\", [{', '.join(f'${char}' for char in quoted)}]}}.".encode(), erlangs)
        == ""
    )
