"""Erlang terms as text: what consult files hold."""

import pytest

from relup_remote.core.erlang.consult import Word, read_terms


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
    "source",
    ["[", "{a", "[a", "a", "]", "[a}.", "fun() -> ok end.", "Variable.", '"open', "1.5.", "#{a => 1}.", ", a."],
)
def test_what_is_not_understood(source: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_terms(source)
