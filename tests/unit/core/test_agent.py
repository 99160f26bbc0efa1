"""The agent in a real VM: what a hop does to code and processes, and what a hop that fails leaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core.agent import Agent
from relup_remote.core.erlang.distribution import BadRpc, DistributionError
from relup_remote.core.erlang.link import DistributionLink
from relup_remote.core.erlang.term import Atom, text
from relup_remote.core.kept import cache_folder

from ..erlc import compile_all
from .demo import SUPERVISOR, TARGET, Demo, recompile, running_demo
from .lent import Vms
from .vm import eventually

UPDATE = "{update, demo_worker, {advanced, []}}"
LOADS = "{load_module, emqx_release}, {load_module, demo_calls}"

# Only the first of the workers, or all but that.
FIRST = "case Id of 1 -> {fails}; _ -> {{ok, {{VERSION, Id}}}} end"
LATER = "case Id of 13 -> {fails}; _ -> {{ok, {{VERSION, Id}}}} end"

# As servers of connections do it: no supervisor of stdlib's, but called one, and it can tell its children.
LIKE_A_SUPERVISOR = """
start_link() -> gen_server:start_link(?MODULE, [], []).
init([]) -> {ok, [Pid || Id <- [101, 102], {ok, Pid} <- [demo_worker:start_link(Id)]]}.
handle_call(which_children, _, Pids) -> {reply, [{undefined, Pid, worker, [demo_worker]} || Pid <- Pids], Pids}.
handle_cast(_, Pids) -> {noreply, Pids}.
"""


@pytest.fixture
def demo(vms: Vms, tmp_path: Path) -> Iterator[Demo]:
    with running_demo(vms, tmp_path) as found:
        yield found


def first_of_all(demo: Demo) -> None:
    """Sees to it that worker 1 is the first whose state changes: processes are taken in their order."""
    assert demo.call("demo_worker", "state", demo.children()[0]) == (1, 1)


def test_whole_hop(demo: Demo) -> None:
    """Modules, states, marker and report; the processes are the same, and the agent leaves nothing behind."""
    before = demo.children()
    outcome = demo.run(f"{LOADS}, {UPDATE}, {{load_module, demo_sup}}")
    assert outcome["result"] == "success"
    assert demo.marker.read_text() == TARGET
    assert demo.states() == [(2, number) for number in range(1, 21)]
    assert demo.children() == before
    told = {each["n"]: each for each in outcome["instructions"]}
    assert told[1]["does"] == told[2]["does"] == "loaded, in one swap with 1 other"
    assert told[3]["processes"] == 20
    assert told[3]["window_ms"] == outcome["suspended_ms"] > 0
    assert (told[4]["does"], told[4]["unchanged"]) == ("unchanged", True)
    assert all(each["status"] == "done" and each["seconds"] >= 0 for each in told.values())
    demo.agent.unload()
    assert not [name for name in demo.call("erlang", "loaded") if str(name).startswith("relup_")]
    assert demo.call("erlang", "whereis", Atom("relup_remote_agent")) == "undefined"


def test_modules_go_when_the_link_breaks(demo: Demo, tmp_path: Path) -> None:
    link = DistributionLink(demo.vm.connect())
    (tmp_path / "other").mkdir()
    other = Agent(link, str(tmp_path / "other"), cache_folder())
    other.verify(None, [], 30.0)
    assert [name for name in demo.call("erlang", "loaded") if str(name).startswith("relup_")]
    link.close()
    assert eventually(lambda: not [name for name in demo.call("erlang", "loaded") if str(name).startswith("relup_")])


def test_children_of_what_is_called_a_supervisor_change_too(demo: Demo) -> None:
    demo.load("demo_like_a_supervisor", LIKE_A_SUPERVISOR)
    start: tuple[object, ...] = (Atom("demo_like_a_supervisor"), Atom("start_link"), [])
    child = {Atom("id"): Atom("like"), Atom("start"): start, Atom("type"): Atom("supervisor")}
    like = demo.call("supervisor", "start_child", Atom("kernel_safe_sup"), child)[1]
    outcome = demo.run(UPDATE)
    assert (outcome["result"], outcome["instructions"][0]["processes"]) == ("success", 22)
    pids = [pid for _, pid, _, _ in demo.call("supervisor", "which_children", like)]
    assert [demo.call("demo_worker", "state", pid) for pid in pids] == [(2, 101), (2, 102)]


def test_top_supervisor_changes_and_keeps_its_children(vms: Vms, tmp_path: Path) -> None:
    changed = SUPERVISOR.replace("100000", "99999")
    with running_demo(vms, tmp_path, prepare=lambda tree: recompile(tree, "demo_sup", changed)) as demo:
        before = demo.children()
        outcome = demo.run("{update, demo_sup, {advanced, []}}")
        assert (outcome["result"], outcome["instructions"][0]["processes"]) == ("success", 1)
        assert "99999" in str(demo.call("sys", "get_state", Atom("demo_sup")))
        assert demo.children() == before
        assert demo.suspended() == 0


@pytest.mark.parametrize(
    "fails", ["error(broken)", "exit(broken)", "throw(broken)", "{error, broken}", "timer:sleep(infinity)"]
)
def test_first_state_that_can_not_change_is_taken_back(vms: Vms, tmp_path: Path, fails: str) -> None:
    with running_demo(vms, tmp_path, FIRST.format(fails=fails)) as demo:
        first_of_all(demo)
        code, before = demo.code(), demo.children()
        outcome = demo.run(f"{LOADS}, {UPDATE}", timeout=500 if "infinity" in fails else 10_000)
        assert (outcome["result"], outcome["undone"], outcome["left"]) == ("code_change_failed", True, [])
        assert demo.code() == code
        assert demo.suspended() == 0
        # One that hangs answers to nothing any more: it is killed, and its supervisor starts it afresh.
        assert len(set(before) - set(demo.children())) == len(outcome["killed"]) == int("infinity" in fails)
        assert sorted(demo.states()) == [(1, number) for number in range(1, 21)]
        assert not demo.marker.exists()


def test_piece_that_can_not_be_taken_back_whole_stays_whole(vms: Vms, tmp_path: Path) -> None:
    """A process runs what one module was, so that can't be loaded again; none of its swap goes back then."""
    with running_demo(vms, tmp_path, FIRST.format(fails="error(broken)")) as demo:
        first_of_all(demo)
        source = tmp_path / "demo_calls.erl"
        source.write_text("-module(demo_calls).\n-export([wait/0]).\nwait() -> receive stop -> ok end.\n")
        assert demo.call("compile", "file", str(source), [(Atom("outdir"), str(tmp_path))])[0] == "ok"
        assert demo.call("code", "load_abs", str(tmp_path / "demo_calls"))[0] == "module"
        demo.call("code", "purge", Atom("demo_calls"))
        runs = demo.call("erlang", "spawn", Atom("demo_calls"), Atom("wait"), [])
        before = demo.code()
        outcome = demo.run(f"{LOADS}, {UPDATE}")
        assert (outcome["result"], outcome["undone"], len(outcome["left"])) == ("code_change_failed", False, 2)
        assert {name for name, md5 in demo.code().items() if md5 != before[name]} == {"emqx_release", "demo_calls"}
        assert demo.call("erlang", "is_process_alive", runs) == "true"
        assert demo.states() == [(1, number) for number in range(1, 21)]


