%% No process uses it: its update, a mere load, keeps the loads on both sides of it apart.
-module(emqx_faults_spacer_b).
-export([version/0, code_change/3]).

version() -> ?VERSION.

code_change(_From, State, _Extra) -> {ok, State}.
