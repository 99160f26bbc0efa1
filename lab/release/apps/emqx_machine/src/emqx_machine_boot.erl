%% @doc Starts the applications that the boot script only loads: each after those that it needs. What the node can't do
%% without is permanent, the others are temporary.
-module(emqx_machine_boot).
-behaviour(gen_server).
-export([start_link/0, sorted_reboot_apps/0]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2]).

-define(PERMANENT, [mria, ekka, emqx]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The applications to be started are not among those that this one may wait for: the boot goes on meanwhile.
init([]) -> {ok, none, {continue, start}}.

handle_continue(start, State) ->
    [{ok, _} = application:ensure_all_started(App, type(App)) || App <- sorted_reboot_apps()],
    {noreply, State}.

handle_call(_, _, State) -> {reply, ok, State}.

handle_cast(_, State) -> {noreply, State}.

type(App) ->
    case lists:member(App, ?PERMANENT) of
        true -> permanent;
        false -> temporary
    end.

%% @doc The applications of the lists that are in this release, in the order in which they are started.
-spec sorted_reboot_apps() -> [atom()].
sorted_reboot_apps() ->
    {ok, [Lists]} = file:consult(filename:join(code:priv_dir(emqx_machine), "reboot_lists.eterm")),
    Wanted = maps:get(db_apps, Lists) ++ maps:get(common_business_apps, Lists) ++ maps:get(ee_business_apps, Lists),
    There = [App || App <- Wanted, {ok, _} <- [application:get_key(App, vsn)]],
    lists:reverse(lists:foldl(fun(App, Sorted) -> add(App, There, Sorted) end, [], There)).

%% The last comes first.
add(App, There, Sorted) ->
    case lists:member(App, Sorted) of
        true -> Sorted;
        false ->
            {ok, Needed} = application:get_key(App, applications),
            [App | lists:foldl(fun(Other, Before) -> add(Other, There, Before) end, Sorted,
                               [Other || Other <- Needed, lists:member(Other, There)])]
    end.
