%% @doc What the dashboard shows.
-module(emqx_dashboard).
-export([overview/0, peaks/0, ready/0]).

%% @doc `ok' once the application can answer; exits while it is down.
-spec ready() -> ok.
ready() ->
    _ = {overview(), peaks()},
    ok.

-spec overview() -> #{Stat :: atom() => non_neg_integer()}.
overview() -> emqx_dashboard_sampler:latest().

%% @doc The highest value of each statistic since the application started.
-spec peaks() -> #{Stat :: atom() => non_neg_integer()}.
peaks() -> emqx_dashboard_peaks:all().
