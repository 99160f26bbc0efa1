%% What a hop takes: memory, and bytes on the connection to whoever asked for it.
-module(bench_meter).
-export([start/0, stop/1, sent_to/1]).

-define(EVERY, 5).

%% A process that looks at the memory in use every so many milliseconds.
start() ->
    Before = erlang:memory(total),
    spawn(fun() -> watch(Before, Before) end).

%% {Before, Peak} in bytes.
stop(Meter) ->
    Ref = monitor(process, Meter),
    Meter ! stop,
    receive {'DOWN', Ref, process, _, {memory, Before, Peak}} -> {Before, Peak} end.

watch(Before, Peak) ->
    receive stop -> exit({memory, Before, Peak})
    after ?EVERY -> watch(Before, max(Peak, erlang:memory(total)))
    end.

%% The bytes that this node has sent to a node that is connected to it.
sent_to(Node) ->
    {Node, Port} = lists:keyfind(Node, 1, erlang:system_info(dist_ctrl)),
    {ok, [{send_oct, Bytes}]} = inet:getstat(Port, [send_oct]),
    Bytes.
