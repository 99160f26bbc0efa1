%% @doc The pool of workers.
-module(emqx_pool).
-export([count/0, resize/1, run/1, workers/0]).

%% @doc Have `N' workers, by starting or stopping some.
-spec resize(N :: non_neg_integer()) -> ok.
resize(N) ->
    Workers = workers(),
    [{ok, _} = supervisor:start_child(emqx_pool_sup, []) || _ <- lists:seq(length(Workers) + 1, N)],
    lists:foreach(fun(Pid) -> ok = supervisor:terminate_child(emqx_pool_sup, Pid) end, lists:nthtail(min(N, length(Workers)), Workers)).

-spec count() -> non_neg_integer().
count() -> proplists:get_value(active, supervisor:count_children(emqx_pool_sup)).

-spec workers() -> [pid()].
workers() -> [Pid || {_, Pid, _, _} <- supervisor:which_children(emqx_pool_sup), is_pid(Pid)].

%% @doc Have each worker run a job; their results.
-spec run(fun(() -> Result)) -> [Result].
run(Job) -> [emqx_pool_worker:run(Pid, Job) || Pid <- workers()].