def test_code_that_is_on_no_disk_keeps_nothing_from_going_back_unless_it_was_replaced(demo: Demo) -> None:
    for _ in range(2):
        demo.load("demo_calls", "wait() -> receive stop -> ok end.")
        demo.call("erlang", "spawn", Atom("demo_calls"), Atom("wait"), [])
    before = demo.code()
    outcome = demo.run(f"{{load_module, emqx_release}}, {UPDATE.replace('worker', 'app')}, {{load_module, demo_calls}}")
    assert (outcome["result"], outcome["undone"], outcome["left"]) == ("old_code_in_use", True, [])
    assert demo.code() == before


def test_later_state_that_can_not_change_is_a_new_process(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, LATER.format(fails="error(broken)")) as demo:
        before = demo.children()
        outcome = demo.run(f"{LOADS}, {UPDATE}")
        assert (outcome["result"], outcome["undone"]) == ("code_change_failed", False)
        assert "1 of 20 processes" in outcome["message"]
        assert demo.suspended() == 0
        assert eventually(lambda: len(demo.children()) == 20)
        assert len(set(demo.children()) - set(before)) == 1
        assert sorted(demo.states()) == [(2, number) for number in range(1, 21)]


def test_later_states_that_can_not_change_are_told_with_one_reason(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, "case Id of 1 -> {ok, {VERSION, Id}}; _ -> error({broken, Id}) end") as demo:
        first_of_all(demo)
        message = demo.run(UPDATE)["message"]
        assert "19 of 20 processes" in message
        assert message.count("{broken,") == 1


