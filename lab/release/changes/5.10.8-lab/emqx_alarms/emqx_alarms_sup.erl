-module(emqx_alarms_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Which modules the manager runs is for its handlers to say.
init([]) ->
    {ok, Interval} = application:get_env(emqx_alarms, interval),
    {ok, Limits} = application:get_env(emqx_alarms, limits),
    Children = [#{id => emqx_alarms, start => {emqx_alarms, start_link, []}, modules => dynamic},
                #{id => emqx_alarms_watch, start => {emqx_alarms_watch, start_link, [Interval, maps:from_list(Limits)]}}],
    {ok, {#{strategy => rest_for_one}, Children}}.
