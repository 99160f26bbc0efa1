"""Helper modules of the catalogue are compiled in the broker's VM: none can hold it up by what a compiler evaluates."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.agent import bundle
from relup_remote.core.erlang.distribution import Connection
from relup_remote.core.erlang.term import Atom, text

from .bombs import COMPILED, REFUSED
from .vm import Vm, running_vm

AT_ONCE = 20.0
"""Seconds for a call that needs a scheduler, on a busy machine; what a bomb does takes minutes."""

HEAD = "-module(demo_bomb).\n-compile([export_all, nowarn_export_all]).\n"

Compile = Callable[[Path], Any]


@pytest.fixture(scope="module")
def compiling(epmd: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vm, Connection]]:
    """A VM with the part of the agent that reads and compiles helpers."""
    folder = tmp_path_factory.mktemp("compiling")
    # With one scheduler nothing else runs while it is held.
    with running_vm(epmd, folder, "+S", "1:1") as vm, vm.connected() as connection:
        path = folder / "compiling.erl"
        entries = [("helper", "read", 1), ("helper", "compile", 1)]
        path.write_bytes(bundle.source(("text", "value", "helper"), path.stem, entries))
        compiled = connection.call("compile", "file", [str(path), [Atom("binary")]], 60.0)
        connection.call("code", "load_binary", [Atom(path.stem), str(path), compiled[2]])
        yield vm, connection


@pytest.fixture
def compiled(compiling: tuple[Vm, Connection]) -> Compile:
    """Reads a helper, and compiles it if that is no mistake: ("ok", module, code), or why not."""
    _, connection = compiling

    def run(path: Path) -> Any:
        for function in ("read", "compile"):
            answer = connection.call("compiling", bundle.exported("helper", function), [str(path)], AT_ONCE)
            if answer[0] == "error":
                told = connection.call("io_lib", "format", [answer[2], answer[3]])
                return text(connection.call("lists", "flatten", [told]))
        return answer

    return run


def bomb(folder: Path, body: str) -> Path:
    path = folder / "demo_bomb.erl"
    path.write_text(HEAD + body + "\n")
    return path


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_constant_by_way_of_something_is_not_evaluated(compiled: Compile, tmp_path: Path, name: str) -> None:
    answer = compiled(bomb(tmp_path, COMPILED[name]))
    assert tuple(answer[:2]) == ("ok", "demo_bomb"), answer
    assert len(answer[2]) < 10_000


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_evaluated_is_refused_with_its_line(compiled: Compile, tmp_path: Path, name: str) -> None:
    body, why = REFUSED[name]
    answer = compiled(bomb(tmp_path, body))
    assert isinstance(answer, str), answer
    assert answer.startswith("demo_bomb.erl")
    assert why in answer
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo_bomb.erl"]


def test_the_vm_has_lost_nothing(compiling: tuple[Vm, Connection]) -> None:
    """After all of them."""
    vm, connection = compiling
    assert connection.call("erlang", "memory", [Atom("total")], AT_ONCE) < 512 << 20
    with vm.connected() as another:
        assert another.call("erlang", "node", [], AT_ONCE) == vm.name


def test_what_is_compiled_does_the_same(compiling: tuple[Vm, Connection], compiled: Compile) -> None:
    _, connection = compiling
    path = Path(__file__).with_name("all_of_erlang.erl")

    def does(code: Any) -> Any:
        assert connection.call("code", "load_binary", [Atom(path.stem), str(path), code])[0] == "module"
        return connection.call("erlang", "term_to_binary", [connection.call(path.stem, "all", [])])

    usual = connection.call("compile", "file", [str(path), [Atom("binary")]], 60.0)
    ours = compiled(path)
    assert ours[0] == "ok", ours
    assert ours[2] != usual[2]
    assert does(ours[2]) == does(usual[2])


def test_warnings_that_the_text_calls_errors_are_its_own_and_told(compiled: Compile, tmp_path: Path) -> None:
    strict = "-compile(warnings_as_errors).\n"
    answer = compiled(bomb(tmp_path, strict + "f() -> ok."))
    assert tuple(answer[:2]) == ("ok", "demo_bomb"), answer
    assert compiled(bomb(tmp_path, strict + "f() -> X = 1, ok.")) == "demo_bomb.erl:4: variable 'X' is unused."


def test_match_specifications_are_still_made(compiled: Compile, tmp_path: Path) -> None:
    asked = '-include_lib("stdlib/include/ms_transform.hrl").\n'
    answer = compiled(bomb(tmp_path, asked + "f() -> ets:fun2ms(fun({A, B}) when A > 1 -> B end)."))
    assert tuple(answer[:2]) == ("ok", "demo_bomb"), answer
    assert b"fun2ms" not in answer[2]


@pytest.mark.parametrize(
    "condition",
    [
        "-define(EDITION, ee).\n-if(?EDITION == ee).",
        "-define(edition, ee).\n-if(?edition =:= ee).",
        '-define(EDITION, "ee").\n-if(?EDITION == "ee" andalso not defined(CE)).',
        "-define(OF(X), X == ee).\n-if(?OF(ee)).",
        "-if(?OTP_RELEASE < 20).\n-elif(?MODULE == demo_bomb).",
        "-ifdef(CE).\n-define(LEVEL, 1).\n-else.\n-define(LEVEL, 2).\n-endif.\n-if(?LEVEL > 1).",
    ],
)
def test_conditions_that_compare_macros_are_taken(compiled: Compile, tmp_path: Path, condition: str) -> None:
    answer = compiled(bomb(tmp_path, f"{condition}\nf() -> right.\n-else.\nf() -> wrong.\n-endif."))
    assert tuple(answer[:2]) == ("ok", "demo_bomb"), answer
    assert b"right" in answer[2]


def test_a_circle_of_macros_ends(compiled: Compile, tmp_path: Path) -> None:
    circle = "-define(A, ?B).\n-define(B, ?A).\n-if(?A).\n-endif.\nf() -> ok."
    assert "circular macro" in compiled(bomb(tmp_path, circle))


def test_what_begins_no_form_is_no_directive(compiled: Compile, tmp_path: Path) -> None:
    body = """
        f(N) -> N - if N > 2 -> 1 * 3; true -> length([a]) end.
        g(X) -> X - include(X) - doc({X}).
        include(X) -> X.
        doc({X}) -> X.
    """
    answer = compiled(bomb(tmp_path, body))
    assert tuple(answer[:2]) == ("ok", "demo_bomb"), answer


def test_another_helper_is_no_header(compiled: Compile, tmp_path: Path) -> None:
    (tmp_path / "demo_other.erl").write_text("-if((1 bsl 100) > 0).\n-endif.\n")
    why = "includes demo_other.erl, which is not a file of a release."
    assert compiled(bomb(tmp_path, '-include("demo_other.erl").\nf() -> ok.')) == f"demo_bomb.erl:3 {why}"


def test_some_of_many_mistakes_are_told(compiled: Compile, tmp_path: Path) -> None:
    long = f'-error("{"a" * 100_000}").\n'
    told = compiled(bomb(tmp_path, long + "".join(f"f{number}() -> g{number}().\n" for number in range(200))))
    assert len(told) < 6_000
    assert told.startswith('demo_bomb.erl:3: -error("aaa')
    assert told.endswith("more.")
