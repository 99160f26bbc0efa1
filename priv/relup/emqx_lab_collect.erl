%% @doc A step between two code changes.
-module(emqx_lab_collect).
-export([garbage/2]).

%% @doc Collect the garbage of a supervisor's children. `Node' is the node that the hop was read on.
-spec garbage(Node :: node(), Supervisor :: atom()) -> ok.
garbage(Node, Supervisor) when Node =:= node() ->
    lists:foreach(fun erlang:garbage_collect/1, [Pid || {_, Pid, _, _} <- supervisor:which_children(Supervisor), is_pid(Pid)]).
