%% @doc What outlives a connection, and the node: retained messages, the sessions of clients that asked for one that
%% lasts, and what came for such a client while it was away.
%%
%% Each change is a transaction. Until the tables are there nothing is kept.
-module(emqx_durable).
-export([have_tables/0, keep_for_absent/1, open/2, register_storage/0, retain/1, retained/2, subscribed/2]).

-define(TIMEOUT, 5000).

-record(emqx_retained, {topic :: binary(), message :: emqx_frame:message()}).
-record(emqx_session, {client_id :: binary(), subscriptions :: #{binary() => 0..1}}).
-record(emqx_session_message, {client_id :: binary(), at :: integer(), message :: emqx_frame:message()}).
%% Of storage other than Mnesia's own: when a client with a lasting session came to this node last, ms since the epoch,
%% and something that nobody keeps.
-record(emqx_last_seen, {client_id :: binary(), at :: integer()}).
-record(emqx_passing, {client_id :: binary(), at :: integer()}).

%% @doc Make the tables, or have copies of them; whether they are all there.
-spec have_tables() -> boolean().
have_tables() ->
    Own = [{emqx_retained, disc_copies, record_info(fields, emqx_retained), []},
           {emqx_session, disc_copies, record_info(fields, emqx_session), []},
           {emqx_session_message, disc_copies, record_info(fields, emqx_session_message), [{type, bag}]}],
    External = [{emqx_last_seen, rocksdb_copies, record_info(fields, emqx_last_seen), [{local_content, true}]},
                {emqx_passing, null_copies, record_info(fields, emqx_passing), [{local_content, true}]}],
    have(Own) andalso register_storage() andalso (not has_external() orelse have(External)).

%% @doc Make the storage of the tables known to Mnesia; whether it is.
-spec register_storage() -> boolean().
register_storage() -> not has_external() orelse mria_external_storage:register().

have(Tables) ->
    lists:all(fun({Table, Storage, Fields, Options}) ->
                  lists:member(emqx_table:have(Table, Storage, Fields, Options), [ok, {atomic, ok}])
              end,
              Tables)
        andalso mnesia:wait_for_tables([element(1, Table) || Table <- Tables], ?TIMEOUT) =:= ok.

has_external() -> application:get_env(mria, external_tables, true).

%% @doc Keep a message that is to be retained, in place of the last one of its topic; an empty one removes that.
-spec retain(emqx_frame:message()) -> ok.
retain(#{retain := true, topic := Topic, payload := <<>>}) ->
    change(fun() -> mnesia:delete({emqx_retained, Topic}) end);
retain(#{retain := true, topic := Topic} = Message) ->
    change(fun() -> mnesia:write(#emqx_retained{topic = Topic, message = Message}) end);
retain(_) ->
    ok.

%% @doc The retained messages that a filter selects, for a subscription of that QoS.
-spec retained(Filter :: binary(), 0..1) -> [emqx_frame:message()].
retained(Filter, QoS) ->
    Found = case emqx_topic:is_wildcard(Filter) of
                false -> rows(emqx_retained, Filter);
                true -> [Row || #emqx_retained{topic = Topic} = Row <- all(emqx_retained), emqx_topic:match(Topic, Filter)]
            end,
    [Message#{qos := min(QoS, Own)} || #emqx_retained{message = #{qos := Own} = Message} <- Found].

%% @doc Begin a client's session: a clean one, for which nothing is kept, or the one that lasts. Whether there was one,
%% its subscriptions, and what came for it meanwhile.
-spec open(ClientId :: binary(), Clean :: boolean()) -> {boolean(), [{binary(), 0..1}], [emqx_frame:message()]}.
open(ClientId, true) ->
    _ = rows(emqx_session, ClientId) =/= [] andalso change(fun() -> forget(ClientId) end),
    {false, [], []};
open(ClientId, false) ->
    _ = mnesia:wait_for_tables([emqx_session, emqx_session_message, emqx_retained | [emqx_last_seen || has_external()]], ?TIMEOUT),
    _ = has_external() andalso
        change(fun() -> mnesia:write(#emqx_last_seen{client_id = ClientId, at = erlang:system_time(millisecond)}) end),
    case rows(emqx_session, ClientId) of
        [] ->
            ok = change(fun() -> mnesia:write(#emqx_session{client_id = ClientId, subscriptions = #{}}) end),
            {false, [], []};
        [#emqx_session{subscriptions = Subscriptions}] ->
            Waiting = lists:keysort(#emqx_session_message.at, rows(emqx_session_message, ClientId)),
            ok = change(fun() -> mnesia:delete({emqx_session_message, ClientId}) end),
            {true, maps:to_list(Subscriptions), [Message || #emqx_session_message{message = Message} <- Waiting]}
    end.

forget(ClientId) ->
    ok = mnesia:delete({emqx_session_message, ClientId}),
    ok = mnesia:delete({emqx_session, ClientId}).

%% @doc Keep what a client is subscribed to now, if its session lasts.
-spec subscribed(ClientId :: binary(), #{binary() => 0..1}) -> ok.
subscribed(ClientId, Subscriptions) ->
    case rows(emqx_session, ClientId) of
        [] -> ok;
        _ -> change(fun() -> mnesia:write(#emqx_session{client_id = ClientId, subscriptions = Subscriptions}) end)
    end.

%% @doc Keep a message of QoS 1 for the clients with a lasting session that want it and are not connected.
-spec keep_for_absent(emqx_frame:message()) -> ok.
keep_for_absent(#{qos := 0}) ->
    ok;
keep_for_absent(#{topic := Topic} = Message) ->
    Absent = [Id || #emqx_session{client_id = Id, subscriptions = Subscriptions} <- all(emqx_session),
                    lists:any(fun({Filter, QoS}) -> QoS > 0 andalso emqx_topic:match(Topic, Filter) end,
                              maps:to_list(Subscriptions)),
                    pg:get_members(emqx_clients, Id) =:= []],
    At = erlang:unique_integer([monotonic]) + erlang:system_time(),
    lists:foreach(fun(Id) ->
                      change(fun() -> mnesia:write(#emqx_session_message{client_id = Id, at = At, message = Message}) end)
                  end,
                  Absent).

change(Change) ->
    case mnesia:transaction(Change) of
        {atomic, _} -> ok;
        {aborted, {no_exists, _}} -> ok
    end.

rows(Table, Key) ->
    try mnesia:dirty_read(Table, Key) catch exit:{aborted, {no_exists, _}} -> [] end.

all(Table) ->
    try ets:tab2list(Table) catch error:badarg -> [] end.
