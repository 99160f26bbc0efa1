"""The distribution protocol against real VMs: who is let in, what calls give, and what breaks them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from relup_remote.core.erlang.distribution import (
    NAMES,
    Address,
    BadRpc,
    Connection,
    DistributionError,
    NotInTime,
)
from relup_remote.core.erlang.term import Atom

from .vm import Otp, Vm, eventually, free_port, running_vm


def refusal(name: str, cookie: str, port: int, timeout: float = 10.0) -> DistributionError:
    """Why no connection came about; it never tells the cookie."""
    with pytest.raises(DistributionError) as caught:
        Connection(name, cookie, Address("127.0.0.1", port), timeout)
    assert cookie not in str(caught.value)
    return caught.value


def hidden(connection: Connection) -> set[str]:
    """The hidden nodes that a VM is connected to."""
    return set(connection.call("erlang", "nodes", [Atom("hidden")]))


# ------------------------------------------------------------------------------------------------- who is let in


def test_a_wrong_cookie_is_refused(each_vm: Vm) -> None:
    assert refusal(each_vm.name, "not-the-cookie", each_vm.port).refused


@pytest.mark.parametrize("cookie", ["caf\u00e9", "\u0416", "\udcff"])
def test_a_cookie_of_other_characters_is_not_told(each_vm: Vm, cookie: str) -> None:
    error = refusal(each_vm.name, cookie, each_vm.port)
    assert "cookie" in str(error)


def test_another_name_than_the_nodes_is_refused_by_us(each_vm: Vm) -> None:
    error = refusal("other@127.0.0.1", each_vm.cookie, each_vm.port)
    assert each_vm.name in str(error)
    assert not error.refused


def test_a_name_that_no_node_can_have(each_vm: Vm) -> None:
    assert not refusal("a@\udcff", each_vm.cookie, each_vm.port).refused


def test_a_name_that_is_taken_is_left_to_whom_it_belongs(each_vm: Vm) -> None:
    with each_vm.connected() as first, each_vm.connected() as second, each_vm.connected() as third:
        assert [one.name for one in (first, second, third)] == [f"{name}@127.0.0.1" for name in NAMES[:3]]
        assert [one.call("erlang", "node", []) for one in (first, second, third)] == [each_vm.name] * 3
        second.close()
        assert eventually(lambda: second.name not in hidden(first))
        with each_vm.connected() as fourth:
            assert fourth.name == second.name


def test_where_all_names_are_taken_the_node_is_left_alone(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    # Names of their own: the VM may not have noticed yet that those who came before have gone.
    monkeypatch.setattr("relup_remote.core.erlang.distribution.NAMES", ["relup_taken_0", "relup_taken_1"])
    with vm.connected() as first, vm.connected():
        error = refusal(vm.name, vm.cookie, vm.port)
        assert error.refused
        assert "alive" in str(error)
        assert first.call("erlang", "node", []) == vm.name


def test_cores_that_come_at_once_all_come_in(each_vm: Vm) -> None:
    """Each under a name of its own; nothing of it is in the node's log."""
    together = threading.Barrier(8)

    def come(_: int) -> Connection:
        together.wait()
        return each_vm.connect()

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(come, range(8)))
        try:
            assert len({one.name for one in found}) == 8
            assert [one.call("erlang", "hd", [[number]]) for number, one in enumerate(found)] == list(range(8))
        finally:
            for one in found:
                one.close()
        with each_vm.connected() as watcher:
            assert eventually(lambda: len(hidden(watcher)) == 1)


def test_coming_again_adds_no_atom(each_vm: Vm) -> None:
    def atoms() -> int:
        with each_vm.connected() as connection:
            return int(connection.call("erlang", "system_info", [Atom("atom_count")]))

    atoms()
    before = atoms()
    for _ in range(50):
        after = atoms()
    assert after == before


def test_a_node_that_allows_others_only_says_so(otp: Otp, epmd: int, tmp_path: Path) -> None:
    with running_vm(epmd, tmp_path, otp=otp) as vm:
        with vm.connected() as connection:
            connection.call("net_kernel", "allow", [[Atom("friend@127.0.0.1")]])
        error = refusal(vm.name, vm.cookie, vm.port)
        assert error.refused
        assert "not_allowed" in str(error)


def test_a_port_that_is_none() -> None:
    assert not refusal("a@127.0.0.1", "cookie-value", 65_536).refused


def test_a_closed_port() -> None:
    port = free_port()
    error = refusal("a@127.0.0.1", "cookie-value", port)
    assert str(port) in str(error)
    assert not error.refused