@pytest.mark.parametrize(("cast", "workers"), [((Atom("sleep"), 800), 20), (Atom("sibling"), 21)])
def test_busy_process_is_tried_again_and_nobody_waits_for_it(demo: Demo, cast: object, workers: int) -> None:
    """One that is in the middle of something, and one that asks the supervisor that stands still because of it."""
    demo.call("gen_server", "cast", demo.children()[3], cast)
    outcome = demo.run(UPDATE, timeout=500)
    assert (outcome["result"], outcome["instructions"][0]["processes"]) == ("success", workers)
    assert sorted(demo.states()) == [(2, number) for number in range(1, workers + 1)]


def test_process_that_stays_busy_is_left_in_peace(demo: Demo) -> None:
    code, before = demo.code(), demo.children()
    demo.call("gen_server", "cast", before[3], Atom("wait"))
    outcome = demo.run(f"{LOADS}, {UPDATE}", timeout=300)
    assert (outcome["result"], outcome["undone"]) == ("suspend_failed", True)
    demo.call("erlang", "send", before[3], Atom("go_on"))
    assert demo.code() == code
    assert demo.children() == before
    assert sorted(demo.states()) == [(1, number) for number in range(1, 21)]


def test_process_that_dies_meanwhile_is_no_failure(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path, LATER.format(fails="exit(self(), kill), timer:sleep(infinity)")) as demo:
        outcome = demo.run(UPDATE)
        assert outcome["result"] == "success"
        assert outcome["instructions"][0]["processes"] == 19
        assert eventually(lambda: len(demo.children()) == 20)


@pytest.mark.parametrize(("who", "undone"), [(FIRST, True), (LATER, False)])
def test_hop_whose_own_process_is_killed_while_states_change(vms: Vms, tmp_path: Path, who: str, undone: bool) -> None:
    """Nothing stays suspended. The first is killed, for its state may be either; once it has changed, all others do."""
    fails = "exit(demo_worker:hop(), kill), {ok, {VERSION, Id}}"
    with running_demo(vms, tmp_path, who.format(fails=fails)) as demo:
        first_of_all(demo)
        code, before = demo.code(), demo.children()
        outcome = demo.run(f"{LOADS}, {UPDATE}")
        assert (outcome["result"], outcome["undone"], outcome["left"]) == ("code_change_failed", undone, [])
        assert "own process died" in outcome["message"]
        assert demo.suspended() == 0, outcome
        assert (demo.code() == code) is undone
        assert eventually(lambda: len(demo.children()) == 20)
        assert len(set(before) - set(demo.children())) == len(outcome["killed"]) == int(undone)
        assert sorted(demo.states()) == [(1 if undone else 2, number) for number in range(1, 21)]


def test_application_that_ends_meanwhile_is_told(demo: Demo) -> None:
    helpers = demo.helper("demo_helper", "stop() -> application:stop(demo).")
    outcome = demo.run(f"{LOADS}, {{apply, demo_helper, stop, []}}", helpers=helpers)
    assert (outcome["result"], outcome["stopped"]) == ("success", ["demo"])


def test_what_is_called_by_the_hop_finds_the_files_of_the_target(demo: Demo) -> None:
    """As emqx_bpapi:announce does, which reads a file of its application."""
    helpers = demo.helper("demo_helper", "seen() -> application:set_env(kernel, seen, code:lib_dir(demo)), ok.")
    failed = demo.run("{load_module, demo_worker}, {load_module, demo_app_that_is_not_there}", helpers=helpers)
    assert failed["result"] != "success"
    before = text(demo.call("code", "lib_dir", Atom("demo")))
    assert before.endswith("/old/lib/demo-1")
    demo.outcome.unlink()
    outcome = demo.run(f"{LOADS}, {{apply, demo_helper, seen, []}}", helpers=helpers)
    assert outcome["result"] == "success"
    seen = demo.call("application", "get_env", Atom("kernel"), Atom("seen"))[1]
    assert text(seen) == str(demo.target / "lib" / "demo-2")


