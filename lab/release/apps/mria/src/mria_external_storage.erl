%% @doc Two kinds of Mnesia tables of our own: `rocksdb_copies' keeps its rows in a file of its own in Mnesia's folder,
%% `null_copies' keeps none.
%%
%% As the storage of that name in the field, it makes the name of a table's file a word of a shell command. The name of
%% a checkpoint is part of it, as Erlang writes it. So a checkpoint whose name is a binary holds `<<', for which a shell
%% waits for input without end; and whoever waits for that is the process through which all transactions go.
-module(mria_external_storage).
-behaviour(mnesia_backend_type).
-export([register/0]).
-export([add_aliases/1, check_definition/4, close_table/2, create_table/3, delete/3, delete_table/2, first/2, fixtable/3,
         index_is_consistent/3, info/3, init_backend/0, insert/3, is_index_consistent/2, last/2, load_table/4, lookup/3,
         match_delete/3, next/3, prev/3, real_suffixes/0, receive_data/5, receive_done/4, receiver_first_message/4,
         remove_aliases/1, repair_continuation/2, select/1, select/3, select/4, semantics/2, sender_init/4, slot/3,
         sync_close_table/2, tmp_suffixes/0, update_counter/4, validate_key/6, validate_record/6]).

-define(DISK, rocksdb_copies).
-define(SUFFIX, ".extrdb").

%% @doc Make the kinds known to Mnesia, on all nodes of the cluster.
-spec register() -> boolean().
register() ->
    Known = mnesia_schema:backend_types(),
    lists:all(fun(Alias) -> mnesia_schema:add_backend_type(Alias, ?MODULE) =:= {atomic, ok} end, aliases() -- Known).

aliases() -> [?DISK, null_copies].

init_backend() -> ok.

add_aliases(_) -> ok.

remove_aliases(_) -> ok.

check_definition(_, _, _, _) -> ok.

semantics(?DISK, storage) -> disc_only_copies;
semantics(_, storage) -> ram_copies;
semantics(_, types) -> [set, bag];
semantics(_, index_types) -> [bag];
semantics(_, _) -> undefined.

%% Also called for a table that is there: at each start.
create_table(_, _, _) -> ok.

%% Also called before a checkpoint has a table of its own.
delete_table(?DISK, Tab) ->
    [] = os:cmd("rm -rf " ++ file_of(Tab)),
    ok;
delete_table(_, _) ->
    ok.

load_table(?DISK, Tab, _Reason, Definition) ->
    Type = proplists:get_value(type, Definition, set),
    %% Not by the caller, with whose end it would be closed.
    {ok, _} = mnesia_monitor:open_dets(Tab, [{file, file_of(Tab)}, {keypos, 2}, {type, Type}]),
    ok;
load_table(_, _, _, _) ->
    ok.

close_table(?DISK, Tab) ->
    _ = mnesia_monitor:close_dets(Tab),
    ok;
close_table(_, _) ->
    ok.

sync_close_table(Alias, Tab) -> close_table(Alias, Tab).

file_of(Tab) -> filename:join(mnesia:system_info(directory), name(Tab) ++ ?SUFFIX).

name({Tab, retainer, Name}) -> lists:concat([name(Tab), "-", written(Name), "-_RET"]);
name({Tab, index, {Position, _}}) -> lists:concat([name(Tab), "-", Position, "-_ix"]);
name(Tab) -> atom_to_list(Tab).

written(Name) when is_list(Name) -> Name;
written(Name) -> lists:flatten(io_lib:write(Name)).

real_suffixes() -> [?SUFFIX].

tmp_suffixes() -> [].

%% Rows

insert(?DISK, Tab, Row) -> dets:insert(Tab, Row);
insert(_, _, _) -> ok.

lookup(?DISK, Tab, Key) -> dets:lookup(Tab, Key);
lookup(_, _, _) -> [].

delete(?DISK, Tab, Key) -> dets:delete(Tab, Key);
delete(_, _, _) -> ok.

match_delete(?DISK, Tab, Pattern) -> dets:match_delete(Tab, Pattern);
match_delete(_, _, _) -> ok.

update_counter(?DISK, Tab, Key, Increment) -> dets:update_counter(Tab, Key, Increment);
update_counter(_, _, _, Increment) -> Increment.

fixtable(?DISK, Tab, Fixed) -> dets:safe_fixtable(Tab, Fixed);
fixtable(_, _, _) -> true.

first(?DISK, Tab) -> dets:first(Tab);
first(_, _) -> '$end_of_table'.

next(?DISK, Tab, Key) -> dets:next(Tab, Key);
next(_, _, _) -> '$end_of_table'.

last(Alias, Tab) -> first(Alias, Tab).

prev(Alias, Tab, Key) -> next(Alias, Tab, Key).

slot(?DISK, Tab, Position) -> dets:slot(Tab, Position);
slot(_, _, _) -> '$end_of_table'.

select(Continuation) -> dets:select(Continuation).

select(?DISK, Tab, Specification) -> dets:select(Tab, Specification);
select(_, _, _) -> [].

select(?DISK, Tab, Specification, Limit) -> dets:select(Tab, Specification, Limit);
select(_, _, _, _) -> '$end_of_table'.

repair_continuation(Continuation, Specification) -> dets:repair_continuation(Continuation, Specification).

info(?DISK, Tab, memory) -> dets:info(Tab, file_size);
info(?DISK, Tab, Item) -> dets:info(Tab, Item);
info(_, _, Item) when Item =:= size; Item =:= memory -> 0;
info(_, _, _) -> undefined.

validate_key(_, _, RecName, Arity, Type, _) -> {RecName, Arity, Type}.

validate_record(_, _, RecName, Arity, Type, _) -> {RecName, Arity, Type}.

index_is_consistent(_, _, _) -> ok.

is_index_consistent(_, _) -> true.

%% No table of ours is copied between nodes: each has its own.

sender_init(_, _, _, _) -> {error, no_copies}.

receiver_first_message(_, _, _, _) -> {error, no_copies}.

receive_data(_, _, _, _, _) -> {error, no_copies}.

receive_done(_, _, _, _) -> ok.
