-module(emqx_dashboard_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    {ok, Interval} = application:get_env(emqx_dashboard, interval),
    Children = [#{id => emqx_dashboard_peaks, start => {emqx_dashboard_peaks, start_link, []}},
                #{id => emqx_dashboard_sampler, start => {emqx_dashboard_sampler, start_link, [Interval]}}],
    {ok, {#{strategy => rest_for_one}, Children}}.
