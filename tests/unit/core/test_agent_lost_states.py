"""An update in a real VM whose later processes can't change their state: what becomes of them and their supervisors."""

import os
from pathlib import Path
from typing import Any

from relup_remote.core.agent import bundle, outcome_of
from relup_remote.core.erlang import term
from relup_remote.core.erlang.term import Atom

from .demo import APP, Demo, recompile, running_demo, sources
from .lent import Vms
from .vm import eventually

UPDATE = "{{update, {}, {{advanced, []}}}}"

OVER_100_FAILS = "case Id > 100 of true -> error(broken); false -> {ok, {VERSION, Id}} end"

# Children by id, for which no restart is allowed; and children without, of which one may be restarted.
SUPERVISORS = """
start_link(Kind) -> supervisor:start_link(?MODULE, Kind).
init(static) ->
    Worker = fun(Id) -> #{id => Id, start => {demo_worker, start_link, [Id]}, modules => [demo_worker]} end,
    {ok, {#{intensity => 0}, [Worker(Id) || Id <- [101, 102, 103]]}};
init({dynamic, Restart}) ->
    Worker = #{id => any, start => {demo_worker, start_link, []}, restart => Restart, modules => [demo_worker]},
    {ok, {#{strategy => simple_one_for_one, intensity => 1}, [Worker]}}.
"""

PAIR = """
-module(demo_pair).
-behaviour(supervisor).
-export([start_link/1, init/1]).
start_link(N) -> supervisor:start_link(?MODULE, N).
init(N) ->
    FAILS
    {ok, {#{intensity => VERSION}, [#{id => N, start => {demo_worker, start_link, [N]}}]}}.
"""


def pair(version: int, fails: str = "") -> str:
    return PAIR.replace("FAILS", fails).replace("VERSION", str(version))


def started(demo: Demo, module: str, argument: object, number: int) -> Any:
    """A supervisor of the module below one that gives up when a child of it ends."""
    start = (Atom(module), Atom("start_link"), [argument])
    child = {
        Atom("id"): number,
        Atom("start"): start,
        Atom("type"): Atom("supervisor"),
        Atom("modules"): [Atom(module)],
    }
    return demo.call("supervisor", "start_child", Atom("kernel_safe_sup"), child)[1]


def states(demo: Demo, supervisor: Any) -> list[Any]:
    found = demo.call("supervisor", "which_children", supervisor)
    return sorted(demo.call("demo_worker", "state", pid) for _, pid, _, _ in found)


def test_no_supervisor_gives_up_because_of_its_children(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, OVER_100_FAILS) as demo:
        demo.load("demo_supervisors", SUPERVISORS)
        static = started(demo, "demo_supervisors", Atom("static"), 1)
        dynamic = started(demo, "demo_supervisors", (Atom("dynamic"), Atom("permanent")), 2)
        passing = started(demo, "demo_supervisors", (Atom("dynamic"), Atom("temporary")), 3)
        for number in (201, 202, 203):
            demo.call("supervisor", "start_child", dynamic, [number])
            demo.call("supervisor", "start_child", passing, [number + 100])
        outcome = demo.run(UPDATE.format("demo_worker"))
        assert (outcome["result"], outcome["undone"]) == ("code_change_failed", False)
        assert "9 of 29 processes" in outcome["message"]
        assert (outcome["killed_count"], len(outcome["killed"]), len(outcome["kept"])) == (7, 7, 2)
        assert demo.suspended() == 0
        # Started by their supervisor's own functions, which counts as no restart.
        assert states(demo, static) == [(2, 101), (2, 102), (2, 103)]
        # As many as may be restarted are; the others go on with the state that they have.
        assert eventually(lambda: len(states(demo, dynamic)) == 3)
        assert [version for version, _ in states(demo, dynamic)] == [1, 1, 2]
        assert states(demo, passing) == []
        assert outcome["updated"] == {"demo_worker": outcome["kept"]}
        assert {name for name, _, _, _ in demo.call("supervisor", "which_children", Atom("kernel_safe_sup"))} >= {
            1,
            2,
            3,
        }
        # The next attempt asks only those.
        updated = [(Atom("demo_worker"), [pid.encode() for pid in outcome["kept"]])]
        plan = demo.agent.preflight(demo.request(UPDATE.format("demo_worker"), updated=updated), 30.0)
        assert plan["instructions"][0]["processes"] == 2


