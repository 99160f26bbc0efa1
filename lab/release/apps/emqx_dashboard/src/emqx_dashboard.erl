%% @doc What the dashboard shows.
-module(emqx_dashboard).
-export([overview/0, ready/0]).

%% @doc `ok' once the application can answer; exits while it is down.
-spec ready() -> ok.
ready() ->
    _ = overview(),
    ok.

-spec overview() -> #{Stat :: atom() => non_neg_integer()}.
overview() -> emqx_dashboard_sampler:latest().
