"""Erlang terms as text: what consult files hold."""

import pytest

from relup_remote.core.erlang.consult import Word, decoded, read_terms
from relup_remote.core.erlang.term import Atom, BitString, Export, ImproperList, Map


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
        ("fun lists:map/2", Export(Atom("lists"), Atom("map"), 2)),
        ("fun 'Elixir.A' : % a comment\n 'b!' / 0", Export(Atom("Elixir.A"), Atom("b!"), 0)),
        ("[+1, + 2.5, -$a, - 1_000, 1_0.2_5e1_0, 16#ff_ff]", [1, 2.5, -97, -1000, 10.25e10, 65535]),
        ('<<"größe"/utf8, 1:16/little, -1, 256, "ab":16>>', "größe".encode() + b"\x01\0\xff\0\0a\0b"),
        (
            '<<"ab"/utf16-little, <<7, 8>>/binary, <<1:4>>:1/bits, 2.0:32/float, 3:1/unit:7>>',
            b"a\0b\0\x07\x08 \0\0\0\x03",
        ),
        ("<<5:3>>", BitString(b"\xa0", 3)),
        ("[a, b | c]", ImproperList(["a", "b"], "c")),
        ("[a | [b | [c]]]", ["a", "b", "c"]),
        ('[1 | "ab"]', [1, 97, 98]),
        ("[1 | [2 | 3]]", ImproperList([1, 2], 3)),
        ("{(a), ((1))}", ("a", 1)),
        ('"""\n  a "b"\n   c\n  """', 'a "b"\n c'),
        (r"""{~"a\x{416}", ~b"b", ~s"c\n", ~B"d\n", ~S"e"}""", ("aЖ".encode(), b"b", "c\n", rb"d\n", "e")),
    ],
)
def test_constants_of_all_kinds(source: str, value: object) -> None:
    assert read_terms(f"{source}.") == [value]


@pytest.mark.parametrize(
    "source",
    [
        *("[", "{a", "[a", "a", "]", "[a}.", "fun() -> ok end.", "Variable.", '"open', "'open", ", a.", "."),
        *("a b.", '["a" b].', "[a,].", "[,a].", "{a,,b}.", "a, b.", "[a => b].", "#{a}.", "#{a, b}.", "#{a => 1, b}."),
        *(
            "#{a => b => c, d}.",
            "37#1.",
            "2#2.",
            "<<a>>.",
            r'"\x{110000}".',
            "$",
            "[|a].",
            "[a|b, c].",
            "[a|b|c].",
            "{a|b}.",
        ),
        *(
            "+a.",
            "--1.",
            "1 - 2.",
            "-.",
            "-[].",
            "(1, 2).",
            "().",
            "fun a/1.",
            "fun a:b.",
            "fun if:b/1.",
            "if.",
            "{end}.",
        ),
        *("<<1:a>>.", "<<1/unknown>>.", "<<1/little-big>>.", "<<1/utf8:3>>.", "<<1/>>.", "<<1:>>.", "<<-1/utf8>>."),
        *('"""\nopen', '~"open', "~x", "1e5.", "1__0.", "a:b.", "a/1.", "<<1|2>>.", "#{a := b}."),
    ],
)
def test_what_is_not_understood(source: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_terms(source)


@pytest.mark.parametrize(
    "comment", ["%% coding: latin-1", "%% -*- Coding: ISO-8859-1 -*-", "a, % comment\n% encoding=latin-1"]
)
def test_latin_1_where_the_file_says_so(comment: str) -> None:
    assert decoded(f"{comment}\n größe.".encode("latin-1")) == f"{comment}\n größe."


@pytest.mark.parametrize("comment", ["", "% coding: latin-15", "coding: latin-1", "\n\n%% coding: latin-1"])
def test_utf_8_otherwise(comment: str) -> None:
    assert decoded(f"{comment}\n größe.".encode()) == f"{comment}\n größe."
    with pytest.raises(ValueError, match="utf-8"):
        decoded(f"{comment}\n größe.".encode("latin-1"))
