-module(emqx_faults_app).
-behaviour(application).
-export([prep_stop/1, start/2, stop/1]).

start(_Type, _Args) ->
    emqx_faults_point:strike(start),
    emqx_faults_sup:start_link().

prep_stop(State) ->
    emqx_faults_point:strike(stop),
    State.

stop(_State) -> ok.
