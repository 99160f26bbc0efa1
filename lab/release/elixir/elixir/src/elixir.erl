%% @doc What `-user elixir` starts in the place of the shell.
-module(elixir).
-export([start/0]).

-spec start() -> pid().
start() -> start(list_to_integer(erlang:system_info(otp_release))).

start(Otp) when Otp >= 26 -> user_drv:start(#{initial_shell => noshell, input => false});
start(_) -> user:start_out().
