-module(emqx_faults_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    Worker = fun(N) ->
        #{id => N, start => {emqx_faults_worker, start_link, [N]}, modules => [emqx_faults_worker], shutdown => brutal_kill}
    end,
    Below = fun(N) -> #{id => {below, N}, start => {emqx_faults_sups, start_link, [N]}, type => supervisor} end,
    {ok, {#{strategy => one_for_one, intensity => 10, period => 1},
          [Worker(N) || N <- lists:seq(1, 4)] ++ [Below(N) || N <- [1, 2]]}}.
