"""Values and their places, and how they are written again."""

import pytest

from relup_remote.core.erlang.term import BitString, Export, encode
from relup_remote.hops.reading import ReadError, Script, read
from relup_remote.hops.reading.values import (
    Atom,
    Dynamic,
    ImproperList,
    Located,
    Map,
    Span,
    Term,
    elements,
    entry,
    is_constant,
    parts,
    plain,
    string,
    walk,
)
from relup_remote.hops.reading.writing import atom, written

from .agreement import outcome
from .test_agreement import CORPUS


def value(text: str) -> Term:
    return read(text).values[-1]


def test_each_kind_of_value_has_its_type() -> None:
    text = '{a, 1, 1.5, "s", <<"b">>, <<1:3>>, [$c], [d|e], #{f => g}, fun h:i/2, {}, []}.'
    kinds = [type(part.value) for part in parts(value(text)) if isinstance(part, Located)]
    assert kinds == [Atom, int, float, str, bytes, BitString, list, ImproperList, Map, Export, tuple, list]
    assert is_constant(value(text))
    assert plain(value("{a, [b|c], #{d => <<>>}}.")) == (
        Atom("a"),
        ImproperList([Atom("b")], Atom("c")),
        Map([(Atom("d"), b"")]),
    )


def test_places_are_those_of_the_text() -> None:
    text = 'X = [a,\n  {b, "c\nd"}],\nX ++ [ e ].'
    whole = value(text)
    found = {part.span.of(text): part.span for part in walk(whole)}
    assert found["b"] == Span(11, 12, 2, 4, 2, 5)
    assert found['"c\nd"'] == Span(14, 19, 2, 7, 3, 3)
    assert found['{b, "c\nd"}'] == Span(10, 20, 2, 3, 3, 4)
    assert found["e"] == Span(30, 31, 4, 8, 4, 9)
    assert found["X ++ [ e ]"] == whole.span
    assert whole.span.holds(found["e"])
    assert not found["e"].holds(whole.span)


def test_parentheses_and_signs_belong_to_what_they_are_around() -> None:
    text = "{( a ), - 1, (f())}."
    assert [part.span.of(text) for part in parts(value(text))] == ["( a )", "- 1", "(f())"]


def test_values_keep_the_places_where_they_are_written() -> None:
    text = "M = emqx,\nF = fun(X) -> {load, X} end,\n[F(M), F(\n  node())]."
    first, second = parts(value(text))
    assert [part.span.line for part in (first, *parts(first))] == [2, 2, 1]
    assert [part.span.line for part in (second, *parts(second))] == [2, 2, 4]
    assert [isinstance(part, Dynamic) for part in parts(second)] == [False, True]


def test_what_a_map_has_and_what_a_string_is() -> None:
    found = value('#{a => 1, a => "x", "a" => 2, b => [$y, 122], c => [a], d => [f()]}.')
    assert [string(term) for key in "abcd" if (term := entry(found, key))] == ["x", "yz", None, None]
    assert entry(found, "e") is None
    assert entry(value("a."), "a") is None
    assert [len(elements(value(text)) or ()) for text in ('"ab".', "[a].", "[].", "a.", "[a|b].")] == [2, 1, 0, 0, 0]


def test_what_is_left_to_a_vm_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="line 2, column 1: only a VM can tell"):
        plain(value("{a,\nf()}."))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{ a,'b c' , 'case' }.", "{a, 'b c', 'case'}"),
        ('"a\\"\\n\\x{1}".', '"a\\"\\n\\x{1}"'),
        ("'it\\'s'.", "'it\\'s'"),
        ("<<1,2:4>>.", "<<1, 2:4>>"),
        ('<<"ab">>.', '<<"ab">>'),
        ("<<0>>.", "<<0>>"),
        ("<<>>.", "<<>>"),
        ("#{a=>1,b=>[]}.", "#{a => 1, b => []}"),
        ("[a|b].", "[a | b]"),
        ("fun a:'B'/0.", "fun a:'B'/0"),
        ("-1.50.", "-1.5"),
        ("[f( X ,\n b)].", "[f( X , b)]"),
        ("[a] ++ f() ++ g() ++ [b].", "[a] ++ f() ++ g() ++ [b]"),
    ],
)
def test_a_term_on_one_line(text: str, line: str) -> None:
    assert written(value(text), text) == line


def test_no_line_is_longer_than_asked_for() -> None:
    text = '[{a, "' + "b" * 100 + '"}, ' + "c, " * 100 + "d]."
    assert written(value(text), text, limit=20) == '[{a, "bbbbbbbbbbbbbb...'
    assert written(value("[f(), {a, g()}]."), "[f(), {a, g()}].", marks=("<", ">")) == "[<f()>, {a, <g()>}]"


def test_what_is_written_is_read_as_the_same() -> None:
    constants = [
        term for text in CORPUS if isinstance(found := outcome(text.encode()), Script) for term in found.values
        if is_constant(term)
    ]  # fmt: skip
    assert len(constants) > 200
    for term in constants:
        assert encode(plain(value(written(term, "") + "."))) == encode(plain(term))


@pytest.mark.parametrize("name", ["a", "aB_1@x", "A", "", "a b", "end", "maybe", "é", "it's", "\\", "\n", "α"])
def test_atoms_are_quoted_where_they_have_to_be(name: str) -> None:
    assert plain(value(f"{atom(name)}.")) == Atom(name)
    assert (atom(name)[0] != "'") == (name in ("a", "aB_1@x"))


@pytest.mark.parametrize(
    ("text", "older", "newer"),
    [
        ("{maybe, else}.", True, False),
        ("[maybe].", True, False),
        ("#{else => 1}.", True, False),
        ("maybe ok ?= f(), 1 else _ -> 2 end.", False, True),
        ("{'maybe', 'else'}.", True, True),
        ("{may, elsewhere}.", True, True),
    ],
)
def test_words_that_newer_versions_reserve(text: str, older: bool, newer: bool) -> None:
    assert [can_read(text, otp) for otp in (25, 26, 27, 28, None)] == [older, older, newer, newer, True]


def can_read(text: str, otp: int | None) -> bool:
    try:
        read(text, otp)
    except ReadError:
        return False
    return True
