"""The two ways to a node, and which one is taken."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.erlang.link import (
    CallFailed,
    Link,
    Peer,
    WrapperLink,
    connect,
    epmd_port,
    fixed_port,
    show,
)
from relup_remote.core.erlang.term import Atom, Export, ImproperList, Map, Opaque
from relup_remote.core.protocol import Failure

from .vm import Vm, eventually, free_port

EVAL = """#!/bin/sh
[ "$1" = eval ] || exit 2
EXPRESSION="$2." exec erl -noshell -noinput -eval '
    {ok, Tokens, _} = erl_scan:string(os:getenv("EXPRESSION")),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    io:format("~p~n", [Value]),
    halt().'
"""


def script(path: Path, text: str) -> str:
    """An executable of that text."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def wrapper(tmp_path: Path) -> str:
    """A stand-in for a node's wrapper: it evaluates as the real one does, in a VM of its own."""
    return script(tmp_path / "emqx", EVAL)


def peer_of(vm: Vm, wrapper: str = "/nonexistent", listening: list[int] | None = None) -> Peer:
    peer = Peer(
        vm.name,
        vm.cookie,
        wrapper,
        lambda: [("127.0.0.1", port) for port in ([vm.port] if listening is None else listening)],
    )
    peer.epmd_port = vm.epmd
    return peer


@pytest.fixture(params=["distribution", "wrapper"])
def link(request: pytest.FixtureRequest, vm: Vm, wrapper: str) -> Iterator[Link]:
    """Each kind of link in turn."""
    found = connect(peer_of(vm)) if request.param == "distribution" else WrapperLink(wrapper)
    assert found.kind == request.param
    yield found
    found.close()


# ------------------------------------------------------------------------------------------------- one interface


@pytest.mark.parametrize("value", [1, "été", b"\xff" * 5000, {Atom("a"): [1.5, (Atom("b"), -(1 << 70))]}], ids=type)
def test_a_call_gives_what_the_function_returns(link: Link, value: Any) -> None:
    assert link.call("erlang", "hd", [[value]]) == ([233, 116, 233] if value == "été" else value)


@pytest.mark.parametrize(
    ("function", "args", "reason"), [("error", [Atom("broken")], "broken"), ("missing", [1], "undef")]
)
def test_a_call_that_fails_in_the_vm(link: Link, function: str, args: list[Any], reason: str) -> None:
    with pytest.raises(CallFailed) as caught:
        link.call("erlang", function, args)
    assert caught.value.err_type == "call_failed"
    assert f"erlang:{function}/1" in caught.value.message
    assert reason in caught.value.detail["reason"]
    assert link.attempt("erlang", function, args, "default") == "default"
    assert link.attempt("erlang", "hd", [[1]], "default") == 1


def test_what_does_not_answer_in_the_vm_is_no_default(link: Link) -> None:
    assert link.attempt("erlang", "no_such_function", [], 7) == 7
    assert link.attempt("gen_server", "call", [Atom("nobody"), Atom("x"), 10], 7) == 7
    with pytest.raises(Failure, match="gen_server:call/3 asks a process that does not answer") as caught:
        link.attempt("gen_server", "call", [Atom("init"), Atom("x"), 10], 7)
    assert caught.value.err_type == "call_timeout"


def test_a_call_that_takes_too_long(vm: Vm) -> None:
    found = connect(peer_of(vm))
    with pytest.raises(Failure) as caught:
        found.call("timer", "sleep", [300], 0.01)
    assert caught.value.err_type == "call_timeout"
    assert found.call("erlang", "node", []) == vm.name
    found.close()
    with pytest.raises(Failure) as caught:
        found.call("erlang", "node", [])
    assert caught.value.err_type == "node_unreachable"


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho 'Node is not running!'\n",
        "#!/bin/sh\necho '<<\"YQ\">>'\n",
        "#!/bin/sh\necho '<<\"YWFh\">>'\n",
        "#!/bin/sh\necho '<<\"g2EB\">>'\n",
        "no program",
    ],
    ids=["fails", "no value", "no base64", "no term", "no outcome", "not executable"],
)
def test_a_wrapper_that_gives_no_value(tmp_path: Path, text: str) -> None:
    with pytest.raises(Failure) as caught:
        WrapperLink(script(tmp_path / "emqx", text)).call("erlang", "node", [])
    assert caught.value.err_type == "node_unreachable"