def test_what_is_called_by_the_hop_may_kill_it(demo: Demo) -> None:
    helpers = demo.helper("demo_helper", "die() -> exit(self(), kill), timer:sleep(infinity).")
    outcome = demo.run(f"{LOADS}, {{apply, demo_helper, die, []}}", helpers=helpers)
    assert (outcome["result"], outcome["n"], outcome["undone"]) == ("apply_failed", 3, False)
    assert [each["status"] for each in outcome["instructions"]] == ["done", "done", "failed"]
    assert demo.call("code", "is_loaded", Atom("demo_helper")) == "false"


def test_what_the_hop_has_started_outlives_it(demo: Demo) -> None:
    helpers = demo.helper(
        "demo_helper", "start() -> {ok, Pid} = demo_worker:start_link(42), register(answer, Pid), ok."
    )
    outcome = demo.run(f"{LOADS}, {{apply, demo_helper, start, []}}", helpers=helpers)
    assert outcome["result"] == "success"
    assert demo.call("demo_worker", "state", Atom("answer")) == (1, 42)


def test_helper_that_could_not_go_is_taken_for_what_it_is(demo: Demo) -> None:
    body = "wait() -> receive stop -> ok end.\nstart() -> register(waits, spawn(fun wait/0)), ok.\nfails() -> error."
    helpers = demo.helper("demo_helper", body)
    demo.load_helper(helpers[0])
    demo.call("demo_helper", "start")
    request = demo.request(f"{LOADS}, {{load_module, demo_helper}}, {{apply, demo_helper, fails, []}}", helpers=helpers)
    assert demo.agent.preflight(request, 30.0)["problems"] == []
    assert demo.ran(request)["result"] == "apply_failed"
    assert demo.call("erlang", "module_loaded", Atom("demo_helper")) == "false"
    assert demo.call("erlang", "whereis", Atom("waits")) != "undefined"


def beam(demo: Demo, name: str, body: str) -> str:
    """The path of a helper that ships compiled."""
    (source,) = demo.helper(name, body)
    compile_all([Path(source)])
    Path(source).unlink()
    return str(Path(source).with_suffix(".beam"))


def test_a_helper_that_ships_compiled_comes_and_goes_with_the_hop(demo: Demo) -> None:
    """With others that it names: in a call, and in a constant."""
    named = [
        beam(demo, f"demo_{name}", f"seen() -> application:set_env(kernel, seen_{name}, yes), ok.")
        for name in ("inner", "listed", "deep")
    ]
    body = "run() -> demo_inner:seen(), [M:seen() || {_, [M]} <- names()], ok."
    body += "\nnames() -> [{a, [demo_listed]}, {b, [demo_deep]}]."
    helpers = [beam(demo, "demo_helper", body), *named]
    outcome = demo.run(f"{LOADS}, {{apply, demo_helper, run, []}}", helpers=helpers)
    assert outcome["result"] == "success"
    for name in ("inner", "listed", "deep"):
        assert demo.call("application", "get_env", Atom("kernel"), Atom(f"seen_{name}"))[1] == "yes"
        assert demo.call("erlang", "module_loaded", Atom(f"demo_{name}")) == "false"
    assert demo.call("erlang", "module_loaded", Atom("demo_helper")) == "false"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ('run() -> <<X:8, _/binary>> = <<"{}">>, X.'.format("x" * (1 << 20)), "bytes of constants"),
        ("\n".join(f"f{number}() -> ok." for number in range(20_000)), "atoms"),
    ],
    ids=["constants", "atoms"],
)
def test_a_compiled_helper_that_would_cost_the_node_much_is_refused(demo: Demo, body: str, what: str) -> None:
    request = demo.request(f"{LOADS}, {{apply, demo_helper, run, []}}", helpers=[beam(demo, "demo_helper", body)])
    (problem,) = demo.agent.preflight(request, 30.0)["problems"]
    assert problem.err_type == "bad_beam"
    assert what in problem.message


