%% @doc Topic names and filters, after section 4.7 of MQTT 3.1.1.
-module(emqx_topic).
-export([is_filter/1, is_name/1, is_wildcard/1, match/2]).

-spec is_name(binary()) -> boolean().
is_name(Topic) -> is_text(Topic) andalso not is_wildcard(Topic).

%% @doc Whether it may be subscribed to: `+' fills a level, `#' fills the last one.
-spec is_filter(binary()) -> boolean().
is_filter(Topic) -> is_text(Topic) andalso are_levels(levels(Topic)).

-spec is_wildcard(binary()) -> boolean().
is_wildcard(Topic) -> binary:match(Topic, [<<"+">>, <<"#">>]) =/= nomatch.

%% @doc Whether a filter selects a name. A wildcard in first place does not select a name that starts with `$'.
-spec match(Name :: binary(), Filter :: binary()) -> boolean().
match(Topic, Topic) -> true;
match(<<"$", _/binary>>, <<Wildcard, _/binary>>) when Wildcard =:= $+; Wildcard =:= $# -> false;
match(Name, Filter) -> match_levels(levels(Name), levels(Filter)).

match_levels(_, [<<"#">>]) -> true;
match_levels([_ | Names], [<<"+">> | Filters]) -> match_levels(Names, Filters);
match_levels([Level | Names], [Level | Filters]) -> match_levels(Names, Filters);
match_levels([], []) -> true;
match_levels(_, _) -> false.

is_text(Topic) -> Topic =/= <<>> andalso binary:match(Topic, <<0>>) =:= nomatch.

are_levels([<<"#">>]) -> true;
are_levels([Level | Levels]) -> (Level =:= <<"+">> orelse not is_wildcard(Level)) andalso are_levels(Levels);
are_levels([]) -> true.

levels(Topic) -> binary:split(Topic, <<"/">>, [global]).
