%% @doc The commands that every node has.
-module(emqx_commands).
-export([all/0, cluster/1, metrics/1, stats/1, status/1]).

-spec all() -> [{Word :: string(), {module(), Fun :: atom()}}].
all() -> [{atom_to_list(Fun), {?MODULE, Fun}} || Fun <- [status, cluster, stats, metrics]].

status([]) ->
    State = case emqx:is_running() of
                true -> "started";
                false -> "stopped"
            end,
    emqx_ctl:print("Node '~ts' ~ts is ~ts~n", [node(), emqx_release:version(), State]);
status(_) ->
    usage("status").

cluster(["status"]) ->
    emqx_ctl:print("Cluster status: ~0p~n", [#{running_nodes => emqx:running_nodes(), stopped_nodes => emqx:cluster_nodes(stopped)}]);
cluster(["members"]) ->
    [emqx_ctl:print("~ts joined at ~ts~n", [Node, calendar:system_time_to_rfc3339(At, [{unit, millisecond}])])
     || {Node, At} <- maps:to_list(emqx_cluster:joined_at())],
    ok;
cluster(_) ->
    usage("cluster status | members").

stats([]) ->
    table(emqx_stats:getstats());
stats(_) ->
    usage("stats").

metrics([]) ->
    table(maps:to_list(emqx_metrics:all()));
metrics(_) ->
    usage("metrics").

table(Rows) -> lists:foreach(fun({Name, Value}) -> emqx_ctl:print("~-40ts: ~b~n", [Name, Value]) end, Rows).

usage(Words) ->
    emqx_ctl:print("usage: ~ts~n", [Words]),
    {error, unknown_command}.
