-module(emqx_faults_gate_after).
-export([version/0]).
-on_load(loaded/0).

loaded() -> emqx_faults_point:strike(gate_after).

version() -> ?VERSION.
