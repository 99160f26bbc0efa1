%% @doc The commands that every node has.
-module(emqx_commands).
-export([all/0, cluster/1, stats/1, status/1]).

-spec all() -> [{Word :: string(), {module(), Fun :: atom()}}].
all() -> [{"status", {?MODULE, status}}, {"cluster", {?MODULE, cluster}}, {"stats", {?MODULE, stats}}].

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
cluster(_) ->
    usage("cluster status").

stats([]) ->
    [emqx_ctl:print("~-40ts: ~b~n", [Name, Value]) || {Name, Value} <- emqx_stats:getstats()],
    ok;
stats(_) ->
    usage("stats").

usage(Words) ->
    emqx_ctl:print("usage: ~ts~n", [Words]),
    {error, unknown_command}.