def test_what_a_wrapper_says_that_gives_no_value_is_told_but_not_the_cookie(tmp_path: Path) -> None:
    text = "#!/bin/sh\necho 'its cookie is hush-hush'\necho 'no node answers to hush-hush' >&2\nexit 1\n"
    with pytest.raises(Failure, match="gave no value: no node answers to …") as caught:
        WrapperLink(script(tmp_path / "emqx", text), "hush-hush").call("erlang", "node", [])
    assert caught.value.detail == {"status": 1, "said": "its cookie is …\nno node answers to …"}


def test_a_wrapper_may_say_what_it_likes_before_the_value(tmp_path: Path, wrapper: str) -> None:
    text = f"""#!/bin/sh\necho 'WARNING <<"g2EB">> <<"not base64">>'\nexec {wrapper} "$@"\n"""
    assert WrapperLink(script(tmp_path / "noisy", text)).call("lists", "reverse", [[1, 2]]) == [2, 1]


def test_a_wrapper_that_prints_without_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relup_remote.core.erlang.link._MOST_PRINTED", 4 << 20)
    with pytest.raises(Failure, match=r"printed more than 4 MB") as caught:
        WrapperLink(script(tmp_path / "emqx", "#!/bin/sh\nyes\n")).call("erlang", "node", [])
    assert caught.value.err_type == "node_unreachable"


