%% Changes with the others and does nothing: it is loaded in the same swap.
-module(emqx_faults_plain).
-export([version/0]).

version() -> ?VERSION.
