-module(emqx_machine_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) -> {ok, {#{}, [#{id => emqx_machine_boot, start => {emqx_machine_boot, start_link, []}}]}}.
