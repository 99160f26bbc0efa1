%% @doc What a hop may have done when the code is new. Every callback may run again.
-module(emqx_post_upgrade).
-export([ensure_metrics/2, log_upgrade/1]).

-spec log_upgrade(FromVsn :: string()) -> ok.
log_upgrade(FromVsn) -> logger:notice("upgraded from ~ts to ~ts", [FromVsn, emqx_release:version()]).

%% @doc List the counters that are new in this release.
-spec ensure_metrics(FromVsn :: string(), Names :: [atom()]) -> ok.
ensure_metrics(_FromVsn, Names) -> emqx_metrics:ensure(Names).
