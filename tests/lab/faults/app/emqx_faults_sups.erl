%% A supervisor, of which there are two, that may fail when its state changes.
-module(emqx_faults_sups).
-behaviour(supervisor).
-export([start_link/1, version/0]).
-export([init/1]).

start_link(N) -> supervisor:start_link(?MODULE, [N]).

version() -> ?VERSION.

init([_]) ->
    emqx_faults_point:strike(supervisor),
    {ok, {#{}, []}}.
