-module(emqx_alarms_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Which modules the manager runs is for its handlers to say.
init([]) ->
    {ok, {#{}, [#{id => emqx_alarms, start => {emqx_alarms, start_link, []}, modules => dynamic}]}}.
