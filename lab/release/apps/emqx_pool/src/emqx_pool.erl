%% @doc The pool of workers.
-module(emqx_pool).
-export([count/0, run/1, start_workers/1, workers/0]).

%% @doc Add `N' workers.
-spec start_workers(N :: non_neg_integer()) -> ok.
start_workers(N) ->
    [{ok, _} = supervisor:start_child(emqx_pool_sup, []) || _ <- lists:seq(1, N)],
    ok.

-spec count() -> non_neg_integer().
count() -> proplists:get_value(active, supervisor:count_children(emqx_pool_sup)).

-spec workers() -> [pid()].
workers() -> [Pid || {_, Pid, _, _} <- supervisor:which_children(emqx_pool_sup), is_pid(Pid)].

%% @doc Have each worker run a job; their results.
-spec run(fun(() -> Result)) -> [Result].
run(Job) -> [emqx_pool_worker:run(Pid, Job) || Pid <- workers()].
