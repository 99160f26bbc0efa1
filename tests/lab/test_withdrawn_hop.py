"""A hop of the shape that was once withdrawn because it could not complete: it completes, or is refused and says why.

Its helpers come with the catalogue and are loaded by the hop, each of three applications is restarted before what needs
it runs, and `node()` stands in arguments. Each defect is seeded alone, and has to be found alone.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.clients import Traffic
from lab.cluster import Lab
from tests.lab import defects
from tests.lab.cluster import BASE, NOTHING, Ran, Tool, code_of, disk_of, foreign, put_back, running_lab
from tests.lab.defects import CATALOGUE, REFUSED, TARGET, Draft
from tests.lab.lingering import lingering

HOST, OTHER = "n1", "n2"
APPS = ("emqx_pool", "emqx_dashboard", "emqx_alarms")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two nodes: one stays as it is, the other is upgraded."""
    with running_lab(tmp_path_factory.mktemp("lab"), 2) as made:
        yield made


@pytest.fixture(scope="module")
def relup(lab: Lab) -> Tool:
    return Tool(lab.inventory_path)


@pytest.fixture(scope="module")
def target(lab: Lab) -> Path:
    return lab.tarball(TARGET)


@contextmanager
def untouched(lab: Lab) -> Iterator[None]:
    """The node's code, its files, and what is in its VM are the same at the end, or the test fails."""
    before = code_of(lab, HOST), disk_of(lab, HOST)
    yield
    assert (code_of(lab, HOST), disk_of(lab, HOST)) == before
    assert foreign(lab, HOST) == NOTHING


def planned(relup: Tool, catalogue: Path, tarball: Path, *options: str) -> Ran:
    return relup.run("plan", "--host", HOST, "--tarball", str(tarball), "--catalogue", str(catalogue), *options)


def named(row: dict[str, Any], problem: dict[str, Any]) -> tuple[str, str | None]:
    """A problem by its name and the text of the instruction it is reported at."""
    number = problem["detail"].get("instruction")
    texts = {each["n"]: each["text"] for each in row["facts"].get("hop", {}).get("instructions", [])}
    return problem["err_type"], None if number is None else texts[number]


def assert_refused_for(ran: Ran, err_type: str, at: str | None) -> None:
    """The plan names this, at the instruction whose text has ``at`` in it, and nothing else."""
    row = ran.row(HOST)
    assert (ran.status, row["outcome"]) == (3, "refused"), ran.stdout + ran.stderr
    found = [named(row, problem) for problem in row["problems"]]
    assert [name for name, _ in found] == [err_type], found
    text = found[0][1]
    assert (text is None) if at is None else (text is not None and at in text), found
    assert row["error"]["err_type"] == err_type
    assert row["error"]["message"]
    assert row["error"]["hint"]


# The hop that can run


def test_it_completes_while_clients_are_connected(lab: Lab, relup: Tool, target: Path) -> None:
    pid = lab.node_pid(OTHER)
    with Traffic({host: lab.mqtt_port(host) for host in (HOST, OTHER)}, clients=20) as traffic:
        plan = relup.run("plan", "--tarball", str(target))
        assert [(row["outcome"], row["warnings"]) for row in plan.document["hosts"]] == [("ready", [])] * 2
        ran = relup.run("upgrade", "--host", OTHER, "--tarball", str(target), "--yes")
        assert ran.status == 0, ran.stdout + ran.stderr
        evidence = traffic.stop()
    try:
        assert evidence.held, str(evidence)
        instructions = ran.row(OTHER)["facts"]["hop"]["instructions"]
        assert {each["status"] for each in instructions} == {"done"}
        texts = [each["text"] for each in instructions]
        restarts = [index for index, text in enumerate(texts) if text.startswith("{restart_application")]
        assert len(restarts) == len(APPS)
        assert all(texts[index + 1].startswith("{apply") for index in restarts)
        assert (
            lab.eval(OTHER, "[application:get_key(A, vsn) =/= undefined || A <- [emqx_pool, emqx_alarms]]")
            == "[true,true]"
        )
        assert lab.eval(OTHER, "{emqx_pool:count(), emqx_alarms:ready(), emqx_dashboard:ready()}") == "{4,ok,ok}"
        assert lab.node_pid(OTHER) == pid
        assert foreign(lab, OTHER) == NOTHING
        assert relup.run("verify", "--host", OTHER, "--target", TARGET).status == 0
    finally:
        put_back(lab, OTHER)


def test_it_is_ready_and_planning_it_changes_nothing(lab: Lab, relup: Tool, target: Path) -> None:
    """Without a client no process uses the connections' module: said, since it may be meant."""
    with untouched(lab):
        ran = planned(relup, CATALOGUE, target)
    row = ran.row(HOST)
    assert (ran.status, row["outcome"], row["problems"]) == (0, "ready", [])
    assert [(warning["err_type"], "emqx_connection" in warning["message"]) for warning in row["warnings"]] == [
        ("no_process", True)
    ]


# The same hop with one thing wrong


@pytest.mark.parametrize("defect", REFUSED)
def test_defect_is_named(defect: str, lab: Lab, relup: Tool, target: Path, tmp_path: Path) -> None:
    seeded, draft = REFUSED[defect], Draft(target)
    seeded.edit(draft)
    catalogue, tarball = draft.make(tmp_path)
    with untouched(lab):
        ran = planned(relup, catalogue, tarball)
    assert_refused_for(ran, seeded.err_type, seeded.at)


