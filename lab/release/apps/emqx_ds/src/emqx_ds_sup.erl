-module(emqx_ds_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% Each shard is declared as a supervisor, as durable storage of the broker has it; it is none.
init([]) ->
    {ok, Shards} = application:get_env(emqx_ds, shards),
    {ok, {#{}, [#{id => {shard, N}, start => {emqx_ds_shard, start_link, [N]}, type => supervisor}
                || N <- lists:seq(1, Shards)]}}.
