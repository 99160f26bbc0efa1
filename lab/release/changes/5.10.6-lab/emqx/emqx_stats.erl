%% @doc How much of what this node has now.
-module(emqx_stats).
-export([getstat/1, getstats/0]).

-spec getstat(Name :: atom()) -> non_neg_integer() | undefined.
getstat('connections.count') -> emqx_connection_sup:count();
getstat('live_connections.count') -> emqx_clients:count();
getstat('topics.count') -> lists:sum([length(pg:which_groups(Scope)) || Scope <- emqx_router:scopes()]);
getstat('uptime.seconds') -> emqx_uptime:seconds();
getstat(_) -> undefined.

-spec getstats() -> [{Name :: atom(), non_neg_integer()}].
getstats() ->
    [{Name, getstat(Name)} || Name <- ['connections.count', 'live_connections.count', 'topics.count', 'uptime.seconds']].
