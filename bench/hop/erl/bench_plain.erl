%% The plain way: what the upstream plugin does, one module after the other and one process after the other.
-module(bench_plain).
-export([load/2, update/1]).

%% Microseconds in which modules of both releases are loaded side by side.
load(Mods, Ebin) -> timed(fun() -> [load_one(Mod, Ebin) || Mod <- Mods] end).

%% Microseconds from the first suspension to the last process that goes on. The processes are collected before.
update(Ebin) ->
    Pids = [Pid || {_, Pid, _, _} <- supervisor:which_children(bench_pool)],
    timed(fun() ->
                  [ok = sys:suspend(Pid) || Pid <- Pids],
                  load_one(bench_worker, Ebin),
                  [ok = sys:change_code(Pid, bench_worker, "", []) || Pid <- Pids],
                  [ok = sys:resume(Pid) || Pid <- Pids]
          end).

load_one(Mod, Ebin) ->
    _ = code:soft_purge(Mod),
    Path = filename:join(Ebin, atom_to_list(Mod) ++ ".beam"),
    {ok, Code} = file:read_file(Path),
    {module, Mod} = code:load_binary(Mod, Path, Code).

timed(Fun) ->
    {Microseconds, _} = timer:tc(Fun),
    Microseconds.
