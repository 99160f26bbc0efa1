%% @doc Asking a node how it is.
-module(emqx).
-export([is_running/0, data_dir/0, running_nodes/0, cluster_nodes/1]).

%% @doc Whether the broker is up. The command table is the last that its supervisor starts.
-spec is_running() -> boolean().
is_running() -> is_pid(whereis(emqx_ctl)).

%% @doc The data directory as configured; a relative one is relative to the VM's working directory.
-spec data_dir() -> file:filename().
data_dir() -> application:get_env(emqx, data_dir, "data").

-spec running_nodes() -> [node()].
running_nodes() -> cluster_nodes(running).

-spec cluster_nodes(all | running | stopped) -> [node()].
cluster_nodes(all) -> lists:sort(mnesia:system_info(db_nodes));
cluster_nodes(running) -> lists:sort(mnesia:system_info(running_db_nodes));
cluster_nodes(stopped) -> cluster_nodes(all) -- cluster_nodes(running).
