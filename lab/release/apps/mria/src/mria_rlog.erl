%% @doc The role of this node, as its configuration has it. Here both roles hold all tables.
-module(mria_rlog).
-export([role/0]).

-spec role() -> core | replicant.
role() -> application:get_env(mria, node_role, core).
