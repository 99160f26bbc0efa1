-module(emqx_sup).
-behaviour(supervisor).
-export([start_link/0]).
-export([boot/1, init/1]).

start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

init([]) ->
    {ok, Listener} = application:get_env(emqx, listener),
    {ok, Seeds} = application:get_env(emqx, seeds),
    Scopes = [#{id => Scope, start => {pg, start_link, [Scope]}} || Scope <- emqx_router:scopes() ++ [emqx_clients]],
    {ok, Seconds} = application:get_env(emqx, boot_seconds),
    Boot = [#{id => boot, start => {?MODULE, boot, [Seconds]}, restart => temporary} || Seconds > 0],
    Children = [#{id => emqx_metrics, start => {emqx_metrics, start_link, []}},
                #{id => emqx_cluster, start => {emqx_cluster, start_link, [Seeds]}},
                #{id => emqx_connection_sup, start => {emqx_connection_sup, start_link, []}, type => supervisor},
                #{id => emqx_listener, start => {emqx_listener, start_link, [Listener]}}],
    Last = [#{id => emqx_ctl, start => {emqx_ctl, start_link, []}}],
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, Scopes ++ Children ++ Boot ++ Last}}.

%% The boot of a big release takes its time.
boot(Seconds) ->
    timer:sleep(1000 * Seconds),
    ignore.