def test_what_a_wrapper_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relup_remote.core.erlang.link._STARTING", 0.0)
    text = f"#!/bin/sh\nsleep 600 &\necho $! >{tmp_path}/pid\nwait\n"
    with pytest.raises(Failure) as caught:
        WrapperLink(script(tmp_path / "emqx", text)).call("erlang", "node", [], 2.0)
    assert caught.value.err_type == "call_timeout"
    status = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    assert eventually(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z")


# ------------------------------------------------------------------------------------------------- which way


def test_epmd_knows_the_port(vm: Vm) -> None:
    assert epmd_port(vm.name.partition("@")[0], vm.epmd) == vm.port
    assert epmd_port("nobody", vm.epmd) is None
    assert epmd_port("nobody", free_port()) is None


@pytest.mark.parametrize(
    ("name", "base", "port"),
    [
        ("emqx@h", 4370, 4370),
        ("emqx1@h", 4370, 4371),
        ("emqx12@10.0.0.34", 4370, 4382),
        ("3emqx@h", 4370, 4370),
        ("emqx007@h", 4370, 4377),
        ("emqx59999@h", 4370, 64369),
        ("emqx60000@h", 4370, 4370),
        ("emqx60001@h", 4370, 4371),
        ("emqx2@h", 5000, 5002),
        ("emqx", 4370, 4370),
    ],
)
def test_the_port_of_a_node_without_epmd(name: str, base: int, port: int) -> None:
    assert fixed_port(name, base) == port


def test_a_node_without_epmd_is_found_by_its_fixed_port(vm: Vm) -> None:
    peer = peer_of(vm)
    peer.uses_epmd = False
    peer.port_base = vm.port - (fixed_port(vm.name, 0))
    found = connect(peer)
    assert found.call("erlang", "node", []) == vm.name
    found.close()


def test_a_node_on_another_port_is_found_by_where_it_listens(vm: Vm) -> None:
    peer = peer_of(vm, listening=[free_port(), vm.epmd, vm.port])
    peer.epmd_port = free_port()
    found = connect(peer, 2.0)
    assert found.kind == "distribution"
    found.close()


@pytest.mark.parametrize("change", ["cookie", "options_file"])
def test_where_the_direct_way_is_shut_the_wrapper_is_taken(vm: Vm, wrapper: str, change: str, tmp_path: Path) -> None:
    peer = peer_of(vm, wrapper)
    if change == "cookie":
        peer.cookie = "not-the-cookie"
    else:
        peer.protocol, peer.options_file = "inet_tls", str(tmp_path / "absent.conf")
    link = connect(peer)
    assert link.kind == "wrapper"
    assert {"cookie": "cookie", "options_file": "absent.conf"}[change] in link.why


def test_where_no_way_is_open_all_that_was_tried_is_told_but_not_the_cookie(vm: Vm, tmp_path: Path) -> None:
    broken = script(tmp_path / "emqx", "#!/bin/sh\nexit 1\n")
    closed, other = free_port(), free_port()
    peer = peer_of(vm, broken, [closed, other])
    peer.epmd_port = free_port()
    with pytest.raises(Failure) as caught:
        connect(peer)
    failure = caught.value
    assert failure.err_type == "node_unreachable"
    assert failure.detail["node"] == vm.name
    assert [step.get("port", step.get("wrapper")) for step in failure.detail["tried"]] == [closed, other, broken]
    assert all(step["reason"] for step in failure.detail["tried"])
    assert vm.cookie not in f"{failure} {failure.to_json()} {peer!r}"


def test_a_wrong_cookie_is_not_tried_again_and_not_told(vm: Vm) -> None:
    peer = peer_of(vm, listening=[vm.port, vm.epmd])
    peer.cookie = "secret-but-wrong"
    with pytest.raises(Failure) as caught:
        connect(peer)
    assert [step["port"] for step in caught.value.detail["tried"]] == [vm.port]
    assert "secret-but-wrong" not in f"{caught.value} {caught.value.to_json()}"


def test_a_wrapper_that_may_not_be_run_is_not_tried(vm: Vm, wrapper: str) -> None:
    Path(wrapper).chmod(stat.S_IRUSR)
    peer = peer_of(vm, wrapper, [])
    peer.epmd_port = free_port()
    with pytest.raises(Failure) as caught:
        connect(peer)
    assert caught.value.detail["tried"] == []


@pytest.mark.parametrize("planted", [True, False], ids=["by another user", "by nobody"])
def test_a_port_that_is_not_the_nodes_is_shown_no_digest(vm: Vm, wrapper: str, planted: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        peer = peer_of(vm, wrapper, [])
        peer.uses_epmd, peer.port_base = False, port - fixed_port(vm.name, 0)
        if planted:
            peer.others = lambda: [("127.0.0.1", port)]
            with pytest.raises(Failure) as caught:
                connect(peer)
            assert caught.value.err_type == "untrusted_process"
            assert caught.value.detail["port"] == port
        else:
            assert connect(peer).kind == "wrapper"
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_node_is_reached_where_it_listens_though_another_claims_its_port(vm: Vm) -> None:
    peer = peer_of(vm)
    peer.uses_epmd, peer.port_base = False, free_port() - fixed_port(vm.name, 0)
    peer.others = lambda: [("127.0.0.1", fixed_port(vm.name, peer.port_base))]
    found = connect(peer)
    assert found.kind == "distribution"
    found.close()


# ------------------------------------------------------------------------------------------------- for the eye


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Atom("ok"), "ok"),
        (Atom("a@b"), "a@b"),
        (Atom("Hello world"), "'Hello world'"),
        ([104, 105], '"hi"'),
        ([], "[]"),
        ([1, [Atom("a")]], "[1,[a]]"),
        (b"hi", '<<"hi">>'),
        ((Atom("error"), 1.5), "{error,1.5}"),
        ({Atom("a"): ()}, "#{a=>{}}"),
        (Map([([], 1)]), "#{[]=>1}"),
        (ImproperList([1, 2], Atom("t")), "[1,2|t]"),
        (Export(Atom("m"), Atom("F"), 1), "fun m:'F'/1"),
        (Atom("a\n"), "'a\n'"),
        (Opaque("pid", b"X"), "<pid>"),
        ([7] * 3000, "[7,7,7,"),
    ],
)
def test_show(value: Any, shown: str) -> None:
    assert show(value).startswith(shown)
    assert len(show(value)) <= 2001


def test_terms_that_python_would_not_write_out_are_shown() -> None:
    assert show([-(1 << 40_000)]).startswith("[-16#1000")
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert "deep" in show(deep)
