"""Erlang source as tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.hops.lexer import LexError, Token, tokens


def plain(text: str) -> list[tuple[str, str]]:
    return [(token.sort, token.value) for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("% \"only\" a comment, 'really'", []),
        ("foo@bar 'a b' 'it\\'s' Var _x", ["atom", "atom", "atom", "variable", "variable"]),
        ("1 16#fF 1_000 2.5e-3 $a", ["number", "number", "number", "number", "char"]),
        ("#{a => 1}.", ["punctuation", "punctuation", "atom", "punctuation", "number", "punctuation", "stop"]),
    ],
)
def test_sorts(text: str, expected: list[str]) -> None:
    assert [token.sort for token in tokens(text)] == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\"b"', 'a"b'),
        (r'"\n\t\s\e\d\\"', "\n\t \x1b\x7f\\"),
        (r'"\x41\x{1F600}\101\^a\^?"', "A\U0001f600A\x01\x7f"),
        ('"two\nlines"', "two\nlines"),
        ("'quoted atom'", "quoted atom"),
        ('"""\n  one\n  two\n  """', "one\ntwo"),
        ('"""\n"""', ""),
        ('""""\n  """\n  """"', '"""'),
        ('~s"a"', "a"),
        ("~(a\\)b)", "a)b"),
        ("~S[raw\\n]", "raw\\n"),
        ('~"""\n a\n """', "a"),
        ("$\\n", "\n"),
        ('$"', '"'),
        ("$ ", " "),
        ("$\\x{42}", "B"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert [token.value for token in tokens(text)] == [value]


def test_quotes_in_characters_and_comments_open_nothing() -> None:
    assert plain('$" % "\n \'x\' $\' "y"') == [("char", '"'), ("atom", "x"), ("char", "'"), ("string", "y")]


def test_a_full_stop_is_a_dot_before_space_comment_or_end() -> None:
    assert [token.sort for token in tokens("a. b.%c\n1.5 X#r.f .. c.")] == [
        "atom",
        "stop",
        "atom",
        "stop",
        "number",
        "variable",
        "punctuation",
        "atom",
        "punctuation",
        "atom",
        "punctuation",
        "atom",
        "stop",
    ]


def test_places_count_from_one() -> None:
    assert tokens('a,\n  "x\ny" b')[2:] == [Token("string", "x\ny", 2, 3), Token("atom", "b", 3, 4)]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('a\n "x', 2, 2, "unterminated string"),
        ("'x", 1, 1, "unterminated atom"),
        ('"x\\', 1, 1, "unterminated escape"),
        ("$", 1, 1, "unterminated character"),
        ("$\\", 1, 1, "unterminated escape"),
        ("~S(x", 1, 1, "unterminated string"),
        ('"""\nx', 1, 1, "unterminated string"),
        ("a ` b", 1, 3, "unexpected character '`'"),
        ('"\\x{110000}"', 1, 2, "escape beyond Unicode"),
    ],
)
def test_what_is_no_erlang_is_named_with_its_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(LexError) as caught:
        tokens(text)
    assert (caught.value.line, caught.value.column, caught.value.message) == (line, column, message)


@given(st.text())
def test_any_string_survives_being_written_and_read(value: str) -> None:
    written = '"' + "".join(f"\\x{{{ord(char):x}}}" if char in '"\\\n' else char for char in value) + '"'
    if not written.startswith('"""'):
        assert plain(written) == [("string", value)]


@given(st.text(alphabet=st.sampled_from("aX_9'\"$\\~%#{}[]()<>=.,;|`\n x")))
def test_any_text_is_tokens_or_an_error_with_a_place(text: str) -> None:
    try:
        found = tokens(text)
    except LexError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert error.column >= 1
    else:
        assert [(token.line, token.column) for token in found] == sorted((token.line, token.column) for token in found)