def test_a_module_of_the_nodes_own_that_is_the_same_as_a_helper_stays(demo: Demo) -> None:
    """As with the vendor's plugin: its package is the catalogue, and the node runs it."""
    (demo.folder / "plugin").mkdir()
    path = Path(beam(demo, "demo_helper", "run() -> ok."))
    own = path.rename(demo.folder / "plugin" / path.name)
    demo.call("code", "load_abs", str(own.with_suffix("")))
    for given in (own.read_bytes(), None):
        if given is None:
            path = Path(beam(demo, "demo_helper", "run() -> another."))
        else:
            path.write_bytes(given)
        request = demo.request(f"{LOADS}, {{apply, demo_helper, run, []}}", helpers=[str(path)])
        problems = [problem.err_type for problem in demo.agent.preflight(request, 30.0)["problems"]]
        assert problems == ([] if given else ["helper_name_taken"])
        if given:
            assert demo.ran(request)["result"] == "success"
            assert text(demo.call("code", "which", Atom("demo_helper"))) == str(own)


@pytest.mark.parametrize("content", [b"", b"FOR1", b"FOR1\0\0\0\x10BEAMAtU8\0\0\0\4\0\xff\xff\xff", b"no beam"])
def test_a_helper_that_is_no_beam_is_refused(demo: Demo, content: bytes) -> None:
    path = demo.folder / "demo_helper.beam"
    path.write_bytes(content)
    request = demo.request(f"{LOADS}, {{apply, demo_helper, run, []}}", helpers=[str(path)])
    problems = [problem.err_type for problem in demo.agent.preflight(request, 30.0)["problems"]]
    assert problems == ["bad_beam"]


def test_process_that_a_load_would_kill_is_named_beforehand(demo: Demo) -> None:
    for _ in range(2):
        demo.load("demo_calls", "wait() -> receive stop -> ok end.")
        demo.call("erlang", "spawn", Atom("demo_calls"), Atom("wait"), [])
    (problem,) = demo.agent.preflight(demo.request(LOADS), 30.0)["problems"]
    assert (problem.err_type, problem.detail["instruction"], problem.detail["count"]) == ("old_code_in_use", 2, 1)
    assert problem.detail["processes"][0]["initial_call"] == "{demo_calls,wait,0}"


def test_restart_leaves_modules_alone_that_have_moved(vms: Vms, tmp_path: Path) -> None:
    def move(tree: Path) -> None:
        ebin = tree / "lib" / "demo-2" / "ebin"
        (ebin / "demo_calls.beam").rename(tree / "lib" / "emqx-2" / "ebin" / "demo_calls.beam")
        keys = (ebin / "demo.app").read_text()
        (ebin / "demo.app").write_text(keys.replace(", demo_calls", ""))

    with running_demo(vms, tmp_path, prepare=move) as demo:
        outcome = demo.run("{load_module, emqx_release}, {load_module, demo_calls}, {restart_application, demo}")
        assert outcome["result"] == "success"
        assert demo.call("demo_calls", "value") == 2


@pytest.mark.parametrize(("changes", "undone"), [(LOADS, True), (f"{UPDATE}, {LOADS}", False)])
def test_beam_that_is_cut_once_all_was_checked(demo: Demo, changes: str, undone: bool) -> None:
    """Nothing of its swap happens; what was done before is taken back unless a state has changed."""
    code = demo.code()
    request = demo.request(changes)
    (path,) = demo.target.glob("lib/demo-2/ebin/demo_calls.beam")
    path.write_bytes(path.read_bytes()[:200])
    outcome = demo.ran(request)
    assert (outcome["result"], outcome["undone"]) == ("bad_beam", undone)
    assert demo.code()["emqx_release"] == code["emqx_release"]
    assert (demo.code() == code) is undone
    assert demo.suspended() == 0


def test_vm_restarts_by_itself_once_its_core_is_gone(vms: Vms, tmp_path: Path) -> None:
    with running_demo(vms, tmp_path) as demo:
        gate = tmp_path / "gate"
        body = f'wait() -> case filelib:is_file("{gate}") of true -> error(open); false -> timer:sleep(20), wait() end.'
        link = DistributionLink(demo.vm.connect())
        work = tmp_path / "own"
        work.mkdir()
        agent = Agent(link, str(work), cache_folder())
        helpers = demo.helper("demo_gate", body)
        agent.start(demo.request("{apply, demo_gate, wait, []}", helpers=helpers, restart=True, core=agent.core))
        link.close()
        gate.touch()
        assert eventually(demo.outcome.exists)
        demo.link.close()

        def restarted() -> bool:
            try:
                with demo.vm.connected() as connection:
                    return bool(connection.call("erlang", "whereis", [Atom("demo_sup")], 5.0) == "undefined")
            except (DistributionError, BadRpc):
                # It is just stopping, or booting.
                return False

        assert eventually(restarted)
