%% @doc Who gets a message, on all nodes of the cluster. Subscriptions are groups of `pg', which forgets processes and
%% nodes that are gone. Filters with wildcards have a scope of their own: only they are searched for each message.
-module(emqx_router).
-export([publish/1, scopes/0, subscribe/1, unsubscribe/1]).

-define(EXACT, emqx_routes).
-define(WILDCARD, emqx_wildcard_routes).

-spec scopes() -> [atom()].
scopes() -> [?EXACT, ?WILDCARD].

%% @doc Subscribe the calling process, which must not have subscribed to the filter already.
-spec subscribe(Filter :: binary()) -> ok.
subscribe(Filter) -> pg:join(scope(Filter), Filter, self()).

-spec unsubscribe(Filter :: binary()) -> ok | not_joined.
unsubscribe(Filter) -> pg:leave(scope(Filter), Filter, self()).

%% @doc Send `{deliver, Message}' to each subscriber once, however many of its filters match.
-spec publish(emqx_frame:message()) -> ok.
publish(#{topic := Topic} = Published) ->
    ok = emqx_durable:retain(Published),
    Message = maps:remove(retain, Published),
    ok = emqx_durable:keep_for_absent(Message),
    Exact = pg:get_members(?EXACT, Topic),
    Matching = [pg:get_members(?WILDCARD, Filter) || Filter <- pg:which_groups(?WILDCARD), emqx_topic:match(Topic, Filter)],
    lists:foreach(fun(Subscriber) -> Subscriber ! {deliver, Message} end, lists:usort(lists:append([Exact | Matching]))).

scope(Filter) ->
    case emqx_topic:is_wildcard(Filter) of
        true -> ?WILDCARD;
        false -> ?EXACT
    end.
