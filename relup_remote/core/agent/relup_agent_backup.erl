%% Payload, shipped to hosts: how Mnesia writes a backup of which this node can be brought back alone.
%%
%% It writes what mnesia_backup writes, but for two things.
%%
%% The schema's cookie: Mnesia gives each backup a new one, so that a node started from it would not be let in by the
%% others of its cluster, nor would they by each other, each started from its own. With the cookie that the schema has,
%% such a node is to them one that was down for a while.
%%
%% Tables of external storage (mnesia_schema:add_backend_type/2): they are in no checkpoint, because Mnesia would have
%% their storage make a table of its own for it, inside the process through which all transactions go. What code of
%% others does there may block the node. So their rows are read one after the other here, by a process that nobody waits
%% for, once all other tables are written.
-module(relup_agent_backup).

-export([tables/0, open_write/1, write/2, commit_write/1, abort_write/1]).

-define(ROWS, 500).

%% All tables that this node has a copy of, each with its storage, and with what Mnesia takes it for.
tables() ->
    [{Table, storage(Type), mnesia_lib:semantics(Type, storage), is_tuple(Type)}
     || Table <- mnesia:system_info(local_tables), Type <- [mnesia:table_info(Table, storage_type)]].

storage({ext, Alias, _}) -> Alias;
storage(Type) -> Type.

%% File is the one to write, External the tables whose rows are to be read.
open_write({File, External}) ->
    {ok, Data} = mnesia_backup:open_write(File),
    {ok, {External, Data}}.

write({External, Data}, Items) ->
    kept(External, mnesia_backup:write(Data, [known(Item) || Item <- Items])).

commit_write({External, Data}) ->
    case rows_of(External, Data) of
        {ok, Last} -> mnesia_backup:commit_write(Last);
        Error -> Error
    end.

abort_write({_, Data}) -> mnesia_backup:abort_write(Data).

kept(External, {ok, Data}) -> {ok, {External, Data}};
kept(_, Error) -> Error.

known({schema, schema, Definition}) ->
    Cookie = mnesia:table_info(schema, cookie),
    {schema, schema, lists:keystore(cookie, 1, Definition, {cookie, Cookie})};
known(Item) ->
    Item.

rows_of([], Data) ->
    {ok, Data};
rows_of([Table | Tables], Data) ->
    All = [{'_', [], ['$_']}],
    try mnesia:async_dirty(fun() -> more(mnesia:select(Table, All, ?ROWS, read), Table, Data) end) of
        {ok, Next} -> rows_of(Tables, Next);
        Error -> Error
    catch
        _:Reason -> {error, {Table, Reason}}
    end.

more('$end_of_table', _, Data) ->
    {ok, Data};
more({Rows, Continuation}, Table, Data) ->
    case mnesia_backup:write(Data, [setelement(1, Row, Table) || Row <- Rows]) of
        {ok, Next} -> more(mnesia:select(Continuation), Table, Next);
        Error -> Error
    end.
