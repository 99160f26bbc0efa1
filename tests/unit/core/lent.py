"""A VM for one test after the other: it is put back in between, and replaced where that can't be done.

A start takes a quarter of a second of a processor, and then a VM loads and compiles its own modules again.
"""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relup_remote.core.erlang.distribution import BadRpc, Connection, DistributionError

from .vm import Vm, evaluate, running_vm

PATIENCE = 5.0
"""Seconds for putting it back; a new one takes less than that."""

# What is there before the first test. The timer is started for good by the first that needs it.
AS_IT_IS = """
ok = timer:start(),
{processes(), registered(), code:get_path(), [App || {App, _, _} <- application:loaded_applications()],
 application:get_all_env(kernel), {logger:get_primary_config(), logger:get_handler_ids()},
 [Id || {Id, _, _, _} <- supervisor:which_children(kernel_safe_sup)]}.
"""

# Takes away all else: processes, log handlers, applications, code not of OTP, paths, settings. Says what could not go.
# Connections of other nodes come and go by themselves. A VM that has restarted within its process is left alone.
PUT_BACK = """
fun({Processes, Names, Path, Apps, Settings, {Logger, Handlers}, Children}) ->
    [ok = logger:remove_handler(Id) || Id <- logger:get_handler_ids() -- Handlers],
    ok = logger:set_primary_config(Logger),
    true = lists:member(whereis(application_controller), Processes),
    Others = fun() ->
        [Pid || Pid <- processes() -- [self() | Processes],
            case process_info(Pid, initial_call) of
                {initial_call, {inet_tcp_dist, _, _}} -> false;
                undefined -> false;
                _ -> true
            end]
    end,
    [begin
        ok = supervisor:terminate_child(kernel_safe_sup, Id),
        ok = supervisor:delete_child(kernel_safe_sup, Id)
     end || {Id, _, _, _} <- supervisor:which_children(kernel_safe_sup), not lists:member(Id, Children)],
    (fun Kill(0) -> ok;
         Kill(Times) ->
            case Others() of
                [] -> ok;
                Left -> [exit(Pid, kill) || Pid <- Left], receive after 1 -> Kill(Times - 1) end
            end
     end)(1000),
    [begin
        application:stop(App),
        application:unload(App)
     end || {App, _, _} <- application:loaded_applications(), not lists:member(App, Apps)],
    Otp = code:root_dir(),
    Foreign = fun() ->
        [Mod || {Mod, File} <- code:all_loaded(), is_list(File), not lists:prefix(Otp, File), File =/= []]
    end,
    [begin
        code:purge(Mod),
        code:delete(Mod),
        code:purge(Mod)
     end || Mod <- Foreign()],
    true = code:set_path(Path),
    [application:unset_env(kernel, Key) || {Key, _} <- application:get_all_env(kernel) -- Settings],
    [application:set_env(kernel, Key, Value) || {Key, Value} <- Settings -- application:get_all_env(kernel)],
    Others() ++ (registered() -- Names) ++ (Names -- registered()) ++
        (Handlers -- logger:get_handler_ids()) ++ Foreign()
end.
"""


class Vms:
    """Lends a VM; all that are lent live until `end`, unless one can't be put back."""

    def __init__(self, epmd: int, folder: Path) -> None:
        self.epmd = epmd
        self._folder = folder
        self._ending = contextlib.ExitStack()
        self._free: list[tuple[Vm, Any]] = []

    @contextlib.contextmanager
    def lent(self) -> Iterator[Vm]:
        """A VM that is as after its start."""
        vm, known = self._free.pop() if self._free else self._started()
        yield vm
        # Else it is of no use to another test.
        if self._is_as_it_was(vm, known):
            self._free.append((vm, known))
        else:
            vm.process.kill()

    def _started(self) -> tuple[Vm, Any]:
        home = self._folder / secrets.token_hex(4)
        home.mkdir()
        vm = self._ending.enter_context(running_vm(self.epmd, home))
        with vm.connected() as connection:
            return vm, evaluate(connection, AS_IT_IS)

    def _is_as_it_was(self, vm: Vm, known: Any) -> bool:
        try:
            with vm.connected() as connection:
                return bool(left(connection, known) == [])
        except (DistributionError, BadRpc, AssertionError):
            return False

    def end(self) -> None:
        """End them all."""
        self._ending.close()


def left(connection: Connection, known: Any) -> Any:
    """What can't be taken away. Raises `DistributionError` or `BadRpc` where that does not end."""
    put_back = evaluate(connection, PUT_BACK)
    return connection.call("erlang", "apply", [put_back, [known]], PATIENCE)
