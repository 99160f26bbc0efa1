"""Terms are equal where Erlang says so."""

import pytest

from relup_remote.core.erlang.consult import read_terms
from relup_remote.core.erlang.term import decode, encode
from relup_remote.hops.app_file import read_app
from relup_remote.hops.compare import App, Application
from relup_remote.hops.terms import comparable

from .draft.releases import application

SAME = [
    ("#{a => 1, b => 2}", "#{b => 2, a => 1}"),
    ("[{x, #{a => #{c => 1, d => 2}, b => []}}]", "[{x, #{b => [], a => #{d => 2, c => 1}}}]"),
    ("#{a => 1, a => 2}", "#{a => 2}"),
    ('"ab"', "[97, 98]"),
    ('""', "[]"),
    ("'a'", "a"),
    ("[1 | [2]]", "[1, 2]"),
    ("16#10", "16"),
    ('<<"a">>', "<<97>>"),
    ("#{1 => a, 1.0 => b}", "#{1.0 => b, 1 => a}"),
]
OTHER = [
    ("a", '"a"'),
    ("1", "1.0"),
    ("[1, 2]", "{1, 2}"),
    ("[]", "{}"),
    ("[1 | 2]", "[1, 2]"),
    ("#{a => 1}", "#{a => 1.0}"),
    ("#{1 => a}", "#{1.0 => a}"),
    ('<<"a">>', '"a"'),
    ("[[1], 2]", "[1, [2]]"),
    ("[[], [a]]", "[[[]], a]"),
    ("fun a:b/1", "fun a:b/2"),
    ("true", '"true"'),
    ("#{}", "[]"),
    ("<<1:4>>", "<<1:5>>"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_the_same(one: str, other: str) -> None:
    first, second = map(read, (one, other))
    assert comparable(first) == comparable(second)
    assert comparable(decode(encode(first))) == comparable(second)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_is_not(one: str, other: str) -> None:
    assert comparable(read(one)) != comparable(read(other))


def read(text: str) -> object:
    (term,) = read_terms(f"{text}.")
    return term


def test_depth_does_not_matter() -> None:
    deep = read("[" * 900 + "]" * 900)
    assert comparable(deep) == comparable(read("[" * 900 + "]" * 900))
    assert comparable(deep) != comparable([deep])


def app(env: str) -> App:
    return application("demo", environment=read_app(f"{{application, demo, [{env}]}}.".encode()).environment)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{env, [{a, #{x => 1, y => 2}}]}", "{env, [{a, #{y => 2, x => 1}}]}", False),
        ("{env, [{a, 1}, {b, 2}]}", "{env, [{b, 2}, {a, 1}]}", False),
        ("{env, []}", "{vsn, []}", False),
        ("{env, [{a, [1, 2]}]}", "{env, [{a, [2, 1]}]}", True),
        ("{env, [{a, 1}, {a, 2}]}", "{env, [{a, 2}, {a, 1}]}", True),
        ("{env, [{a, b}]}", '{env, [{a, "b"}]}', True),
        ("{env, [{a, 1}]}", "{env, [{a, 1.0}]}", True),
    ],
)
def test_an_environment_is_compared_by_its_variables(old: str, new: str, expected: bool) -> None:
    assert Application(app(old), app(new)).is_configured_otherwise is expected
