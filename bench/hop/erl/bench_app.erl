%% The application of the benchmark of hops, with a pool that can be made larger.
-module(bench_app).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1, grow/1]).

start(_, _) -> supervisor:start_link({local, bench_pool}, ?MODULE, []).

stop(_) -> ok.

init([]) ->
    Worker = #{id => worker, start => {bench_worker, start_link, []}, modules => [bench_worker]},
    {ok, {#{strategy => simple_one_for_one}, [Worker]}}.

%% Starts workers until there are Count of them.
grow(Count) ->
    Running = proplists:get_value(active, supervisor:count_children(bench_pool)),
    [{ok, _} = supervisor:start_child(bench_pool, [Id]) || Id <- lists:seq(Running + 1, Count)],
    ok.
