"""A hop that failed waits for an on_load that runs yet, and for nobody else whom the code server watches."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from relup_remote.core.agent import bundle
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.term import Atom
from tests.unit.erlc import compile_all

from .demo import compiled
from .vm import OTPS, evaluate, running_vm

WAITING = """
-module(demo_waiting).
-on_load(wait/0).
wait() -> register(demo_on_load, self()), receive go_on -> ok end.
"""

PLAIN = "-module(demo_plain).\n-export([f/0]).\nf() -> ok.\n"

PARTS = ("undo", "text", "crowd", "replace", "target", "processes", "helper", "value")


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the beams."""
    folder = tmp_path_factory.mktemp("code")
    path = folder / "undoing.erl"
    path.write_bytes(bundle.source(PARTS, path.stem, [("undo", "await_on_loads", 1)]))
    compile_all([path])
    for name, beam in compiled({"demo_waiting": WAITING, "demo_plain": PLAIN}).items():
        (folder / f"{name}.beam").write_bytes(beam)
    return folder


@pytest.fixture(params=OTPS)
def vm(request: pytest.FixtureRequest, epmd: int, code: Path, tmp_path: Path) -> Iterator[Connection]:
    with (
        running_vm(epmd, tmp_path, "-pa", str(code), otp=OTPS[request.param]()) as found,
        found.connected() as connection,
    ):
        yield connection


def waited_for(vm: Connection, milliseconds: int) -> list[object]:
    return list(vm.call("undoing", bundle.exported("undo", "await_on_loads"), [milliseconds], 60.0))


def test_an_on_load_is_waited_for(vm: Connection) -> None:
    evaluate(vm, "spawn(fun() -> code:load_file(demo_waiting) end).")
    evaluate(vm, "(fun Wait() -> whereis(demo_on_load) =/= undefined orelse begin erlang:yield(), Wait() end end)().")
    assert waited_for(vm, 1) == [vm.call("erlang", "whereis", [Atom("demo_on_load")])]
    evaluate(vm, "spawn(fun() -> demo_on_load ! go_on end).")
    assert waited_for(vm, 60_000) == []
    assert vm.call("erlang", "module_loaded", [Atom("demo_waiting")]) == "true"


@pytest.mark.parametrize("vm", ["bare"], indirect=True)
def test_who_loads_a_module_is_not_waited_for(vm: Connection) -> None:
    """As it is done since OTP 26: the code server watches who has asked for the code until it is loaded."""
    loads = "code_server:call({get_object_code_for_loading, demo_plain})"
    evaluate(
        vm,
        f"Pid = spawn(fun() -> R = {loads}, receive {{tell, To}} -> To ! R, receive never -> ok end end end), "
        "Pid ! {tell, self()}, receive _ -> ok end.",
    )
    assert len(evaluate(vm, "element(2, process_info(whereis(code_server), monitors)).")) == 1
    assert waited_for(vm, 60_000) == []