def test_people_are_told_what_and_where(relup: Tool, target: Path, tmp_path: Path) -> None:
    draft = Draft(target)
    REFUSED["a wrong arity in an apply"].edit(draft)
    catalogue, tarball = draft.make(tmp_path)
    ran = relup.run("plan", "--host", HOST, "--tarball", str(tarball), "--catalogue", str(catalogue), json=False)
    assert ran.status == 3
    assert f"{HOST}: function_not_exported at apply" in ran.stdout
    assert "Instruction 17: emqx_lab_collect:garbage/1" in ran.stdout


def test_modules_that_are_left_out_are_listed(lab: Lab, relup: Tool, target: Path, tmp_path: Path) -> None:
    draft = Draft(target)
    defects.swapped("\n       {load_module, emqx_stats},", "")(draft)
    catalogue, tarball = draft.make(tmp_path)
    with untouched(lab):
        ran = planned(relup, catalogue, tarball)
    assert (ran.status, ran.row(HOST)["outcome"]) == (0, "ready")
    (warning,) = [each for each in ran.row(HOST)["warnings"] if each["err_type"] == "not_covered"]
    assert (warning["detail"]["modules"], warning["detail"]["count"]) == (["emqx_stats"], 1)
    told = relup.run("plan", "--host", HOST, "--tarball", str(tarball), "--catalogue", str(catalogue), json=False)
    assert told.status == 0
    assert "not_covered" in told.stdout + told.stderr
    assert "emqx_stats" in told.stdout + told.stderr


# A node that is not fit for it


def sticky(lab: Lab, _folder: Path) -> AbstractContextManager[None]:
    return evaluated(lab, "code:stick_mod(emqx_stats)", "code:unstick_mod(emqx_stats)")


def suspended(lab: Lab, _folder: Path) -> AbstractContextManager[None]:
    return evaluated(lab, "sys:suspend(emqx_connection_sup)", "sys:resume(emqx_connection_sup)")


def deaf(lab: Lab, _folder: Path) -> AbstractContextManager[None]:
    """A supervisor that the VM does not let run: a suspension ends with the process that asked for it."""
    hold = (
        "Self = self(), Pid = spawn(fun() -> true = erlang:suspend_process(whereis(emqx_connection_sup)),"
        " register(lab_holding, self()), Self ! held, receive stop -> ok end end),"
        " receive held -> ok end, is_pid(Pid)"
    )
    return evaluated(lab, hold, "lab_holding ! stop")


def in_old_code(lab: Lab, folder: Path) -> AbstractContextManager[None]:
    return lingering(lab, HOST, "emqx_stats", BASE, folder)


def taken(lab: Lab, _folder: Path) -> AbstractContextManager[None]:
    """The node has a module of a helper's name, which would go with the helper after the hop."""
    load = (
        "{ok, Mod, Code} = compile:forms([{attribute, 1, module, emqx_lab_settle}], [binary]),"
        " code:load_binary(Mod, [], Code)"
    )
    return evaluated(lab, load, "code:delete(emqx_lab_settle), code:purge(emqx_lab_settle)")


@contextmanager
def evaluated(lab: Lab, before: str, after: str) -> Iterator[None]:
    lab.eval(HOST, before)
    try:
        yield
    finally:
        lab.eval(HOST, after)


UNFIT: dict[str, tuple[Callable[[Lab, Path], AbstractContextManager[None]], str, str | None]] = {
    "a sticky module": (sticky, "sticky_module", "{load_module,emqx_stats}"),
    "a suspended supervisor": (suspended, "suspended_supervisor", "{update,"),
    "a supervisor that does not answer": (deaf, "which_children_failed", "{update,"),
    "a helper's name that is taken": (taken, "helper_name_taken", None),
    "a process in old code": (in_old_code, "old_code_in_use", "{load_module,emqx_stats}"),
}


@pytest.mark.parametrize("state", UNFIT)
def test_state_of_the_node_is_named(state: str, lab: Lab, relup: Tool, target: Path, tmp_path: Path) -> None:
    make, err_type, at = UNFIT[state]
    with make(lab, tmp_path), untouched(lab):
        ran = planned(relup, CATALOGUE, target)
    assert_refused_for(ran, err_type, at)


def test_process_in_old_code_is_told_of_and_killed_only_when_asked_for(
    lab: Lab, relup: Tool, target: Path, tmp_path: Path
) -> None:
    with lingering(lab, HOST, "emqx_stats", BASE, tmp_path):
        refused = planned(relup, CATALOGUE, target).row(HOST)
        (process,) = refused["error"]["detail"]["processes"]
        assert process["name"] == "lab_lingering"
        assert process["application"] == "emqx"
        assert "lab_linger" in process["initial_call"]
        assert process["pid"].startswith("<")
        asked = planned(relup, CATALOGUE, target, "--kill-lingering")
        assert (asked.status, asked.row(HOST)["outcome"]) == (0, "ready")
        assert "old_code_in_use" in {warning["err_type"] for warning in asked.row(HOST)["warnings"]}
        assert lab.eval(HOST, "is_pid(whereis(lab_lingering))") == "true"
        ran = relup.run("upgrade", "--host", HOST, "--tarball", str(target), "--yes", "--kill-lingering")
        assert ran.status == 0, ran.stdout + ran.stderr
        assert lab.eval(HOST, "whereis(lab_lingering)") == "undefined"
    put_back(lab, HOST)