def test_supervisor_that_takes_long_starts_all_that_it_has_ended(vms: Vms, tmp_path: Path) -> None:
    """A child that takes longer to start than a supervisor has to answer keeps the requests for others waiting."""

    def prepare(tree: Path) -> None:
        worker = sources(2, OVER_100_FAILS)["demo_worker"]
        slow = worker.replace("init(Id) -> ", "init(Id) -> Id > 100 andalso timer:sleep(1500), ")
        recompile(tree, "demo_worker", slow)

    with running_demo(vms, tmp_path, OVER_100_FAILS, prepare=prepare) as demo:
        demo.load("demo_supervisors", SUPERVISORS)
        static = started(demo, "demo_supervisors", Atom("static"), 1)
        outcome = demo.run(UPDATE.format("demo_worker"), timeout=500)
        assert (outcome["result"], outcome["killed_count"]) == ("code_change_failed", 3)
        # It answers once it has done all that it was asked for.
        assert states(demo, static) == [(2, 101), (2, 102), (2, 103)]


def test_vm_outlives_a_permanent_application_that_does_not_start(vms: Vms, tmp_path: Path) -> None:
    def prepare(tree: Path) -> None:
        recompile(tree, "demo_app", APP.replace("demo_sup:start(20)", "error(broken)"))

    with running_demo(vms, tmp_path, prepare=prepare) as demo:
        assert demo.call("application", "stop", Atom("demo")) == "ok"
        assert demo.call("application", "start", Atom("demo"), Atom("permanent")) == "ok"
        outcome = demo.run("{restart_application, demo}")
        assert (outcome["result"], outcome["undone"], outcome["stopped"]) == ("failed_to_start_app", False, ["demo"])
        # What ends a VM comes after the answer.
        assert not eventually(lambda: demo.vm.process.poll() is not None, seconds=1.0)
        assert demo.call("erlang", "whereis", Atom("demo_sup")) == "undefined"


def test_supervisor_that_can_not_change_goes_on_as_it_is(vms: Vms, tmp_path: Path) -> None:
    def prepare(tree: Path) -> None:
        (tree / "lib" / "demo-2" / "ebin" / "demo_pair.beam").touch()
        recompile(tree, "demo_pair", pair(2, "N =:= 2 andalso error(broken),"))

    with running_demo(vms, tmp_path, prepare=prepare) as demo:
        demo.load("demo_pair", "".join(pair(1).splitlines(keepends=True)[4:]))
        supervisors = [started(demo, "demo_pair", number, number) for number in (1, 2)]
        before = [demo.call("supervisor", "which_children", each) for each in supervisors]
        outcome = demo.run(UPDATE.format("demo_pair"))
        assert (outcome["result"], outcome["undone"], outcome["left"]) == ("code_change_failed", False, [])
        assert (outcome["killed"], len(outcome["kept"])) == ([], 1)
        assert demo.suspended() == 0
        assert [demo.call("supervisor", "which_children", each) for each in supervisors] == before