# ------------------------------------------------------------------------------------------------- calls


def test_calls_and_their_errors(each_connection: Connection) -> None:
    connection = each_connection
    assert connection.call("lists", "seq", [1, 5]) == [1, 2, 3, 4, 5]
    for function, args, reason in (
        ("error", [Atom("broken")], "broken"),
        ("exit", [Atom("gone")], "gone"),
        ("no_such_function", [], "undef"),
    ):
        with pytest.raises(BadRpc) as caught:
            connection.call("erlang", function, args)
        assert reason in repr(caught.value.reason)
    assert connection.call("erlang", "node", []) == connection.node


def test_a_value_that_is_thrown_comes_back_as_a_value(each_connection: Connection) -> None:
    assert each_connection.call("erlang", "throw", [Atom("ball")]) == "ball"


def test_what_a_call_prints_goes_to_the_node(each_connection: Connection) -> None:
    assert each_connection.call("erlang", "group_leader", []) == each_connection.call(
        "erlang", "whereis", [Atom("user")]
    )


def test_a_call_that_takes_too_long_spoils_no_other(each_connection: Connection) -> None:
    connection = each_connection
    with pytest.raises(NotInTime):
        connection.call("timer", "sleep", [500], 0.05)
    assert connection.call("erlang", "hd", [[1]]) == 1
    # The late answer comes in the middle of this one, and is dropped.
    assert connection.call("timer", "sleep", [700]) == "ok"


@pytest.mark.parametrize("size", [0, 65_536, 100_000, 1_000_000, 5_000_000])
def test_large_messages_come_whole_both_ways(each_connection: Connection, size: int) -> None:
    """We do not offer to take fragments, which a node would send for what is above 64 KB."""
    value = bytes(range(256)) * (size // 256)
    assert each_connection.call("erlang", "hd", [[value]]) == value
    structured = [(Atom("item"), number, bytes(50)) for number in range(size // 70)]
    assert each_connection.call("erlang", "hd", [[structured]]) == structured


def test_many_calls_at_once_over_connections_of_their_own(vm: Vm) -> None:
    with vm.connected() as first, vm.connected() as second:
        assert first.name != second.name
        assert {first.name, second.name} <= hidden(first)
        for number in range(50):
            assert first.call("erlang", "hd", [[number]]) == number
            assert second.call("erlang", "hd", [[-number]]) == -number


# ------------------------------------------------------------------------------------------------- coming and going


def test_nothing_of_us_stays_in_the_node(each_vm: Vm) -> None:
    with each_vm.connected() as watcher:
        with each_vm.connected() as passing:
            assert passing.name in hidden(watcher)
            assert watcher.call("erlang", "nodes", []) == []
        assert eventually(lambda: passing.name not in hidden(watcher))
        with pytest.raises(DistributionError):
            passing.call("erlang", "node", [])


def test_a_node_that_dies_in_a_call(otp: Otp, epmd: int, tmp_path: Path) -> None:
    with running_vm(epmd, tmp_path, otp=otp) as vm, vm.connected() as connection:
        with pytest.raises(DistributionError) as caught:
            connection.call("erlang", "halt", [1])
        assert not isinstance(caught.value, NotInTime)
        assert vm.process.wait() == 1
        with pytest.raises(DistributionError):
            connection.call("erlang", "node", [])


def test_a_call_may_be_longer_than_a_node_waits_for_a_silent_peer(
    otp: Otp, epmd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without our ticks the VM cuts us off after one and a half seconds at least and two and a half at most."""
    monkeypatch.setattr("relup_remote.core.erlang.distribution._TICK_INTERVAL", 0.5)
    short = ("-kernel", "net_ticktime", "2")
    with running_vm(epmd, tmp_path, *short, otp=otp) as vm, vm.connected() as connection:
        assert connection.call("timer", "sleep", [4_500]) == "ok"


def test_it_is_the_ticks_that_keep_a_connection(
    otp: Otp, epmd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relup_remote.core.erlang.distribution._TICK_INTERVAL", 60.0)
    short = ("-kernel", "net_ticktime", "2")
    with (
        running_vm(epmd, tmp_path, *short, otp=otp) as vm,
        vm.connected() as connection,
        pytest.raises(DistributionError),
    ):
        connection.call("timer", "sleep", [8_000])


def test_two_threads_may_not_mix_up_a_connection_that_ticks(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relup_remote.core.erlang.distribution._TICK_INTERVAL", 0.0005)
    with vm.connected() as connection:
        value: Any = b"x" * 200_000
        for _ in range(100):
            assert connection.call("erlang", "hd", [[value]]) == value
