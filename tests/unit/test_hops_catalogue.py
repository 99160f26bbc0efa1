"""The catalogue: which hops and helpers a folder holds, and what is said of files that can't be used."""

from pathlib import Path

import pytest

from relup_remote.hops.catalogue import Helper, Malformed, Overridden, load, locate
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading import ReadError
from relup_remote.usage import UsageError

HOP = '#{from_version => "1.0", target_version => "1.1", code_changes => []}.\n'


@pytest.mark.parametrize(
    "text",
    [
        HOP,
        '%% a comment with "quotes"\n#{target_version => "1" ".1", \'from_version\' => "1"\n ".0"}.',
        'From = "1.0".\nTo = "1.1".\n#{from_version => From, target_version => To}.',
        'From = "1.0", Same = From, #{from_version => Same, target_version => "1.1"}.',
        'Hop = #{from_version => "1.0", target_version => "1.1", n => node()}, Hop.',
        'Hop = #{from_version => "1.0", target_version => "1.1"}.',
        'F = fun(X) -> Y = X, {Y, end_of_it} end, #{from_version => "1.0", target_version => "1.1", f => F}.',
        'F = fun Loop(0) -> ok; Loop(N) -> Loop(N - 1) end, #{from_version => "1.0", target_version => "1.1"}.',
        'G = fun lists:map/2, #{from_version => "1.0", target_version => "1.1", x => [fun ok/1, G]}.',
        '#{inner => #{from_version => "9", target_version => "9"}, from_version => "1.0", target_version => "1.1"}.',
        '#{x => case a of a -> 1, 2; _ -> begin 3 end end, from_version => "1.0", target_version => "1.1"}.',
        '#{x => {maybe, <<"b", 1:8>>, $}, $"}, from_version => "1.0", target_version => "1.1"}.',
        'X = maybe ok ?= f(), 1 end, #{from_version => "1.0", target_version => "1.1"}.',
        '#{from_version => "0", target_version => "0.1"}.\n' + HOP,
    ],
)
def test_versions_are_read_off_literals_and_scripts(text: str) -> None:
    hop = read_hop("a.relup", text)
    assert (hop.from_vsn, hop.target) == ("1.0", "1.1")


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "the file holds no expression"),
        ("% nothing\n", 1, 1, "the file holds no expression"),
        (HOP.rstrip(".\n"), 1, 69, "the last expression does not end with a full stop"),
        ('#{from_version => "1.0"}.', 1, 1, "the map has no target_version"),
        ('\n#{target_version => "1.0"}.', 2, 1, "the map has no from_version"),
        ("[a].", 1, 1, "the last expression is not a map, so its versions can't be told"),
        (
            "make_hop().",
            1,
            1,
            "only a VM can tell what the last expression is, so its versions can't be told",
        ),
        ("A = A.", 1, 5, "the variable A is not bound"),
        (
            '#{from_version => f(), target_version => "1"}.',
            1,
            19,
            "from_version is not a literal string, so it can't be told",
        ),
        ('#{from_version => X, target_version => "1"}.', 1, 19, "the variable X is not bound"),
        ('#{from_version => "", target_version => "1"}.', 1, 19, "from_version is not a version: ''"),
        ('#{from_version => "1 0", target_version => "1"}.', 1, 19, "from_version is not a version: '1 0'"),
        ('#{from_version => "1", target_version => "1"}.', 1, 1, "both versions are 1"),
        ("#{a => [1}.", 1, 10, "'}' where ']' must close the '[' of line 1"),
        ("\n#{a => [1].", 2, 11, "a full stop where '}' must close the '{' of line 2"),
        ("a }.", 1, 3, "'}' closes nothing"),
        ("end.", 1, 1, "'end' closes nothing"),
        ("#{a => 1", 1, 8, "the file ends where '}' must close the '{' of line 1"),
        ('#{a => "b}.', 1, 8, "unterminated string"),
    ],
)
def test_malformed_hops_are_named_with_line_column_and_reason(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(ReadError) as caught:
        read_hop("a.relup", text)
    assert (caught.value.line, caught.value.column, caught.value.message) == (line, column, message)


def test_a_folder_is_read_whole_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "b.relup").write_text(HOP)
    (tmp_path / "a.relup").write_text('#{from_version => "1.1", target_version => "1.2"}.')
    (tmp_path / "bad.relup").write_text("\n#{")
    (tmp_path / "latin.relup").write_bytes(b"ok\n%\xfc")
    (tmp_path / "dangling.relup").symlink_to("nowhere")
    (tmp_path / "folder.relup").mkdir()
    (tmp_path / "helper.erl").write_text("-module(helper).")
    (tmp_path / "README.md").write_text("#{")
    found = load(tmp_path)
    assert [(hop.file, hop.from_vsn, hop.target) for hop in found.hops] == [
        ("a.relup", "1.1", "1.2"),
        ("b.relup", "1.0", "1.1"),
    ]
    assert found.hops[1].text == HOP
    assert found.helpers == (Helper("helper.erl", "-module(helper)."),)
    assert found.malformed == (
        Malformed("bad.relup", 2, 2, "the file ends where '}' must close the '{' of line 2", tmp_path),
        Malformed("dangling.relup", 0, 0, "can't be read: No such file or directory", tmp_path),
        Malformed("latin.relup", 2, 2, "not UTF-8 text", tmp_path),
    )
    assert found.ambiguous == {}
    assert [hop.file for hop in found.to("1.1")] == ["b.relup"]


