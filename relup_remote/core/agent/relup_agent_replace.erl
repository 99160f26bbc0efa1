%% Payload, shipped to hosts: ending processes whose state is no good, so that their supervisors start them afresh.
%%
%% A supervisor gives up when more of its children die than it allows for, and the node halts with the top supervisor of an
%% application that the release calls permanent. So:
%%
%%     a supervisor                           keeps the state that it has, for all below it would go with it
%%     a child that has an id                 is ended and started by its supervisor, on request: that counts as no restart
%%     a child without one, temporary         is killed; its supervisor counts nothing
%%     a child without one, not temporary     is killed as long as its supervisor allows for it; the others keep their state
%%     a process that is no supervisor's child   is killed
%%     one whose supervisor does not answer   keeps its state: nobody can tell what its death would bring
-module(relup_agent_replace).

-export([run/3]).

%% {Killed, Kept}: the processes among Pids that were ended, and those that keep their state. Above are supervisors that may
%% have them as children, and run; Ms is how long one may take to answer.
run([], _, _) -> {[], []};
run(Pids, Above, Ms) ->
    Asked = [{Sup, children(Sup, Ms)} || Sup <- lists:usort(Above)],
    Children = maps:from_list([{Pid, {Sup, Id, Type}} || {Sup, Its} <- Asked, is_list(Its), {Id, Pid, Type, _} <- Its,
                                                         is_pid(Pid)]),
    Whose = case lists:keymember(silent, 2, Asked) of true -> unknown; false -> none end,
    {Killed, Kept, _} = lists:foldl(fun(Pid, {Ended, Left, Room}) ->
                                            {Is, Now} = replace(Pid, maps:get(Pid, Children, Whose), Room, Ms),
                                            case Is of
                                                killed -> {[Pid | Ended], Left, Now};
                                                kept -> {Ended, [Pid | Left], Now}
                                            end
                                    end, {[], [], #{}}, Pids),
    {lists:reverse(Killed), lists:reverse(Kept)}.

children(Sup, Ms) ->
    case relup_agent_processes:is_supervisor(Sup) andalso asked(Sup, which_children, Ms) of
        {reply, Children} -> Children;
        timeout -> silent;
        %% No supervisor, or it is gone.
        _ -> []
    end.

%% {killed | kept, Room}; Room is how many restarts more each supervisor allows for.
replace(_, {_, _, supervisor}, Room, _) -> {kept, Room};
replace(_, unknown, Room, _) -> {kept, Room};
replace(Pid, Child, Room, Ms) ->
    case {relup_agent_processes:is_supervisor(Pid), Child} of
        {true, _} -> {kept, Room};
        {false, none} -> {killed(Pid), Room};
        {false, {Sup, undefined, _}} ->
            case maps:get(Sup, Room, unknown) of
                unknown -> replace(Pid, Child, Room#{Sup => room(Sup, Pid, Ms)}, Ms);
                0 -> {kept, Room};
                infinity -> {killed(Pid), Room};
                More -> {killed(Pid), Room#{Sup := More - 1}}
            end;
        {false, {Sup, Id, _}} -> {restarted(Sup, Id, Pid, Ms), Room}
    end.

killed(Pid) ->
    exit(Pid, kill),
    killed.

%% The supervisor has the requests before it learns of the death, and takes that for its own doing. It has both at once: one
%% that is too slow for us ends the child all the same, and must start it again.
restarted(Sup, Id, Pid, Ms) ->
    Requests = [gen_server:send_request(Sup, {What, Id}) || What <- [terminate_child, restart_child]],
    exit(Pid, kill),
    [gen_server:wait_response(Request, Ms) || Request <- Requests],
    killed.

asked(Sup, Request, Ms) -> gen_server:wait_response(gen_server:send_request(Sup, Request), Ms).

room(Sup, Pid, Ms) ->
    case asked(Sup, {get_childspec, Pid}, Ms) of
        {reply, {ok, #{restart := temporary}}} -> infinity;
        _ -> allowed(Sup, Ms)
    end.

%% A supervisor's state has had the restarts that it allows for, and those that it counts now, at these places since R13.
allowed(Sup, Ms) ->
    try sys:get_state(Sup, Ms) of
        State when element(1, State) =:= state, is_integer(element(6, State)), is_list(element(8, State)) ->
            max(0, element(6, State) - length(element(8, State)));
        _ -> 0
    catch
        exit:_ -> 0
    end.
