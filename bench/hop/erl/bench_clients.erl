%% Those who notice a hop: processes that keep calling, and remember the longest that one call took.
-module(bench_clients).
-export([read/1, call/2, stop/1, releases/0]).

%% A process that calls all of the modules in turn, without a pause.
read(Mods) -> spawn(fun() -> loop(fun(Longest) -> lists:foldl(fun time_read/2, Longest, Mods) end, 0) end).

%% So many processes, each of which calls Each workers in turn, a millisecond apart.
call(Count, Each) ->
    Workers = list_to_tuple([Pid || {_, Pid, _, _} <- supervisor:which_children(bench_pool)]),
    Step = max(1, tuple_size(Workers) div (Count * Each)),
    [spawn(fun() -> loop(fun(Longest) -> lists:foldl(fun time_call/2, Longest, Mine) end, 0) end)
     || First <- lists:seq(1, Count),
        Mine <- [[element((First + Count * Step * Turn) rem tuple_size(Workers) + 1, Workers) || Turn <- lists:seq(1, Each)]]].

%% The longest call of these processes, in microseconds; they end.
stop(Clients) ->
    Asked = [{monitor(process, Client), Client ! stop} || Client <- Clients],
    lists:max([receive {'DOWN', Ref, process, _, {longest, Longest}} -> Longest end || {Ref, stop} <- Asked]).

%% All that workers run and have, each once: {release of the code, release of the state}.
releases() ->
    lists:usort([bench_worker:release(Pid) || {_, Pid, _, _} <- supervisor:which_children(bench_pool)]).

loop(Round, Longest) ->
    receive stop -> exit({longest, Longest})
    after 0 -> loop(Round, Round(Longest))
    end.

time_read(Mod, Longest) -> longest(fun() -> Mod:release() end, Longest).

time_call(Pid, Longest) ->
    Next = longest(fun() -> bench_worker:release(Pid) end, Longest),
    receive stop -> exit({longest, Next})
    after 1 -> Next
    end.

longest(Fun, Longest) -> max(element(1, timer:tc(Fun)), Longest).
