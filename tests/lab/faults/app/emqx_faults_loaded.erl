-module(emqx_faults_loaded).
-export([version/0]).
-on_load(loaded/0).

loaded() -> emqx_faults_point:strike(loaded).

version() -> ?VERSION.
