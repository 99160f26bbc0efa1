%% @doc Remembers the last alarms, and when they were raised.
-module(emqx_alarms_history).
-behaviour(gen_event).
-export([code_change/3, handle_call/2, handle_event/2, init/1]).

-define(LENGTH, 1000).

%% The state is the alarms, the newest first.
init([]) -> {ok, []}.

handle_event({raised, Name, Detail, At}, Alarms) -> {ok, lists:sublist([{Name, Detail, At} | Alarms], ?LENGTH)}.

handle_call(all, Alarms) -> {ok, Alarms, Alarms}.

%% Until 5.10.4-lab alarms had no time.
code_change({down, _ToVsn}, Alarms, _Extra) -> {ok, [{Name, Detail} || {Name, Detail, _} <- Alarms]};
code_change(_FromVsn, Alarms, _Extra) -> {ok, [dated(Alarm) || Alarm <- Alarms]}.

dated({_, _, _} = Alarm) -> Alarm;
dated({Name, Detail}) -> {Name, Detail, 0}.
