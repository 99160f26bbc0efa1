%% The plain way: what the upstream plugin does, one module after the other and one process after the other.
%%
%% Before, a source is compiled: the plugin unpacks a tarball in the VM at that point, and our agent is compiled there, so
%% that neither finds the processes in the processor's cache.
-module(bench_plain).
-export([load/3, update/2]).

%% Microseconds in which modules of both releases are loaded side by side.
load(Mods, Ebin, Source) -> timed(Source, fun() -> [load_one(Mod, Ebin) || Mod <- Mods] end).

%% Microseconds from the first suspension to the last process that goes on. The processes are collected before.
update(Ebin, Source) ->
    Pids = [Pid || {_, Pid, _, _} <- supervisor:which_children(bench_pool)],
    timed(Source, fun() ->
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

timed(Source, Fun) ->
    {ok, _, _} = compile:file(Source, [binary]),
    {Microseconds, _} = timer:tc(Fun),
    Microseconds.
