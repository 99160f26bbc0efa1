%% Payload, shipped to hosts: how Mnesia writes a backup of which this node can be brought back alone.
%%
%% It writes what mnesia_backup writes, but for the schema's cookie. Mnesia gives each backup a new one, so that a node
%% started from it would not be let in by the others of its cluster, nor would they by each other, each started from its
%% own. With the cookie that the schema has, such a node is to them one that was down for a while.
-module(relup_agent_backup).

-export([open_write/1, write/2, commit_write/1, abort_write/1]).

open_write(File) -> mnesia_backup:open_write(File).

write(Data, Items) -> mnesia_backup:write(Data, [known(Item) || Item <- Items]).

commit_write(Data) -> mnesia_backup:commit_write(Data).

abort_write(Data) -> mnesia_backup:abort_write(Data).

known({schema, schema, Definition}) ->
    Cookie = mnesia:table_info(schema, cookie),
    {schema, schema, lists:keystore(cookie, 1, Definition, {cookie, Cookie})};
known(Item) ->
    Item.
