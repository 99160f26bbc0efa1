"""A hop's file: its instructions and callbacks as far as they can be read, and what is wrong with them."""

import pytest

from relup_remote.hops.catalogue import Helper
from relup_remote.hops.helpers import missing, unused, used
from relup_remote.hops.hop import Callback, Hop, Instruction
from relup_remote.hops.hop_file import read_hop
from relup_remote.hops.reading.values import Dynamic, is_constant


def hop(changes: str, callbacks: str = "[]", before: str = "", target: str = "2") -> Hop:
    head = f'#{{from_version => "1", target_version => "{target}", code_changes => {changes},'
    return read_hop("a.relup", f"{before}{head} post_upgrade_callbacks => {callbacks}}}.")


def change(text: str) -> Instruction:
    (found,) = hop(f"[{text}]").changes
    assert isinstance(found, Instruction)
    return found


def callback(text: str) -> Callback:
    (found,) = hop("[]", f"[{text}]").callbacks
    assert isinstance(found, Callback)
    return found


@pytest.mark.parametrize(
    ("text", "kind", "name", "function", "arity"),
    [
        ("{load_module, a}", "load_module", "a", None, None),
        ("{load_module, 'a b'}", "load_module", "a b", None, None),
        ("{update, a, {advanced, []}}", "update", "a", None, None),
        ("{update, a, f()}", "update", "a", None, None),
        ("{restart_application, a}", "restart_application", "a", None, None),
        ("{apply, a, b, [1, node()]}", "apply", "a", "b", 2),
        ("{apply, a, b, f()}", "apply", "a", "b", None),
        ("{apply, a, b, [1 | f()]}", "apply", "a", "b", None),
        ("{apply, a, f(), []}", "apply", "a", None, 0),
        ("{load_module, f()}", "load_module", None, None, None),
    ],
)
def test_instructions(text: str, kind: str, name: str | None, function: str | None, arity: int | None) -> None:
    found = change(text)
    assert (found.n, found.kind, found.name, found.function, found.arity) == (1, kind, name, function, arity)
    assert (found.text, found.problem) == (text.replace("[1 | f()]", "[1] ++ f()"), None)
    assert found.span.line == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a", "an instruction is one of {load_module, Module}"),
        ("{}", "an instruction is one of"),
        ("{load_modul, a}", "an instruction is one of"),
        ("[load_module, a]", "an instruction is one of"),
        ("{load_module}", "an instruction is one of"),
        ("{load_module, a, b}", "it has to be {load_module, Module}"),
        ('{load_module, "a"}', "it has to be {load_module, Module}"),
        ("{update, a}", "it has to be {update, Module, {advanced, Extra}}"),
        ("{update, a, {soft, []}}", "it has to be {update, Module, {advanced, Extra}}"),
        ("{apply, a, b, c}", "it has to be {apply, Module, Function, Arguments}"),
        ("{apply, {a, b, []}}", "it has to be {apply, Module, Function, Arguments}"),
        ("{restart_application, 1}", "it has to be {restart_application, Application}"),
    ],
)
def test_what_is_no_instruction_says_why(text: str, problem: str) -> None:
    found = change(text)
    assert found.kind == "unknown"
    assert str(found.problem).startswith(problem)


@pytest.mark.parametrize(
    ("text", "function", "arity"),
    [("a", "a", 1), ("{a, []}", "a", 1), ("{a, [b, f()]}", "a", 3), ("{a, f()}", "a", None)],
)
def test_callbacks(text: str, function: str, arity: int | None) -> None:
    found = callback(text)
    assert (found.n, found.function, found.arity, found.problem) == (1, function, arity, None)


@pytest.mark.parametrize("text", ["1", "{a}", "{a, b}", "{a, [], b}", "{1, []}", "{}", '"a"'])
def test_what_is_no_callback_says_so(text: str) -> None:
    assert callback(text).problem == "a callback is Function or {Function, Arguments}"


def test_what_comes_of_one_piece_of_the_file_is_told_apart_by_what_it_is_about() -> None:
    found = hop("Load([a,\n b])", before="Load = fun(Ms) -> [{load_module, M} || M <- Ms] end,\n")
    assert [(each.span.line, each.text) for each in found.changes if isinstance(each, Instruction)] == [
        (2, "{load_module, a}"),
        (3, "{load_module, b}"),
    ]
    assert found.is_script


def test_numbers_end_where_only_a_vm_can_count() -> None:
    found = hop("[{load_module, a}, f()] ++ [{load_module, b}] ++ g() ++ [{load_module, c}]", "h()")
    assert [getattr(each, "n", None) for each in found.changes] == [1, None, 3, None, None]
    assert [isinstance(each, Dynamic) and each.spliced for each in found.changes] == [False, False, False, True, False]
    (callbacks,) = found.callbacks
    assert isinstance(callbacks, Dynamic)
    assert callbacks.spliced


def test_what_is_wrong_with_the_map_is_told_but_does_not_hide_the_hop() -> None:
    assert [
        problem.message for problem in read_hop("a", '#{from_version => "1", target_version => "2"}.').problems
    ] == ["the map has no code_changes"]
    wrong = hop("a", "{}")
    assert [problem.message for problem in wrong.problems] == [
        "code_changes is not a list",
        "post_upgrade_callbacks is not a list",
    ]
    assert not (wrong.changes or wrong.callbacks)


def test_a_version_may_be_a_list_of_characters_and_the_last_of_two_counts() -> None:
    found = read_hop("a", '#{from_version => "0", from_version => [$1, 46, $0], target_version => "2"}.')
    assert (found.from_vsn, found.is_script) == ("1.0", False)
    assert found.term is not None
    assert is_constant(found.term)


def test_helpers_are_used_that_a_hop_names_or_another_helper_or_callbacks_need() -> None:
    helpers = [
        Helper("named.erl", "-module(named). f() -> inner:f()."),
        Helper("inner.erl", "-module(inner)."),
        Helper("dynamic.erl", "-module(dynamic)."),
        Helper("emqx_post_upgrade_2.erl", ""),
        Helper("emqx_post_upgrade_3.erl", ""),
        Helper("idle_module.erl", "-module(idle). 'broken"),
    ]
    hops = [hop("[{load_module, named}, {apply, idle_modul, f, []}] ++ [{load_module, M} || M <- f(dynamic)]", "[a]")]
    assert [helper.file for helper in used(hops, helpers)] == [
        "named.erl",
        "inner.erl",
        "dynamic.erl",
        "emqx_post_upgrade_2.erl",
    ]
    found = unused(hops, helpers)
    assert [(each.helper.file, each.meant and each.meant.module) for each in found] == [
        ("emqx_post_upgrade_3.erl", None),
        ("idle_module.erl", "idle_modul"),
    ]


def test_only_callback_modules_can_be_known_to_be_missing() -> None:
    named = hop("[{load_module, somewhere}, {apply, emqx_post_upgrade_2, f, []}, {load_module, emqx_post_upgrade}]")
    assert [(each.file, each.line, each.module) for each in missing([named], [])] == [
        ("a.relup", 1, "emqx_post_upgrade_2")
    ]
    assert missing([named], [Helper("emqx_post_upgrade_2.erl", "")]) == []
    assert missing([hop("[]", "[a]")], []) == []
