-module(emqx_faults_gate_before).
-export([version/0]).
-on_load(loaded/0).

loaded() -> emqx_faults_point:strike(gate_before).

version() -> ?VERSION.
