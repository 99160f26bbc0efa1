%% @doc The callbacks of the hops to 5.10.6-lab, in place of the release's own. Every one may run again.
-module('emqx_post_upgrade_5.10.6-lab').
-export([add_commands/1, check_stats/2, ensure_metrics/2]).

%% @doc A node that booted an older release has a command table without the commands that are new.
-spec add_commands(FromVsn :: string()) -> ok.
add_commands(_FromVsn) ->
    lists:foreach(fun({Word, Handler}) -> ok = emqx_ctl:register_command(Word, Handler) end, emqx_commands:all()).

%% @doc Let the hop fail if a statistic that the target has is not answered.
-spec check_stats(FromVsn :: string(), Name :: atom()) -> ok.
check_stats(_FromVsn, Name) ->
    true = is_integer(emqx_stats:getstat(Name)),
    ok.

%% @doc List the counters that are new since `FromVsn'.
-spec ensure_metrics(FromVsn :: string(), Names :: [atom()]) -> ok.
ensure_metrics(_FromVsn, Names) -> emqx_metrics:ensure(Names).
