-module(emqx_pool_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    Worker = #{id => emqx_pool_worker, start => {emqx_pool_worker, start_link, []}},
    {ok, {#{strategy => simple_one_for_one}, [Worker]}}.
