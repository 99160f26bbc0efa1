"""Hop files."""

from pathlib import Path

import pytest
from hypothesis import given

from relup_remote.hops.catalogue import load
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading import ReadError
from tests.points import examples

from .inputs import bounded, damaged, fuzz, garbled, made_of

GOOD = """%% a hop
From = "5.10.4",
#{from_version => From, target_version => "5.10" ".5",
  code_changes => [{load_module, emqx_release}, {apply, m, f, [node(), $a, 16#ff, ~b"x", fun() -> ok end]}],
  post_upgrade_callbacks => []}.
"""
PARTS = [
    *(
        "#{",
        "}",
        "{",
        "[",
        "]",
        "(",
        ")",
        "<<",
        ">>",
        "=>",
        "=",
        ",",
        ".",
        ". ",
        "|",
        "\n",
        " ",
        "%",
        '"',
        "'",
        '"""\n',
        "~",
    ),
    *(
        "$",
        "\\",
        "\\x{",
        "\\x{110000}",
        "\\x{d800}",
        "\\^",
        "end",
        "begin",
        "case",
        "fun",
        "maybe",
        "A",
        "B",
        "_",
        "1",
        "37#z",
    ),
    *("from_version", "target_version", '"1"', "~s", "~B[", "é", "\0", "\x85"),
]


@fuzz
@given(garbled(GOOD) | made_of(PARTS))
def test_scripts(text: str) -> None:
    lines = text.count("\n") + 1
    try:
        hop = read_hop("a.relup", text)
    except ReadError as error:
        assert error.message
        assert 1 <= error.line <= lines
        assert error.column >= 1
    else:
        assert hop.from_vsn != hop.target
        assert (hop.from_vsn + hop.target).isprintable()


@fuzz
@given(damaged(GOOD.encode()))
def test_catalogues(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.relup").write_bytes(content)
    (tmp_path / "b.erl").write_bytes(content)
    catalogue = load(tmp_path)
    assert len(catalogue.hops) + len(catalogue.helpers) + len(catalogue.malformed) == 2
    assert all(bad.reason for bad in catalogue.malformed)


@pytest.mark.parametrize(
    "part", ["[", "A = B, ", '"', "'", '"a" ', '"""\n', "~s", "$", "\\", "%", "1", "#{a => ", "fun ", "\n"]
)
def test_a_large_file(part: str) -> None:
    text = part * (examples(200_000) // len(part))
    with bounded():
        try:
            read_hop("a.relup", text)
        except ReadError as error:
            assert len(error.message) < 500
