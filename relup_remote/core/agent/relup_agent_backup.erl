%% Payload, shipped to hosts: how Mnesia writes a backup of which this node can be brought back alone.
%%
%% A process of its own, registered as this module, has a worker make the checkpoint and write the backup. The owner
%% (owner.erl) makes it leave when the core is gone, and keeps this module until it has ended:
%%
%%     what happens                  what it does
%%     ----------------------------  -------------------------------------------------------------------------------
%%     the worker ends               takes the checkpoint back, and says how it went
%%     stop                          ends the worker, takes the checkpoint back, and says so
%%     leave                         the same, unless it is done; then it ends
%%
%% It takes back what was begun, also where Mnesia has not come to it yet: first the worker is ended, then Mnesia's
%% transaction manager is asked something, so that all that the worker asked of it is done, then the checkpoint is taken
%% away, again and again until it is gone.
%%
%% The backup is what mnesia_backup writes, but for two things.
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

-export([tables/0, start/3, step/0, stop/0, leave/0]).
-export([open_write/1, write/2, commit_write/1, abort_write/1]).

-define(ROWS, 500).
%% How often the checkpoint is taken away until it is gone, and how long each time may take (milliseconds).
-define(TRIES, 600).
-define(TRY, 10000).
%% How long it is waited for that the process has ended (milliseconds); it may take longer.
-define(LEAVING, 5000).

%% All tables that this node has a copy of, each with its storage, and with what Mnesia takes it for.
tables() ->
    [{Table, storage(Type), mnesia_lib:semantics(Type, storage), is_tuple(Type)}
     || Table <- mnesia:system_info(local_tables), Type <- [mnesia:table_info(Table, storage_type)]].

storage({ext, Alias, _}) -> Alias;
storage(Type) -> Type.

%% -------------------------------------------------------------------------------------------- the checkpoint's process

%% Begins to write: a checkpoint of that Name of the Tables, to what File and External say (see open_write/1).
start(Name, Tables, To) ->
    Caller = self(),
    {Pid, Ref} = spawn_monitor(fun() ->
        register(?MODULE, self()),
        Caller ! {self(), started},
        begin_writing(Name, Tables, To)
    end),
    receive
        {Pid, started} -> demonitor(Ref, [flush]), ok;
        {'DOWN', Ref, process, Pid, Reason} -> exit(Reason)
    end.

%% How far it is: activating, writing, releasing or {done, Result, Gone}, where Result is what the worker came to and Gone
%% whether the checkpoint is gone; gone where there is no such process. It is looked at from outside, for it may be busy.
step() ->
    case [Dictionary || Pid <- [whereis(?MODULE)], is_pid(Pid),
                        {dictionary, Dictionary} <- [process_info(Pid, dictionary)]] of
        [Dictionary] -> proplists:get_value(step, Dictionary, activating);
        [] -> gone
    end.

stop() -> catch ?MODULE ! stop, ok.

leave() ->
    Ref = monitor(process, ?MODULE),
    catch ?MODULE ! leave,
    receive {'DOWN', Ref, process, _, _} -> ok after ?LEAVING -> demonitor(Ref, [flush]), ok end.

begin_writing(Name, Tables, To) ->
    put(step, activating),
    Self = self(),
    {Worker, Ref} = spawn_monitor(fun() -> exit(write_all(Self, Name, Tables, To)) end),
    until_done(Name, Worker, Ref).

write_all(Self, Name, Tables, {_, External} = To) ->
    %% A node that has just started loads its tables yet.
    case mnesia:wait_for_tables(Tables ++ External, infinity) of
        ok ->
            case mnesia:activate_checkpoint([{name, Name}, {min, Tables}]) of
                {ok, _, _} ->
                    Self ! {writing, self()},
                    {written, mnesia:backup_checkpoint(Name, To, ?MODULE)};
                Other ->
                    {not_activated, Other}
            end;
        Other ->
            {not_activated, Other}
    end.

until_done(Name, Worker, Ref) ->
    receive
        {writing, Worker} -> put(step, writing), until_done(Name, Worker, Ref);
        {'DOWN', Ref, process, _, Result} -> put(step, releasing), done(Result, release(Name));
        stop -> put(step, releasing), done(stopped, take_back(Name, Worker, Ref));
        leave -> take_back(Name, Worker, Ref)
    end.

done(Result, Gone) ->
    put(step, {done, Result, Gone}),
    receive leave -> ok end.

take_back(Name, Worker, Ref) ->
    %% Whoever writes for the worker is linked to it.
    Writing = case process_info(Worker, links) of
                  {links, Links} -> Links;
                  undefined -> []
              end,
    [exit(Each, kill) || Each <- [Worker | Writing], is_pid(Each)],
    receive {'DOWN', Ref, process, _, _} -> ok after ?LEAVING -> ok end,
    release(Name).

%% Whether the checkpoint is gone.
release(Name) -> release(Name, ?TRIES).

release(_, 0) -> false;
release(Name, Left) ->
    {Pid, Ref} = spawn_monitor(fun() -> mnesia_tm:get_info(5000), mnesia:deactivate_checkpoint(Name) end),
    receive {'DOWN', Ref, process, Pid, _} -> ok after ?TRY -> exit(Pid, kill) end,
    case is_gone(Name) of
        true -> true;
        false -> receive after 500 -> ok end, release(Name, Left - 1)
    end.

is_gone(Name) ->
    try not lists:member(Name, mnesia:system_info(checkpoints)) catch _:_ -> true end.

%% ------------------------------------------------------------------------------------------------ what Mnesia calls

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