def test_nothing_stays_suspended_where_what_takes_back_dies(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, "receive go_on -> error(broken) end") as demo:
        children = demo.children()
        demo.agent.start(demo.request(UPDATE.format("demo_worker")))

        def changing() -> list[Any]:
            return [
                pid
                for pid in children
                if demo.call("erlang", "process_info", pid, Atom("current_function"))[1][1] == "code_change"
            ]

        assert eventually(lambda: len(changing()) == 1)
        # The old code is where it was, but whoever reads it waits.
        (old,) = (tmp_path / "old").glob("lib/demo-1/ebin/demo_worker.beam")
        old.unlink()
        os.mkfifo(old)
        demo.call("erlang", "send", changing()[0], Atom("go_on"))
        writer: list[int] = []

        def has_reader() -> bool:
            try:
                writer.append(os.open(old, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                return False
            return True

        assert eventually(has_reader)
        coordinator = demo.call("erlang", "whereis", Atom("relup_remote_agent"))
        ((_, undoer),) = demo.call("erlang", "process_info", coordinator, Atom("monitors"))[1]
        demo.call("erlang", "exit", undoer, Atom("kill"))
        os.close(writer[0])
        assert eventually(demo.outcome.exists)
        outcome = outcome_of(term.decode(demo.outcome.read_bytes()))
        assert (outcome["result"], outcome["undone"], outcome["left"]) == ("code_change_failed", False, ["killed"])
        assert demo.suspended() == 0
        assert demo.children() == children
        assert [identity for _, identity in demo.states()] == [*range(1, 21)]


ENDS_THE_HOP = "case Id of 2 -> exit(demo_worker:hop(), kill); 20 -> error(broken); _ -> ok end, {ok, {VERSION, Id}}"


def hibernating(version: int) -> str:
    """Workers that hibernate whenever they have nothing to do."""
    worker = sources(version, ENDS_THE_HOP)["demo_worker"]
    begins = f"init(Id) -> {{ok, {{{version}, Id}}"
    assert begins in worker
    hibernates = worker.replace(begins, f"{begins}, hibernate")
    return hibernates.replace("{reply, State, State}", "{reply, State, State, hibernate}")


def test_one_that_hibernates_with_its_old_state_is_not_left_with_it(vms: Vms, tmp_path: Path) -> None:
    """The hop's own process is killed while states change, so that only what was noted tells who has not changed."""
    with running_demo(
        vms,
        tmp_path,
        base=lambda tree: recompile(tree, "demo_worker", hibernating(1)),
        prepare=lambda tree: recompile(tree, "demo_worker", hibernating(2)),
    ) as demo:
        where = [demo.call("erlang", "process_info", pid, Atom("current_function"))[1] for pid in demo.children()]
        assert {str(name) for _, name, _ in where} == {"hibernate"}
        last = demo.children()[-1]
        outcome = demo.run(UPDATE.format("demo_worker"))
        assert (outcome["result"], outcome["undone"], outcome["killed_count"]) == ("code_change_failed", False, 1)
        assert eventually(lambda: len(demo.children()) == 20)
        assert last not in demo.children()
        assert sorted(demo.states()) == [(2, number) for number in range(1, 21)]
        assert demo.suspended() == 0


def test_one_whose_supervisor_does_not_answer_keeps_its_state(vms: Vms, tmp_path: Path) -> None:
    """Its death could be one too many for the supervisor, and end the node."""
    with running_demo(vms, tmp_path, OVER_100_FAILS) as demo:
        demo.load("demo_supervisors", SUPERVISORS)
        static = started(demo, "demo_supervisors", Atom("static"), 1)
        replacing = bundle.source(("text", "processes", "replace"), "demo_replace", []).decode()
        demo.load("demo_replace", replacing.partition("-export([]).")[2])
        ((_, child, _, _), *_) = demo.call("supervisor", "which_children", static)
        demo.call("sys", "suspend", static)
        silent = demo.call("demo_replace", bundle.exported("replace", "run"), [child], [static], 500)
        assert (silent[0], silent[1]) == ([], [child])
        demo.call("sys", "resume", static)
        assert demo.call("demo_replace", bundle.exported("replace", "run"), [child], [static], 5000) == ([child], [])


def test_one_that_may_have_the_new_state_under_the_old_code_is_left(vms: Vms, tmp_path: Path) -> None:
    """The first does not end its change, and its supervisor, which begins another thing, does not answer."""
    hangs = (
        "spawn(fun() -> sys:replace_state(demo_sup, fun(_) -> timer:sleep(infinity) end) end), timer:sleep(infinity)"
    )
    with running_demo(vms, tmp_path, f"_ = {{From, Id, Extra}}, {hangs}, {{ok, State}}") as demo:
        code, first = demo.code(), demo.children()[0]
        outcome = demo.run(UPDATE.format("demo_worker"), timeout=500)
        assert (outcome["result"], outcome["undone"], outcome["killed"]) == ("code_change_failed", False, [])
        assert len(outcome["kept"]) == 1
        assert outcome["left"] == [f"{{kept,{outcome['kept'][0]}}}"]
        assert demo.code() == code
        assert demo.call("erlang", "is_process_alive", first) == "true"


def test_processes_of_a_supervisor_that_was_silent_at_the_load_are_not_skipped(vms: Vms, tmp_path: Path) -> None:
    """Whether they had their state before the load is not known then, so the update fails."""
    with running_demo(vms, tmp_path) as demo:
        helpers = demo.helper("demo_helper", "go_on() -> sys:resume(demo_sup).")
        changes = "{load_module, demo_worker}, {apply, demo_helper, go_on, []}, " + UPDATE.format("demo_worker")
        demo.call("sys", "suspend", Atom("demo_sup"))
        outcome = demo.run(changes, helpers=helpers)
        assert (outcome["result"], outcome["n"], outcome["undone"]) == ("suspended_supervisor", 3, False)
        assert "demo_sup" in outcome["message"]


# Which of the two one does first that tells a hand to leave.
LEAVES = """
order(Fun) ->
    Pid = spawn(fun() -> receive go -> demo_crowd:Fun([whereis(demo_sup)], 5000) end end),
    erlang:trace(Pid, true, [send, procs]),
    Pid ! go,
    seen(Pid).
seen(Pid) ->
    receive
        {trace, Pid, _, {_, leave}, _} -> [leave | seen(Pid)];
        {trace, Pid, unlink, _} -> [unlink | seen(Pid)];
        {trace, Pid, exit, _} -> [];
        {trace, Pid, _, _} -> seen(Pid);
        {trace, Pid, _, _, _} -> seen(Pid)
    end.
"""


def test_a_hand_is_told_to_leave_before_it_outlives_its_maker(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path) as demo:
        crowd = bundle.source(("text", "processes", "crowd"), "demo_crowd", []).decode()
        demo.load("demo_crowd", crowd.partition("-export([]).")[2])
        demo.load("demo_leaves", LEAVES)
        order = demo.call("demo_leaves", "order", Atom(bundle.exported("crowd", "resume")))
        assert [str(each) for each in order] == ["leave", "unlink"]
