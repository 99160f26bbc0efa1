"""The `.app` and `.rel` files of a release, read as Erlang reads them."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relup_remote.core.erlang.term import Atom, Map
from relup_remote.hops.app_file import App, SpecError, read_app, read_rel
from relup_remote.hops.terms import comparable

from .core.vm import OTPS, SYSTEM, Otp
from .erlang_says import facts, lib_dir

SCRIPT = "app_facts.script"

ODD = """%% -*- coding: utf-8 -*-
{application, 'odd-app',
 [{description, "A \\"full stop. and \\x{416}\\n"}, {vsn, "1.0"}, {id, []}, {maxT, infinity}, {limit, 1.5},
  {bits, 16#ff}, {modules, [odd, 'Elixir.Odd.Module', 'größe', 'it\\'s']}, {registered, []},
  {applications, [kernel, stdlib, ssl]}, {optional_applications, [ssl]},
  {modules, [the_second_of_a_key]},
  {env, [{map, #{a => <<"b">>, "c" => $d}}, {nested, [{[]}]}]}, {mod, {odd, []}}]}.
"""


@pytest.mark.parametrize("otp", OTPS)
def test_all_of_otp_is_read_as_erlang_reads_it(otp: str, tmp_path: Path) -> None:
    installed = OTPS[otp]()
    paths = sorted(lib_dir(installed).glob("*/ebin/*.app"))
    said = said_by(installed, paths, tmp_path)
    assert len(said) == len(paths) >= 3
    assert {path: as_said(read_app(path.read_bytes())) for path in paths} == said


def test_all_that_may_stand_in_such_a_file(tmp_path: Path) -> None:
    path = tmp_path / "odd-app.app"
    path.write_text(ODD)
    found = read_app(path.read_bytes())
    assert as_said(found) == said_by(SYSTEM, [path], tmp_path)[path]
    environment = [("map", Map([("a", b"b"), ("c", ord("d"))])), ("nested", [([],)])]
    modules = ["odd", "Elixir.Odd.Module", "größe", "it's"]
    assert found == App("odd-app", modules, ["kernel", "stdlib", "ssl"], ["ssl"], ("odd", []), environment)


def as_said(app: App) -> tuple[object, ...]:
    lists = (app.modules, app.applications, app.optional, app.included)
    terms = [Atom("none") if term is None else term for term in (app.start, app.environment)]
    return (app.name.encode(), *([name.encode() for name in names] for names in lists), comparable(terms))


def said_by(otp: Otp, paths: Sequence[Path], work: Path) -> dict[Path, tuple[object, ...]]:
    """What Erlang says of .app files."""
    found = facts(otp, SCRIPT, paths, work)
    return {path: (*lists, comparable(terms)) for path, (*lists, terms) in found.items()}


VALUES = [
    "fun lists:map/2",
    "[fun 'Elixir.A':'b!'/0, fun erlang:node/0]",
    '<<"größe Ж"/utf8>>',
    '[<<"größe">>, <<"a" "b">>, <<1:16/little, -1, 300, "ab":16>>, <<5:3>>, <<2.5:32/float, <<7>>/binary>>]',
    "[+1, + 2, -$a, - 1_000, 1_0.2_5, 16#ff_ff, +2.5, -0.0]",
    "[a, b | c]",
    '{(a), [b | [c]], [1 | "ab"]}',
    "#{b => 1, a => 2, 1 => x, 1.0 => y, a => 3}",
    '"größe"',
]


def test_values_are_what_they_are_to_erlang(tmp_path: Path) -> None:
    """All of them in one VM, which takes longer to start than to read them."""
    paths = []
    for number, (value, coding) in enumerate(product(VALUES, ("utf-8", "latin-1"))):
        path = tmp_path / f"{number}.app"
        text = f"%% coding: {coding}\n{{application, a, [{{env, [{{x, {value}}}]}}, {{mod, {{a, {value}}}}}]}}.\n"
        try:
            path.write_bytes(text.encode(coding))
        except UnicodeEncodeError:
            path.write_bytes(text.replace("Ж", "").encode(coding))
        paths.append(path)
    said = said_by(SYSTEM, paths, tmp_path)
    for path in paths:
        assert as_said(read_app(path.read_bytes())) == said[path], path.read_bytes()


def test_what_is_left_out_is_empty() -> None:
    assert read_app(b"{application, a, []}.") == App("a", [], [], [])
    assert read_app(b"{application, a, [modules, {applications}, {[], []}]}.") == App("a", [], [], [])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "describes no application"),
        (b"garbage", "is not understood"),
        (b"{application, a, [", "is not understood"),
        (b"{application, a, []}. {application, b, []}.", "describes no application"),
        (b'{application, "a", []}.', "describes no application"),
        (b"{application, a}.", "describes no application"),
        (b"{release, a, []}.", "describes no application"),
        (b"{application, a, [{modules, m}]}.", "has modules that are not a list of names"),
        (b'{application, a, [{applications, ["kernel"]}]}.', "has applications that are not a list of names"),
        (b"[" * 100_000, "is not understood"),
        (b"\xff", "is not understood"),
    ],
)
def test_what_is_no_application(content: bytes, reason: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_app(content)
    assert caught.value.reason == reason


@given(st.one_of(st.binary(), st.text(alphabet="{}[],.\"'ab \\#=>").map(str.encode)))
def test_whatever_else_is_in_a_file_is_refused(content: bytes) -> None:
    for read in (read_app, read_rel):
        with pytest.raises(SpecError):
            read(content)


def test_a_release() -> None:
    text = b'{release, {"emqx", "5.10.5"}, {erts, "15.2"},\n [{kernel, "10.2"}, {\'odd-app\', "1.0", load}]}.\n'
    assert read_rel(text) == [("kernel", "10.2", "permanent"), ("odd-app", "1.0", "load")]
    assert [app.folder for app in read_rel(text)] == ["kernel-10.2", "odd-app-1.0"]


def test_how_an_application_starts_and_what_it_includes() -> None:
    apps = b'{a, "1", [b]}, {c, "2", none, [d]}, {e, "3"}'
    found = read_rel(b'{release, {"emqx", "1"}, {erts, "15.2"}, [' + apps + b"]}.")
    assert [app.start for app in found] == ["permanent", "none", "permanent"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{release, a}.", b"{release, a, b, c}.", b"{release, a, b, [kernel]}.", b"{release, a, b, [{kernel}]}."],
)
def test_what_is_no_release(content: bytes) -> None:
    with pytest.raises(SpecError, match="describes no release"):
        read_rel(content)