def test_two_files_for_one_pair_are_reported_and_both_kept(tmp_path: Path) -> None:
    for name in ("x.relup", "y.relup"):
        (tmp_path / name).write_text(HOP)
    found = load(tmp_path)
    assert found.ambiguous == {("1.0", "1.1"): ["x.relup", "y.relup"]}
    assert len(found.to("1.1")) == 2


def test_the_folder_is_the_one_named_and_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELUP_CATALOGUE", str(tmp_path))
    assert locate() == (tmp_path,)
    with pytest.raises(UsageError, match="/none: No such file or directory") as caught:
        locate(f"{tmp_path}/none")
    assert caught.value.err_type == "no_catalogue"
    monkeypatch.delenv("RELUP_CATALOGUE")
    assert locate() == (Path(__file__).parents[2] / "priv" / "relup",)


def test_of_several_catalogues_the_first_that_has_something_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for place, extra in ((mine, ", own => true"), (theirs, "")):
        place.mkdir()
        (place / "a.relup").write_text(HOP.replace("code_changes => []", f"code_changes => []{extra}"))
        (place / "help.erl").write_text(f"-module(help). % {place.name}")
        (place / "same.erl").write_text("-module(same).")
    (theirs / "b.relup").write_text(HOP.replace("1.1", "1.2"))
    (theirs / "c.relup").write_text("no hop")
    found = load(*locate(f"{mine}:{theirs}"))
    assert found.name == f"{mine}:{theirs}"
    assert [(hop.target, hop.file, hop.catalogue) for hop in found.hops] == [
        ("1.1", "a.relup", mine),
        ("1.2", "b.relup", theirs),
    ]
    assert [(helper.file, "mine" in helper.text) for helper in found.helpers] == [
        ("help.erl", True),
        ("same.erl", False),
    ]
    assert [found.named(file) for file in found.malformed] == [f"{theirs}/c.relup"]
    assert found.overridden == (Overridden("a.relup", theirs, mine), Overridden("help.erl", theirs, mine))
    assert not found.ambiguous
    # The other way round, as the variable has it; one that is named twice counts once.
    monkeypatch.setenv("RELUP_CATALOGUE", f"{theirs}:{mine}:{theirs}")
    again = load(*locate())
    assert again.places == (theirs, mine)
    assert "own" not in again.hop("1.0", "1.1").text


def test_two_hops_of_one_catalogue_are_ambiguous_beside_another_one(tmp_path: Path) -> None:
    for name in ("one/a", "one/b", "two/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.relup").write_text(f"% {name}\n{HOP}")
    found = load(tmp_path / "one", tmp_path / "two")
    assert found.ambiguous == {("1.0", "1.1"): ["a.relup", "b.relup"]}
    assert [other.file for other in found.overridden] == ["c.relup"]


def test_a_colon_may_be_a_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    assert locate(f"{tmp_path}/a:b") == (tmp_path / "a:b",)
    with pytest.raises(UsageError, match="/a: No such file or directory"):
        locate(f"{tmp_path}/a:b:{tmp_path}/none")


def test_what_a_catalogue_has_and_can_not_be_used_is_not_taken_from_another_one(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for place in (mine, theirs):
        place.mkdir()
        (place / "1.0-to-1.1.relup").write_text(HOP)
        (place / "help.erl").write_text("-module(help).")
    (mine / "1.0-to-1.1.relup").write_text(HOP[:-3])
    (mine / "help.erl").write_bytes(b"-module(help). % \xff")
    found = load(mine, theirs)
    assert (found.hops, found.helpers) == ((), ())
    assert [(file.file, file.catalogue) for file in found.malformed] == [("1.0-to-1.1.relup", mine), ("help.erl", mine)]
    assert [(other.file, other.by) for other in found.overridden] == [("1.0-to-1.1.relup", mine), ("help.erl", mine)]
