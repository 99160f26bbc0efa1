%% @doc What may be typed in a shell of the node: all but what would end it.
-module(emqx_restricted_shell).
-export([local_allowed/3, non_local_allowed/3]).

local_allowed(q, _Args, State) -> {false, State};
local_allowed(_Function, _Args, State) -> {true, State}.

non_local_allowed({Module, Function}, _Args, State)
  when Module =:= init, Function =/= get_argument; Module =:= erlang, Function =:= halt; Module =:= c, Function =:= q ->
    {false, State};
non_local_allowed(_Function, _Args, State) -> {true, State}.
