"""Erlang terms as text: what consult files hold."""

import pytest

from relup_remote.core.erlang.consult import Word, read_terms
from relup_remote.core.erlang.term import Map


def test_terms() -> None:
    source = """
    %% A comment, with "quotes" and a full stop.
    [{server, [{certfile, "/etc/it's \\"mine\\".pem"}, % behind a value
               {'verify', verify_none}, {depth, -1}, {versions, ['tlsv1.2', 'tlsv1.3']}]},
     {client, []}, {}].
    """
    server = [
        ("certfile", '/etc/it\'s "mine".pem'),
        ("verify", "verify_none"),
        ("depth", -1),
        ("versions", ["tlsv1.2", "tlsv1.3"]),
    ]
    assert read_terms(source) == [[("server", server), ("client", []), ()]]
    assert read_terms("") == []
    assert read_terms("a. 'B c'.") == ["a", "B c"]
    assert isinstance(read_terms("a.")[0], Word)
    assert not isinstance(read_terms('"a".')[0], Word)


def test_marks_in_quotes_are_no_marks() -> None:
    assert read_terms("""['[', "{", ']', "}", '.', ","].""") == [["[", "{", "]", "}", ".", ","]]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('"ab" "cd"\n%x\n "e"', "abcde"),
        (r'"\n\t\x{416}\x41\101\^A\"\\"', '\n\tЖAA\x01"\\'),
        (r"'it\'s'", "it's"),
        ("-1.5e-3", -1.5e-3),
        ("16#fF", 255),
        ("-2#101", -5),
        (r"[$a, $\n, $\\, $ ]", [97, 10, 92, 32]),
        ('<<"ab", 0, 255>>', b"ab\0\xff"),
        ("<<>>", b""),
        ("#{a => [1], [] => #{}}", Map([("a", [1]), ([], Map([]))])),
        ("straße@home", "straße@home"),
    ],
)
def test_constants_of_all_kinds(source: str, value: object) -> None:
    assert read_terms(f"{source}.") == [value]


@pytest.mark.parametrize(
    "source",
    [
        *("[", "{a", "[a", "a", "]", "[a}.", "fun() -> ok end.", "Variable.", '"open', "'open", ", a.", "."),
        *("a b.", '["a" b].', "[a,].", "[,a].", "{a,,b}.", "a, b.", "[a => b].", "#{a}.", "#{a, b}.", "#{a => 1, b}."),
        *("#{a => b => c, d}.", "37#1.", "2#2.", "<<a>>.", "<<256>>.", '<<"Ж">>.', r'"\x{110000}".', "[a|b].", "$"),
    ],
)
def test_what_is_not_understood(source: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_terms(source)
