"""What a look at a VM asks of its processes, and what it leaves there and in the node's log."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.erlang.term import Atom

from .demo import SUPERVISOR, Demo, compiled, recompile, running_demo
from .lent import Vms

RELEASE = "{load_module, emqx_release}"
UPDATE = "{update, demo_worker, {advanced, []}}"

# As durable storage of a broker does it: declared as supervisors, they answer no question, and log each.
SILENT = """
-behaviour(gen_statem).
start_link() -> gen_statem:start_link(?MODULE, [], []).
callback_mode() -> handle_event_function.
init([]) -> {ok, leader, []}.
handle_event(_, Event, _, _) -> logger:error("unknown event: ~p", [Event]), keep_state_and_data.
"""

# Collects all that is logged.
LOG = """
start() ->
    Pid = spawn(fun() -> ets:new(?MODULE, [named_table, public, ordered_set]), receive stop -> ok end end),
    (fun Wait() -> ets:whereis(?MODULE) =/= undefined orelse Wait() end)(),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => all}),
    Pid.
log(#{msg := Said, level := Level}, _) ->
    ets:insert(?MODULE, {erlang:unique_integer([monotonic]), Level, io_lib:format("~p", [Said])}).
said() -> [{Level, unicode:characters_to_binary(Said)} || {_, Level, Said} <- ets:tab2list(?MODULE)].
"""

# How often each supervisor is asked for its children.
COUNT = """
start() ->
    register(?MODULE, spawn(fun() ->
        [erlang:trace(Pid, true, ['receive'])
         || Pid <- processes(), {supervisor, _, _} <- [proc_lib:translate_initial_call(Pid)]],
        count(0) end)).
count(N) -> receive
                {trace, _, 'receive', {'$gen_call', _, which_children}} -> count(N + 1);
                {asked, From} -> From ! {?MODULE, N}, count(0);
                _ -> count(N)
            end.
asked() -> ?MODULE ! {asked, self()}, receive {?MODULE, N} -> N end.
"""


SUPERVISORS_THAT_HANG = """
-behaviour(supervisor).
start_link() -> supervisor:start_link(?MODULE, []).
init([]) -> {ok, {#{}, [#{id => slow, start => {?MODULE, slow, []}}]}}.
slow() -> case get(hang) of true -> timer:sleep(infinity); _ -> put(hang, true), ignore end.
hang(Pid) -> spawn(fun() -> supervisor:restart_child(Pid, slow) end).
"""


def add(tree: Path, module: str, body: str) -> None:
    """Adds a module to the tree's application."""
    (ebin,) = tree.glob("lib/demo-*/ebin")
    head = f"-module({module}).\n-compile([export_all, nowarn_export_all]).\n% of the target\n"
    (ebin / f"{module}.beam").write_bytes(compiled({module: f"{head}{body}\nnew() -> ok.\n"})[module])


@pytest.fixture
def demo(vms: Vms, tmp_path: Path) -> Iterator[Demo]:
    with running_demo(vms, tmp_path) as found:
        found.load("demo_log", LOG)
        found.call("demo_log", "start")
        yield found


def declared(demo: Demo, module: str, number: int, parent: Any = None) -> Any:
    """A child of a supervisor that is declared as one itself."""
    start: tuple[object, ...] = (Atom(module), Atom("start_link"), [])
    child = {Atom("id"): (Atom(module), number), Atom("start"): start, Atom("type"): Atom("supervisor")}
    return demo.call("supervisor", "start_child", parent or Atom("kernel_safe_sup"), child)[1]


def logged(demo: Demo) -> list[str]:
    """What the node's log has, but for the lines that a hop writes on purpose."""
    said = [(str(level), text.decode()) for level, text in demo.call("demo_log", "said")]
    return [text for level, text in said if level not in ("debug", "info") and "relup_remote, run" not in text]


def test_what_is_only_declared_a_supervisor_is_never_asked(demo: Demo) -> None:
    demo.load("demo_silent", SILENT)
    silent = [declared(demo, "demo_silent", number) for number in range(16)]
    report = demo.agent.preflight(demo.request(f"{RELEASE}, {UPDATE}, {{restart_application, demo}}"), 30.0)
    # Its release lacks the applications of OTP.
    assert {problem.err_type for problem in report["problems"]} == {"app_dependency_missing"}
    outcome = demo.run(f"{UPDATE}, {{update, demo_sup, {{advanced, []}}}}")
    assert (outcome["result"], outcome["instructions"][0]["processes"]) == ("success", 20)
    demo.agent.verify(None, ["demo_worker"], 30.0)
    assert logged(demo) == []
    assert [demo.call("erlang", "process_info", pid, Atom("message_queue_len"))[1] for pid in silent] == [0] * 16


def test_a_hop_that_is_taken_back_logs_nothing_either(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, "case Id of 1 -> error(broken); _ -> {ok, {VERSION, Id}} end") as demo:
        demo.load("demo_log", LOG)
        demo.call("demo_log", "start")
        demo.load("demo_silent", SILENT)
        declared(demo, "demo_silent", 1)
        assert demo.run(UPDATE)["undone"] is True
        # What the worker itself says of its own failure is its own.
        assert [text for text in logged(demo) if "demo_worker" not in text] == []


def test_supervisors_that_hang_are_named_together_within_one_limit(demo: Demo) -> None:
    demo.load("demo_hangs", SUPERVISORS_THAT_HANG)
    for number in range(8):
        hangs = declared(demo, "demo_hangs", number)
        demo.call("demo_hangs", "hang", hangs)
    request = demo.request(f"{RELEASE}, {UPDATE}", timeout=4000)
    started = time.monotonic()
    problems = demo.agent.preflight(request, 60.0)["problems"]
    assert [problem.err_type for problem in problems] == ["which_children_failed"] * 8
    # One after the other they would take forty.
    assert time.monotonic() - started < 35
    assert logged(demo) == []


def test_a_supervisor_that_hangs_takes_no_time_from_those_below_others(demo: Demo) -> None:
    demo.load("demo_hangs", SUPERVISORS_THAT_HANG)
    demo.call("demo_hangs", "hang", declared(demo, "demo_hangs", 0))
    below = declared(demo, "demo_hangs", 1)
    for number in range(2, 6):
        below = declared(demo, "demo_hangs", number, below)
    problems = demo.agent.preflight(demo.request(f"{RELEASE}, {UPDATE}", timeout=2000), 60.0)["problems"]
    assert [problem.err_type for problem in problems] == ["which_children_failed"]


def test_supervisors_are_asked_once_in_a_hop_and_again_where_their_children_are_others(
    vms: Vms, tmp_path: Path
) -> None:
    changed = SUPERVISOR.replace("100000", "99999")
    with running_demo(vms, tmp_path, prepare=lambda tree: recompile(tree, "demo_sup", changed)) as demo:
        demo.load("demo_count", COUNT)
        demo.call("demo_count", "start")
        supervisors = sum(
            demo.call("proc_lib", "translate_initial_call", pid)[0] == "supervisor"
            for pid in demo.call("erlang", "processes")
        )
        helpers = demo.helper("demo_helper", "more() -> {ok, _} = supervisor:start_child(demo_sup, [77]), ok.")
        updates = f"{{update, demo_sup, {{advanced, []}}}}, {{apply, demo_helper, more, []}}, {UPDATE}"
        outcome = demo.run(updates, helpers=helpers)
        assert (outcome["result"], outcome["instructions"][2]["processes"]) == ("success", 21)
        # Each once; and again the one that has a new child.
        assert demo.call("demo_count", "asked") == supervisors + 1


# An event manager with a handler that waits until it is told to go on.
MANAGER = """
-behaviour(gen_event).
start_link() -> gen_event:start_link().
init(_) -> {ok, 1}.
handle_event({wait, Ms}, State) -> receive go_on -> ok after Ms -> ok end, {ok, State};
handle_event(_, State) -> {ok, State}.
handle_call(_, State) -> {ok, State, State}.
code_change(_, State, _) -> {ok, State}.
"""


def test_an_event_manager_that_does_not_answer_is_named_where_a_module_may_be_its_handler(
    vms: Vms, tmp_path: Path
) -> None:
    with running_demo(vms, tmp_path, prepare=lambda tree: add(tree, "demo_events", MANAGER)) as demo:
        demo.load("demo_events", MANAGER)
        start: tuple[object, ...] = (Atom("demo_events"), Atom("start_link"), [])
        child = {Atom("id"): Atom("events"), Atom("start"): start, Atom("modules"): Atom("dynamic")}
        manager = demo.call("supervisor", "start_child", Atom("kernel_safe_sup"), child)[1]
        demo.call("gen_event", "add_handler", manager, Atom("demo_events"), [])
        update = "{update, demo_events, {advanced, []}}"

        def plan(changes: str) -> dict[str, Any]:
            return demo.agent.preflight(demo.request(f"{RELEASE}, {changes}", timeout=1000), 60.0)

        assert plan(update)["instructions"][1]["processes"] == 1
        # It answers, only later than most would wait.
        demo.call("gen_event", "notify", manager, (Atom("wait"), 1500))
        assert plan(update)["instructions"][1]["processes"] == 1
        demo.call("gen_event", "notify", manager, (Atom("wait"), Atom("infinity")))
        (problem,) = plan(f"{UPDATE}, {update}")["problems"]
        assert (problem.err_type, problem.detail["instruction"]) == ("get_modules_failed", 3)
        assert "demo_events" in problem.message
        # Nobody asks it where no module can be its handler.
        assert plan(UPDATE)["problems"] == []
        outcome = demo.run(update, timeout=1000)
        assert (outcome["result"], outcome["undone"]) == ("get_modules_failed", True)
        demo.call("erlang", "send", manager, Atom("go_on"))


def test_what_the_application_controller_does_not_tell_is_unknown(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path) as demo:
        demo.call("sys", "suspend", Atom("application_controller"))
        try:
            request = demo.request(f"{RELEASE}, {{restart_application, demo}}")
            report = demo.agent.preflight(request, 60.0)
            told = [warning["err_type"] for warning in report["warnings"]]
            missing = [problem.err_type for problem in report["problems"]]
            assert "app_dependency_not_started" not in missing
            assert demo.run(UPDATE)["stopped_known"] is False
        finally:
            demo.call("sys", "resume", Atom("application_controller"))
        # The release of the test lacks the applications of OTP, so there is nothing else to ask of them.
        assert (told.count("app_dependency_not_started"), set(missing)) == (0, {"app_dependency_missing"})
        demo.outcome.unlink()
        assert demo.run(RELEASE)["stopped_known"] is True
