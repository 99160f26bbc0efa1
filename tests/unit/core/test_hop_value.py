"""A hop's file is evaluated once, in bounds, and may call only what is known to be harmless."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.agent import Agent
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom, text
from relup_remote.core.harmless import allowed, as_term, harmless
from relup_remote.core.kept import cache_folder
from relup_remote.core.protocol import Failure

from .demo import Demo, running_demo
from .lent import Vms
from .vm import Vm, running_vm


class Files:
    """Hop files, and what a VM makes of them."""

    def __init__(self, vm: Vm, folder: Path) -> None:
        self.link = DistributionLink(vm.connect())
        self.agent = Agent(self.link, str(folder), cache_folder())
        self.folder = folder

    def evaluate(self, script: str, calls: str = "", value: bytes | None = None) -> dict[str, Any]:
        path = self.folder / "hop.relup"
        path.write_text(script, "utf-8")
        request = {"hop": str(path), "calls": as_term(allowed(calls)), "value": value}
        return self.agent.evaluate({Atom(name): item for name, item in request.items()}, 30.0)

    def value(self, script: str, calls: str = "") -> Any:
        return self.link.call("erlang", "binary_to_term", [self.evaluate(script, calls)["term"]])

    def refusal(self, script: str) -> Failure:
        with pytest.raises(Failure) as caught:
            self.evaluate(script)
        return caught.value


@pytest.fixture(scope="module")
def files(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("hops")
    with running_vm(epmd, folder) as vm:
        found = Files(vm, folder)
        yield found
        found.agent.unload()
        found.link.close()


@pytest.mark.parametrize(
    "script",
    [
        "#{a => 1, b => [x | y], c => <<1:3>>, d => 1.5, e => \"été\"}.",
        "Load = fun(M) -> {load_module, M} end, #{c => [Load(a), Load(node())]}.",
        "%% A comment.\nA = 1.\nB = [X * 2 || X <- [1, 2, 3], X > A].\n#{b => B, c => case B of [_ | T] -> T end}.",
        "F = fun F(0) -> []; F(N) -> [N | F(N - 1)] end, F(5) ++ lists:map(fun erlang:abs/1, [-1]).",
        "try maps:get(a, #{}) catch error:{badkey, Key} -> Key end.",
        "#{f => fun lists:map/2}.",
        "P = <<\"yy\">>, X = 1, #{<<\"k\">> => <<X:16, \"x\", P/binary>>, b => << <<Z:8>> || Z <- [1, 2] >>}.",
        "[try lists:nth(1, [A]) of A -> B after ok end || {A, B} <- [{1, 2}], (A bsl 2) > 3].",
        "case [2, 3] of [_, _] = V when V >= [2] -> V end.",
    ],
)  # fmt: skip
def test_a_value_is_what_the_vm_itself_has_for_the_file(files: Files, script: str) -> None:
    found = files.value(script)
    assert found == files.link.call("file", "script", [str(files.folder / "hop.relup")])[1]


def test_equal_values_have_one_digest_and_a_value_that_is_brought_is_not_evaluated_again(files: Files) -> None:
    found = files.evaluate("#{a => 1, f => fun(X) -> X + 1 end}.")
    assert (
        files.evaluate("F = fun(X) -> X + 1 end, #{f => F, a => 2 - 1}.")["sha256"] != files.evaluate("#{}.")["sha256"]
    )
    assert files.evaluate("B = 1, #{a => B, f => 1}.")["sha256"] == files.evaluate("#{f => 1, a => 1}.")["sha256"]
    clock = files.evaluate("#{at => erlang:monotonic_time(nanosecond)}.")
    again = files.evaluate("this is no Erlang", value=clock["term"])
    assert again == clock
    assert files.evaluate("#{at => erlang:monotonic_time(nanosecond)}.")["sha256"] != clock["sha256"]
    assert files.evaluate("x", value=found["term"])["sha256"] == found["sha256"]


def test_funs_of_the_file_go_on_as_if_the_vm_had_made_them(files: Files) -> None:
    """Also after the agent is gone; and what they call then is theirs."""
    fun = files.value("Add = 3, #{f => fun(X) -> os:getpid() ++ integer_to_list(X + Add) end}.")[Atom("f")]
    files.agent.unload()
    files.agent = Agent(files.link, str(files.folder), cache_folder())
    pid = text(files.link.call("os", "getpid", []))
    assert text(files.link.call("erlang", "apply", [fun, [4]])) == f"{pid}7"


@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ('file:write_file("PATH", <<>>), #{}.', ["file:write_file/2"]),
        ('os:cmd("touch PATH"), file:write_file("PATH", <<>>).', ["file:write_file/2", "os:cmd/1"]),
        ('try os:cmd("touch PATH") catch _:_ -> #{} end.', ["os:cmd/1"]),
        ('catch os:cmd("touch PATH"), #{}.', ["os:cmd/1"]),
        ('lists:map(fun os:cmd/1, ["touch PATH"]).', ["os:cmd/1"]),
        ('F = fun os:cmd/1, F("touch PATH").', ["os:cmd/1"]),
        ('M = os, M:cmd("touch PATH").', ["os:cmd/1"]),
        ('apply(os, cmd, ["touch PATH"]).', ["os:cmd/1"]),
        ('erlang:apply(fun os:cmd/1, ["touch PATH"]).', ["os:cmd/1"]),
        ('lists:foldl(fun erlang:apply/2, fun os:cmd/1, [["touch PATH"]]).', ["erlang:apply/2"]),
        ('F = fun() -> os:cmd("touch PATH") end, F().', ["os:cmd/1"]),
        ('lists:map(fun(X) -> os:cmd(X) end, ["touch PATH"]).', ["os:cmd/1"]),
        ("spawn(fun() -> ok end).", ["erlang:spawn/1"]),
        ("init ! {stop, stop}.", ["erlang:!/2"]),
        ('list_to_atom("no_such_atom_yet").', ["erlang:list_to_atom/1"]),
        ("halt().", ["erlang:halt/0"]),
        ("byte_size(erlang:system_info(procs)).", ["erlang:system_info/1"]),
        ("put(a, 1).", ["erlang:put/2"]),
        ("erlang:system_info(procs).", ["erlang:system_info/1"]),
        ("lists:map(fun erlang:system_info/1, [info]).", ["erlang:system_info/1"]),
        ("lists:map(fun erlang:binary_to_integer/1, [<<\"1\">>]).", ["erlang:binary_to_integer/1"]),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_harmless_is_refused_by_name(files: Files, script: str, calls: list[str]) -> None:
    planted = files.folder / "planted"
    failure = files.refusal(script.replace("PATH", str(planted)))
    assert failure.err_type == "hop_call_not_allowed"
    assert failure.detail["calls"] == calls
    assert not planted.exists()


def test_what_an_operator_allows_is_called(files: Files) -> None:
    assert text(files.value('os:getenv("HOME").', "os:getenv/1")) == str(files.folder)
    with pytest.raises(ValueError, match="os:getenv"):
        allowed("os:getenv")


@pytest.mark.parametrize(
    "script",
    [
        "lists:seq(1, 200000000).",
        "F = fun F(L) -> F([L | L]) end, F([]).",
        "Twice = fun F(B) -> F(<<B/binary, B/binary>>) end, Twice(<<0:8000>>).",
        "F = fun F(X) -> F(X) end, F(1).",
        "receive after infinity -> ok end.",
    ],
)
def test_what_costs_too_much_is_ended_and_nothing_of_it_is_left(files: Files, script: str) -> None:
    before = files.link.call("erlang", "system_info", [Atom("process_count")])
    assert files.refusal(script).err_type == "hop_too_costly"
    assert files.link.call("erlang", "system_info", [Atom("process_count")]) == before
    assert files.link.call("erlang", "memory", [Atom("total")]) < 512 << 20


SHARED = "F = fun F(0) -> []; F(N) -> X = F(N - 1), [X | X] end, A = F(60), B = F(60), "
MEGABYTE = "B = list_to_binary(lists:duplicate(1000000, $a)), "


@pytest.mark.parametrize(
    "script",
    [
        # More memory at once than any machine has: that would end the VM.
        "<<0:(8 * 1000000000000)>>.",
        "<<0:8000000000000>>.",
        "N = 8000000000000, #{a => <<0:N>>}.",
        MEGABYTE + "iolist_to_binary(lists:duplicate(1000000, B)).",
        MEGABYTE + 'binary:replace(B, <<"a">>, B, [global]).',
        MEGABYTE + 'binary:match(B, [B, <<"b">>]).',
        MEGABYTE + "C = <<B/binary, B/binary, B/binary, B/binary, B/binary, B/binary>>, #{}.",
        # A scheduler that is held for minutes, and can't be had back.
        "A = (1 bsl 16000000) - 1, A * A rem 7.",
        "integer_to_list(1 bsl 30000000).",
        "lists:foldl(fun(_, A) -> A * A end, 3, lists:seq(1, 30)).",
        f"#{{a => {'9' * 900_000}}}.",
        SHARED + "A =:= B.",
        SHARED + "#{A => 1}.",
        SHARED + "A = B.",
        SHARED + "case A of B -> 1 end.",
        SHARED + "lists:sort([A, B]).",
        SHARED + "[1 || B <- [A]].",
        SHARED + "try A of B -> 1 catch _:_ -> 2 end.",
        SHARED + "if A == B -> 1; true -> 2 end.",
        SHARED + "fun(X) -> X =:= B end(A).",
        # Patterns are evaluated as well.
        "case 1 of ((1 bsl 16000000) - 1) * ((1 bsl 16000000) - 1) -> 1; _ -> 2 end.",
        "case #{} of #{((1 bsl 16000000) - 1) * ((1 bsl 16000000) - 1) := _} -> 1; _ -> 2 end.",
        "case <<>> of <<_:(((1 bsl 16000000) - 1) * ((1 bsl 16000000) - 1))>> -> 1; _ -> 2 end.",
        "((1 bsl 16000000) - 1) * ((1 bsl 16000000) - 1) = 5.",
        "{A, B} = lists:foldl(fun(_, {X, Y}) -> {[X | X], [Y | Y]} end, {x, y}, lists:seq(1, 60)), A =:= B.",
        # More than can be told.
        "error(lists:duplicate(2000000, hello)).",
        # Atoms, which a VM keeps for good.
        f"[{', '.join(f'a{number}' for number in range(60_000))}].",
        f'"{"x" * (1 << 20)}".',
    ],
)
def test_what_costs_too_much_at_once_is_not_begun(files: Files, script: str) -> None:
    failure = files.refusal(script)
    assert failure.err_type == "hop_too_costly", failure
    assert len(str(failure)) < 1000
    # At once: all schedulers are there.
    assert files.link.call("erlang", "memory", [Atom("total")], 2.0) < 512 << 20


def test_a_fun_that_compares_what_it_is_given_unseen_is_refused(files: Files) -> None:
    failure = files.refusal("lists:foldl(fun(A, A) -> A end, 1, [1]).")
    assert (failure.err_type, "twice" in failure.message) == ("malformed_hop", True)


@pytest.mark.parametrize("script", ["#{a => .", "", "1 / 0.", "#{a => 1}", "maps:get(a, #{})."])
def test_what_is_no_hop_is_told_as_such(files: Files, script: str) -> None:
    assert files.refusal(script).err_type == "malformed_hop"


def test_every_harmless_call_is_one(files: Files) -> None:
    """Each is there in some version of OTP from 25 on; those that are not here are newer, and few."""
    modules = {module for module, _, _ in harmless()}
    for module in modules:
        files.link.call("code", "ensure_loaded", [Atom(module)])
    missing = [
        f"{module}:{function}/{arity}"
        for module, function, arity in harmless()
        if files.link.call("erlang", "function_exported", [Atom(module), Atom(function), arity]) != "true"
        and files.link.call("erlang", "is_builtin", [Atom(module), Atom(function), arity]) != "true"
    ]
    assert missing == []


def test_the_value_that_was_planned_is_the_one_that_is_run(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, "{ok, {VERSION, {Id, Extra}}}") as demo:
        planned = demo.request(
            "{load_module, emqx_release}, {update, demo_worker, {advanced, erlang:unique_integer()}}",
            calls="erlang:unique_integer/0",
        )
        assert demo.agent.preflight(planned, 30.0)["problems"] == []
        assert demo.ran(planned)["result"] == "success"
        extras = {state[1][1] for state in demo.states()}
        assert extras == {_extra(demo, planned[Atom("value")])}


def _extra(demo: Demo, value: bytes) -> Any:
    hop = demo.call("erlang", "binary_to_term", value)
    return hop[Atom("code_changes")][1][2][1]


def test_a_value_that_is_not_what_it_is_said_to_be_is_no_hop(files: Files) -> None:
    found = files.evaluate("#{}.")
    assert base64.b64decode(base64.b64encode(found["term"])) == found["term"]
    with pytest.raises(Failure) as caught:
        files.evaluate("#{}.", value=b"\x83no term")
    assert caught.value.err_type == "malformed_hop"
