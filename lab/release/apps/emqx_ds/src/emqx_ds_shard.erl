%% @doc The leader of a shard. It answers no question of a supervisor's, and logs each as an error.
-module(emqx_ds_shard).
-behaviour(gen_statem).
-export([start_link/1]).
-export([callback_mode/0, handle_event/4, init/1]).

-spec start_link(N :: pos_integer()) -> {ok, pid()}.
start_link(N) -> gen_statem:start_link(?MODULE, [N], []).

callback_mode() -> handle_event_function.

init([N]) -> {ok, leader, N}.

handle_event(Type, Event, leader, N) ->
    logger:error("shard ~b: unknown event ~p: ~p", [N, Type, Event]),
    keep_state_and_data.
