%% @doc Tables of the cluster, of which every node has a copy.
-module(emqx_table).
-export([have/4]).

%% @doc Make the table, or a copy on this node of the one that there is.
-spec have(atom(), Storage :: atom(), [atom()], Options :: [term()]) -> ok | {atomic, ok} | {aborted, term()}.
have(Table, Storage, Fields, Options) ->
    case lists:member(Table, mnesia:system_info(tables)) andalso holders(Table, Storage) of
        false ->
            mnesia:create_table(Table, [{Storage, [node()]}, {attributes, Fields} | Options]);
        Holders ->
            case lists:member(node(), Holders) of
                true -> ok;
                false -> mnesia:add_table_copy(Table, node(), Storage)
            end
    end.

holders(Table, Storage) when Storage =:= ram_copies; Storage =:= disc_copies ->
    mnesia:table_info(Table, Storage);
holders(Table, _) ->
    lists:append([Nodes || {{_, _}, Nodes} <- mnesia:table_info(Table, external_copies)]).
