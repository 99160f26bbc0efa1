%% @doc What a hop asks of the applications it has restarted. `Node' is the node that the hop was read on.
-module(emqx_lab_settle).
-export([answer/2, started/2]).

%% @doc The application runs.
-spec started(Node :: node(), App :: atom()) -> ok.
started(Node, App) when Node =:= node() ->
    true = lists:keymember(App, 1, application:which_applications()),
    ok.

%% @doc The top supervisors of the applications answer, and miss no child.
-spec answer(Node :: node(), Apps :: [atom()]) -> ok.
answer(Node, Apps) when Node =:= node() -> lists:foreach(fun complete/1, Apps).

complete(App) ->
    {Supervisor, _} = application_master:get_child(application_controller:get_master(App)),
    Children = supervisor:count_children(Supervisor),
    true = proplists:get_value(active, Children) >= proplists:get_value(specs, Children).
