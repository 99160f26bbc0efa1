%% @doc What a hop may have done when the code is new. Every callback may run again.
-module(emqx_post_upgrade).
-export([log_upgrade/1]).

-spec log_upgrade(FromVsn :: string()) -> ok.
log_upgrade(FromVsn) -> logger:notice("upgraded from ~ts to ~ts", [FromVsn, emqx_release:version()]).
