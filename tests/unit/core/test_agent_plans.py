"""What the plan says of a hop is what the hop does: for hops of all kinds, in any order, in a real VM."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.agent import bundle
from relup_remote.core.erlang.term import Atom, text

from .demo import recompile
from .lent import Vms
from .rich import Rich, modules, running_rich
from .vm import eventually

RELEASE = "{load_module, emqx_release}"
LOAD, UPDATE = "{{load_module, {}}}", "{{update, {}, {{advanced, []}}}}"
WORKER = UPDATE.format("demo_worker")


@pytest.fixture(scope="module")
def shared(vms: Vms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rich]:
    with running_rich(vms, tmp_path_factory.mktemp("rich")) as found:
        yield found


@pytest.fixture
def rich(shared: Rich) -> Iterator[Rich]:
    """The VM with the first version running."""
    yield shared
    shared.reset()


def facts(entry: dict[str, Any]) -> dict[str, Any]:
    """What an instruction comes to, as plan and outcome both tell it: in numbers."""
    does = entry["does"]
    restart = re.search(r"(\d+) of (\d+) modules?(?: replaced)?, (?:remove )?(\d+)", does.replace("replace ", ""))
    swap = re.search(r"in one swap with (\d+)", does)
    return {
        "n": entry["n"],
        "text": entry["text"],
        "unchanged": entry.get("unchanged", False),
        "processes": entry.get("processes"),
        "restart": restart and restart.groups(),
        "with others": swap and swap[1],
        "included": "being included" in does,
    }


def test_plan_and_hop_agree(rich: Rich) -> None:
    """Seeded hops of loads, updates, restarts and calls in any order, the same modules more than once."""
    seeds = random.Random(1)
    of_module = [
        text.format(name)
        for name in ("demo_worker", "demo_sup", "demo_plain", "demo_lib", "demo_same")
        for text in (LOAD, UPDATE)
    ]
    others = [
        LOAD.format("demo_calls"),
        LOAD.format("demo_inc"),
        LOAD.format("demo_helper"),
        "{restart_application, demo}",
        "{restart_application, demo_new}",
        "{restart_application, demo_inc}",
        "{apply, demo_helper, nothing, [demo_named]}",
        "{apply, demo_helper, inner, [demo_named]}",
        RELEASE,
    ]
    succeeded = 0
    for _ in range(40):
        hop = ", ".join([*seeds.choices([*of_module, *others], k=seeds.randint(1, 7)), RELEASE])
        plan = rich.planned(hop)
        assert plan["problems"] == [], (hop, [problem.message for problem in plan["problems"]])
        outcome = rich.did(hop)
        assert outcome["result"] == "success", (hop, outcome)
        assert [facts(entry) for entry in outcome["instructions"]] == [
            facts(entry) for entry in plan["instructions"]
        ], hop
        succeeded += 1
        rich.reset()
    assert succeeded == 40


def test_state_changes_though_the_module_is_there_already(rich: Rich) -> None:
    """By a load of the same hop: those that started before it change, those that start after it are new."""
    changes = f"{LOAD.format('demo_worker')}, {{apply, demo_helper, start, []}}, {WORKER}, {WORKER}, {RELEASE}"
    plan = rich.planned(changes)
    outcome = rich.did(changes)
    assert outcome["result"] == "success"
    assert [entry.get("processes") for entry in outcome["instructions"]] == [None, None, 5, None, None]
    assert [entry.get("processes") for entry in plan["instructions"]] == [None, None, 5, None, None]
    assert outcome["instructions"][3]["does"] == "unchanged, and no process is left to change"
    states = [
        rich.call("demo_worker", "state", pid)
        for _, pid, _, _ in rich.call("supervisor", "which_children", Atom("demo_plain"))
    ]
    assert sorted(states) == [(2, 6), (2, 7)]


def test_state_changes_though_no_code_does(rich: Rich) -> None:
    plan = rich.planned(f"{UPDATE.format('demo_same')}, {RELEASE}")
    outcome = rich.did(f"{UPDATE.format('demo_same')}, {RELEASE}")
    assert plan["instructions"][0]["processes"] == outcome["instructions"][0]["processes"] == 1
    assert plan["instructions"][0]["does"] == "unchanged; the state of 1 process changes"
    assert rich.call("gen_server", "call", Atom("demo_same"), Atom("ask")) == 1


def test_what_an_earlier_attempt_has_changed_is_left_alone(rich: Rich) -> None:
    broken = f"{WORKER}, {{apply, demo_same, nothing, []}}, {RELEASE}"
    outcome = rich.did(broken)
    assert (outcome["result"], outcome["undone"], outcome["updated"]) == ("apply_failed", False, {"demo_worker": []})
    updated = [(Atom(module), kept) for module, kept in outcome["updated"].items()]
    again = f"{WORKER}, {RELEASE}"
    assert rich.planned(again, updated=updated)["instructions"][0]["unchanged"]
    outcome = rich.did(again, updated=updated)
    assert outcome["result"] == "success", outcome
    assert outcome["instructions"][0]["does"] == "unchanged, and no process is left to change"


def test_process_whose_specification_lists_another_module_is_left_alone(rich: Rich) -> None:
    assert rich.planned(f"{WORKER}, {RELEASE}")["instructions"][0]["processes"] == 5
    assert rich.did(f"{WORKER}, {RELEASE}")["instructions"][0]["processes"] == 5


def test_what_changes_the_state_is_what_the_process_runs(rich: Rich) -> None:
    """A supervisor whose module does not say so, and a module of mere functions that a process lists."""
    changes = f"{UPDATE.format('demo_plain')}, {UPDATE.format('demo_lib')}, {UPDATE.format('demo_sup')}, {RELEASE}"
    plan = rich.planned(changes)
    assert plan["problems"] == []
    assert rich.did(changes)["result"] == "success"
    assert rich.version("demo_plain") == rich.version("demo_lib") == rich.version("demo_sup") == 2


def test_process_that_can_not_change_its_state_is_told_beforehand(epmd: int, tmp_path: Path, rich: Rich) -> None:
    recompile(rich.target, "demo_worker", modules(2)["demo_worker"].replace("code_change", "changed"))
    try:
        (problem,) = rich.planned(f"{WORKER}, {RELEASE}")["problems"]
    finally:
        recompile(rich.target, "demo_worker", modules(2)["demo_worker"])
    assert (problem.err_type, problem.detail["instruction"]) == ("function_not_exported", 1)


def test_helpers_that_are_named_only_inside_others(rich: Rich) -> None:
    """Inside a helper, and inside an argument; they are gone afterwards."""
    changes = f"{RELEASE}, {{apply, demo_helper, inner, [demo_named]}}"
    assert rich.planned(changes)["problems"] == []
    assert rich.did(changes)["result"] == "success"
    names = {str(name) for name in rich.call("erlang", "loaded")}
    assert names.isdisjoint({"demo_helper", "demo_inner", "demo_named"})


def test_helper_inside_a_helper_that_does_not_compile_is_told_beforehand(rich: Rich) -> None:
    helpers = [*rich.helpers(), *rich.helper("demo_inner", "called( -> ok.")]
    request = rich.request(
        f"{RELEASE}, {{apply, demo_helper, nothing, [demo_named]}}", helpers=helpers[:1] + helpers[-1:]
    )
    (problem,) = rich.agent.preflight(request, 30.0)["problems"]
    assert (problem.err_type, problem.detail["instruction"]) == ("helper_not_compiled", 2)


BOMB = "".join(f"-define(A{n + 1}, {', '.join([f'?A{n}'] * 8)}).\n" for n in range(12))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"-define(A0, x).\n{BOMB}called() -> [?A12].", "to compile"),
        (f"-define(A0, x).\n{BOMB}called() -> [?A7].", "to compile"),
        ('-include("PIPE").', "not a file of a release"),
        ('-include_lib("kernel/../../../PIPE").', "not a file of a release"),
        ('-include("$HOME/pipe").', "not a file of a release"),
        ("-define(F, 1).\n-include(?F).", "does not name"),
        ('-doc({file, "PIPE"}).', "another file"),
        ("called() -> ((1 bsl 16000000) - 1) * ((1 bsl 16000000) - 1).", "4096 bits"),
        (f"called() -> {'9' * 100_000}.", "1000 digits"),
        (f"called() -> [{', '.join(f'b{number}' for number in range(60_000))}].", "words"),
    ],
    ids=["macros", "tokens", "include", "include_lib", "environment", "macro", "doc", "shift", "digits", "atoms"],
)
def test_helper_that_would_harm_the_vm_that_compiles_it(rich: Rich, tmp_path: Path, body: str, why: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # What the agent has for as long as it is there has begun with this.
    assert not rich.agent.preflight(rich.request(RELEASE), 60.0)["problems"]
    processes = rich.call("erlang", "system_info", Atom("process_count"))
    helpers = rich.helper("demo_inner", body.replace("PIPE", str(pipe)))
    request = rich.request(f"{RELEASE}, {{apply, demo_inner, called, []}}", helpers=helpers)
    (problem,) = rich.agent.preflight(request, 60.0)["problems"]
    assert (problem.err_type, why in problem.message) == ("helper_not_compiled", True), problem
    # A process that was killed while its garbage was collected ends after that, on a busy machine much later.
    assert eventually(lambda: rich.call("erlang", "system_info", Atom("process_count")) <= processes, seconds=300)
    assert rich.call("erlang", "memory", Atom("total")) < 512 << 20


def test_new_application_starts_as_the_release_says(rich: Rich) -> None:
    assert rich.did(f"{{restart_application, demo_new}}, {RELEASE}")["result"] == "success"
    started = dict(dict(rich.call("application", "info"))["started"])
    assert (started["demo_new"], started["demo"]) == ("permanent", "temporary")


def test_restarted_application_keeps_its_type(rich: Rich) -> None:
    for function, more in (("stop", []), ("start", [Atom("transient")])):
        assert rich.call("application", function, Atom("demo"), *more) == "ok"
    assert rich.did(f"{{restart_application, demo}}, {RELEASE}")["result"] == "success"
    assert dict(dict(rich.call("application", "info"))["started"])["demo"] == "transient"


@pytest.mark.parametrize("app", ["demo_inc", "demo"])
def test_included_application_keeps_its_place(rich: Rich, app: str) -> None:
    """Its specification and environment are renewed, by itself and with the application that it is included in."""
    outcome = rich.did(f"{{restart_application, {app}}}, {RELEASE}")
    assert outcome["result"] == "success", outcome
    assert "demo_inc" not in dict(dict(rich.call("application", "info"))["started"])
    assert rich.call("application", "get_env", Atom("demo_inc"), Atom("made_for")) == ("ok", 2)
    assert text(rich.call("application", "get_key", Atom("demo_inc"), Atom("vsn"))[1]) == "2"
    assert rich.version("demo_inc") == (2 if app == "demo_inc" else 1)


def test_a_large_crowd_has_longer(rich: Rich, tmp_path: Path) -> None:
    path = tmp_path / "crowd_alone.erl"
    path.write_bytes(bundle.source(("text", "processes", "crowd"), path.stem, [("crowd", "allowed", 2)]))
    code = rich.call("compile", "file", str(path), [Atom("binary")])[2]
    assert rich.call("code", "load_binary", Atom(path.stem), str(path), code)[0] == "module"
    function = bundle.exported("crowd", "allowed")
    assert [rich.call(path.stem, function, 5000, count) for count in (0, 1000, 1_000_000)] == [5000, 5020, 25000]
