%% @doc Raises an alarm when the peak of a statistic has passed its limit. It asks the dashboard, which has to run.
-module(emqx_alarms_watch).
-behaviour(gen_server).
-export([start_link/2, watched/0]).
-export([handle_call/3, handle_cast/2, handle_info/2, init/1]).

-record(watch, {interval :: pos_integer(), limits :: #{atom() => non_neg_integer()}}).

%% @doc `Interval': ms between two looks.
start_link(Interval, Limits) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, #watch{interval = Interval, limits = Limits}, []).

%% @doc The statistics that have a limit.
-spec watched() -> [Stat :: atom()].
watched() -> gen_server:call(?MODULE, watched).

init(Watch) -> {ok, look(Watch)}.

handle_call(watched, _From, #watch{limits = Limits} = Watch) -> {reply, maps:keys(Limits), Watch}.

handle_cast(_Message, Watch) -> {noreply, Watch}.

handle_info(look, Watch) -> {noreply, look(Watch)}.

%% Each alarm is raised once: its limit is then the peak that raised it.
look(#watch{interval = Interval, limits = Limits} = Watch) ->
    erlang:send_after(Interval, self(), look),
    Peaks = maps:with(maps:keys(Limits), emqx_dashboard:peaks()),
    Passed = maps:filter(fun(Stat, Peak) -> Peak > maps:get(Stat, Limits) end, Peaks),
    maps:foreach(fun emqx_alarms:raise/2, Passed),
    Watch#watch{limits = maps:merge(Limits, Passed)}.
