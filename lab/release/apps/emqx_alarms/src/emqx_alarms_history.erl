%% @doc Remembers the alarms.
-module(emqx_alarms_history).
-behaviour(gen_event).
-export([code_change/3, handle_call/2, handle_event/2, init/1]).

%% The state is the alarms, the newest first.
init([]) -> {ok, []}.

handle_event({raised, Name, Detail}, Alarms) -> {ok, [{Name, Detail} | Alarms]}.

handle_call(all, Alarms) -> {ok, Alarms, Alarms}.

code_change(_FromVsn, Alarms, _Extra) -> {ok, Alarms}.
