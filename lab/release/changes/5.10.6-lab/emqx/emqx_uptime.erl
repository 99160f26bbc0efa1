%% @doc How long this node has been up.
-module(emqx_uptime).
-export([seconds/0]).

-spec seconds() -> non_neg_integer().
seconds() -> element(1, erlang:statistics(wall_clock)) div 1000.
