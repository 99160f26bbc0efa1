%% @doc Which process serves which client, on all nodes of the cluster: one process a client id.
-module(emqx_clients).
-export([count/0, take_over/1]).

%% @doc Make the calling process the client's. Those that served it until now get `taken_over'.
-spec take_over(ClientId :: binary()) -> ok.
take_over(ClientId) ->
    [Pid ! taken_over || Pid <- pg:get_members(?MODULE, ClientId), Pid =/= self()],
    pg:join(?MODULE, ClientId, self()).

%% @doc How many clients are connected to this node.
-spec count() -> non_neg_integer().
count() -> length(pg:which_local_groups(?MODULE)).
