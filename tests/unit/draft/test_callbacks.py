"""Callbacks that are declared: in the hop, and in the module that is written for them."""

import subprocess
from pathlib import Path

import pytest

from relup_remote.hops.check.helpers import facts_of
from relup_remote.hops.draft import Callback, draft, parse

from .drafts import drafted, found, line, questions, read
from .releases import between, module

ADD, ENSURE = Callback("add"), Callback("ensure", 2)
OWN = between(
    [module("emqx_post_upgrade", exports=[("ensure", 2)])], [module("emqx_post_upgrade", exports=[("ensure", 2)])]
)


def test_the_hop_calls_them_in_the_order_given() -> None:
    hop = read(OWN, ENSURE, ADD)
    assert [getattr(callback, "text", None) for callback in hop.callbacks] == ["{ensure, [undefined]}", "add"]
    assert questions(OWN, ENSURE, ADD) == ["What does ensure get after the version?"]
    assert line(OWN, "      add", ENSURE, ADD).endswith("% declared; in emqx_post_upgrade_1.1.erl")
    assert found(OWN, ENSURE, ADD) == []


def test_those_that_the_release_has_need_no_module() -> None:
    made = draft(OWN, [ENSURE])
    assert made.helper is None
    assert "% declared; in emqx_post_upgrade\n" in made.text
    assert made.contents(Path("hops/a.relup")) == {Path("hops/a.relup"): made.text}
    assert found(OWN, ENSURE) == []


def test_the_module_has_what_is_declared_and_passes_on_what_the_release_has() -> None:
    made = draft(OWN, [ENSURE, ADD])
    assert made.helper is not None
    assert (
        made.helper.text
        == """\
%% @doc The callbacks of the hops to 1.1, in place of the release's own. A hop that fails in one of them
%% is finished by calling all of them again: each must be safe to repeat.
-module('emqx_post_upgrade_1.1').
-export([add/1, ensure/2]).

%% REVIEW: What has to be done here?
-spec add(FromVsn :: string()) -> term().
add(_FromVsn) -> ok.

-spec ensure(FromVsn :: string(), Arg1 :: term()) -> term().
ensure(FromVsn, Arg1) -> emqx_post_upgrade:ensure(FromVsn, Arg1).
"""
    )
    assert made.questions == 2
    assert list(made.contents(Path("hops/a.relup"))) == [Path("hops/emqx_post_upgrade_1.1.erl"), Path("hops/a.relup")]


def test_the_module_compiles_whatever_the_functions_are_called(tmp_path: Path) -> None:
    declared = [parse(name) for name in ("add", "add/3", "end/2", "apply", "a@b/255", "add")]
    made = draft(OWN, declared)
    assert made.helper is not None
    (tmp_path / made.helper.file).write_text(made.helper.text)
    subprocess.run(["erlc", "-Wall", "-Werror", "-o", tmp_path, tmp_path / made.helper.file], check=True)
    assert set(facts_of(made.helper).exports or ()) == {("add", 1), ("add", 3), ("end", 2), ("apply", 1), ("a@b", 255)}
    assert found(OWN, *declared) == []
    assert drafted(OWN, *declared).count("      add") == 2


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("", "must be NAME or NAME/ARITY of an Erlang function, not ''"),
        ("Add", "must be NAME or NAME/ARITY of an Erlang function, not 'Add'"),
        ("add/x", "must be NAME or NAME/ARITY"),
        ("add/1/2", "must be NAME or NAME/ARITY"),
        ("add/١", "must be NAME or NAME/ARITY"),
        ("add\n", "must be NAME or NAME/ARITY"),
        ("add/0", "must have between 1 and 255 arguments, of which the version is the first: add/0"),
        ("add/256", "must have between 1 and 255 arguments"),
        ("module_info", "can't be module_info"),
    ],
)
def test_what_is_no_callback(declared: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(declared)
    assert str(caught.value).startswith(said)
