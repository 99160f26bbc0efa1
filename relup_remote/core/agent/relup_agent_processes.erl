%% Payload, shipped to hosts: the VM's processes: which a module has, which stand still, which run old code; and
%% changing the state of many of them in the shortest time.
-module(relup_agent_processes).

-export([supervised/2, tree/2, old_code_users/1, is_suspended/1, within/2]).
-export([change/2, resume/2]).

-import(relup_agent_text, [text/2, process/1]).

%% For a process that may be an event manager to tell its handlers.
-define(MODULES_TIMEOUT, 500).

%% ------------------------------------------------------------------------------------------------- looking

%% {[{Mod, Supervisor, Pid}], [Problem]}: the processes whose child specification lists one of the modules, or that
%% answer get_modules with it. A problem is {Type, Format, Args}: a supervisor that can't be asked, within Ms.
supervised(Mods, Ms) ->
    Roots = [Sup || {App, _, _} <- application:which_applications(), Sup <- top_supervisor(App)],
    split([Found || Sup <- Roots, Found <- walk(Sup, Mods, Ms)]).

%% The same for the processes of one application, all modules; what counts of it are the problems.
tree(App, Ms) -> split([Found || Sup <- top_supervisor(App), Found <- walk(Sup, [], Ms)]).

split(Found) ->
    {Problems, Children} = lists:partition(fun({What, _}) -> What =:= problem end, Found),
    {[Child || {child, Child} <- Children], [Problem || {problem, Problem} <- Problems]}.

top_supervisor(App) ->
    case application_controller:get_master(App) of
        Master when is_pid(Master) ->
            case application_master:get_child(Master) of
                {Sup, _} when is_pid(Sup) -> [Sup];
                _ -> []
            end;
        undefined -> []
    end.

walk(Sup, Mods, Ms) ->
    case children(Sup, Ms) of
        {problem, _} = Problem -> [Problem];
        Children ->
            [{child, {Mod, Sup, Pid}} || {_, Pid, _, Listed} = Child <- Children, is_pid(Pid), Listed =/= [],
                                         Mod <- modules_of(Child, Mods), lists:member(Mod, Mods)] ++
                [Found || {_, Pid, supervisor, _} <- Children, is_pid(Pid), Found <- walk(Pid, Mods, Ms)]
    end.

modules_of({_, Pid, worker, dynamic}, [_ | _]) -> get_modules(Pid);
modules_of({_, _, _, Mods}, _) when is_list(Mods) -> Mods;
modules_of(_, _) -> [].

children(Sup, Ms) ->
    case {is_suspended(Sup), is_supervisor(Sup)} of
        {true, _} -> {problem, {suspended_supervisor, "The supervisor ~ts is suspended.", [name(Sup)]}};
        {false, false} -> [];
        {false, true} ->
            try gen_server:call(Sup, which_children, Ms)
            catch exit:{noproc, _} -> [];
                  exit:{Why, _} -> {problem, {which_children_failed, "The supervisor ~ts does not answer: ~0tP.", [name(Sup), Why, 6]}}
            end
    end.

name(Pid) ->
    case process(Pid) of
        #{name := <<>>} -> text("~p", [Pid]);
        #{name := Name} -> Name
    end.

%% An application's top process need not be a supervisor; asking it for children could then hurt it.
is_supervisor(Pid) ->
    case proc_lib:translate_initial_call(Pid) of
        {supervisor, _, _} -> true;
        {supervisor_bridge, _, _} -> false;
        _ ->
            case process_info(Pid, dictionary) of
                {dictionary, Dict} -> is_supervisor_call(proplists:get_value('$initial_call', Dict));
                undefined -> false
            end
    end.

is_supervisor_call({supervisor, _, _}) -> true;
is_supervisor_call(_) -> false.

%% Event managers answer this with their handlers; for others it is a message like any other, to which they owe nothing.
get_modules(Pid) ->
    try gen:call(Pid, self(), get_modules, ?MODULES_TIMEOUT) of
        {ok, Mods} when is_list(Mods) -> Mods;
        _ -> []
    catch
        exit:_ -> []
    end.

is_suspended(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {sys, Loop, _}} -> Loop =:= suspend_loop orelse Loop =:= suspend_loop_hib;
        _ -> false
    end.

%% The processes in old code of Mod: those that a load would kill.
old_code_users(Mod) ->
    case erlang:check_old_code(Mod) of
        false -> [];
        true -> [Pid || Pid <- processes(), Pid =/= self(), runs_old(Pid, Mod)]
    end.

runs_old(Pid, Mod) ->
    try erlang:check_process_code(Pid, Mod, [{allow_gc, false}]) =/= false catch error:_ -> false end.

%% {ok, Value} or {error, Reason}: Fun in a process of its own, killed after Ms.
within(Ms, Fun) ->
    {Pid, Ref} = spawn_monitor(fun() -> exit({value, Fun()}) end),
    receive
        {'DOWN', Ref, process, Pid, {value, Value}} -> {ok, Value};
        {'DOWN', Ref, process, Pid, Reason} -> {error, Reason}
    after Ms ->
        exit(Pid, kill),
        receive {'DOWN', Ref, process, Pid, _} -> {error, timeout} end
    end.

%% ------------------------------------------------------------------------------------------------- changing

%% Suspends all, swaps the module, changes the state of one process, and if that works of all others; each goes on as soon
%% as it has changed. What fails in the first would fail in all, and with none changed all can be taken back.
%%
%% #{mod, pids, sups, swap (fun), message (the change_code message), timeout (milliseconds for one answer), note (fun that
%% tells the coordinator what is about to happen)}. Returns {Changed, Microseconds in which processes stood still,
%% [{Pid, Why}] of those that failed, which stand still yet}. Throws {suspend_failed | code_change_failed, Format, Args}:
%% then nothing has changed, and those suspended are the caller's to resume.
change(#{sups := Sups, pids := Pids} = Update, Ms) ->
    #{mod := Mod, swap := Swap, message := Message, note := Note} = Update,
    Start = now_us(),
    Note({suspending, Sups ++ Pids}),
    %% A child that started after the look would keep an old state: its supervisor stands still as well.
    suspended(ask_all(Sups, suspend, Ms)),
    Late = late_children(Sups, Mod, Pids),
    Note({suspending, Late}),
    Hands = hands(Late ++ Pids, Ms),
    [suspended(answer(Hand)) || Hand <- Hands],
    Swap(),
    {Ready, Changed} = change_first(Late ++ Pids, Message, Note, Ms),
    [Hand ! {change, Message, Ready} || Hand <- Hands],
    Answers = [answer(Hand) || Hand <- Hands],
    _ = ask_all(Sups, resume, Ms),
    Window = now_us() - Start,
    Note(resumed),
    {Changed + lists:sum([Done || {Done, _} <- Answers]), Window, lists:append([Bad || {_, Bad} <- Answers])}.

suspended({_, []}) -> ok;
suspended({_, [{Pid, Why} | _]}) -> throw({suspend_failed, "~p could not be suspended: ~0tp.", [Pid, Why]}).

%% Children that a suspended supervisor can't tell of: it is linked to them, and they were born as Mod's.
late_children(Sups, Mod, Known) ->
    Links = [Pid || Sup <- Sups, {links, Linked} <- [process_info(Sup, links)], Pid <- Linked, is_pid(Pid)],
    [Pid || Pid <- Links -- Known, element(1, proc_lib:translate_initial_call(Pid)) =:= Mod].

%% {the processes that need no change any more, how many of them have changed}.
change_first([], _, _, _) -> {[], 0};
change_first([Pid | Rest], Message, Note, Ms) ->
    Note({changing, Pid}),
    case ask_all([Pid], Message, Ms) of
        {1, []} ->
            Note({changing, all}),
            _ = ask_all([Pid], resume, Ms),
            {[Pid], 1};
        {0, []} ->
            {Gone, Changed} = change_first(Rest, Message, Note, Ms),
            {[Pid | Gone], Changed};
        {0, [{Pid, Why}]} ->
            %% One that does not answer is in the middle of it yet.
            Why =:= timeout orelse Note({changing, none}),
            throw({code_change_failed, "~p: ~0tP", [Pid, Why, 20]})
    end.

%% ---------------------------------------------------------------------- many at once

%% Processes that suspend a share of Pids each, and then wait to be told {change, Message, But}: to change and resume all
%% but those. Each answers twice, as ask_all does. They end with their maker.
hands(Pids, Ms) ->
    Self = self(),
    [begin
         Size = 64 * length(Share),
         spawn_opt(fun() -> hand(Self, Share, Ms) end, [link, {min_heap_size, Size}, {message_queue_data, off_heap}])
     end || Share <- shares(Pids, erlang:system_info(schedulers_online))].

shares(Pids, Many) ->
    Each = max(1, (length(Pids) + Many - 1) div Many),
    shares_of(Pids, Each).

shares_of([], _) -> [];
shares_of(Pids, Each) when length(Pids) =< Each -> [Pids];
shares_of(Pids, Each) ->
    {Share, Rest} = lists:split(Each, Pids),
    [Share | shares_of(Rest, Each)].

answer(Hand) -> receive {Hand, Answer} -> Answer end.

hand(Maker, Pids, Ms) ->
    Asked = ask(Pids, suspend),
    {Standing, Bad} = collect(Asked, none, Ms),
    Maker ! {self(), {length(Standing), Bad}},
    receive
        {change, Message, But} ->
            Left = [Each || {_, Pid} = Each <- Standing, not lists:member(Pid, But)],
            [Pid ! {system, {self(), Ref}, Message} || {Ref, Pid} <- Left],
            {Done, Failed} = collect(maps:from_list(Left), resume, Ms),
            Maker ! {self(), {length(Done), Failed}}
    end.

%% Sends a system message to all and waits for every answer: {how many said ok, [{Pid, Why}]}. The dead are in neither.
ask_all(Pids, Message, Ms) ->
    {Done, Failed} = collect(ask(Pids, Message), none, Ms),
    [demonitor(Ref, [flush]) || {Ref, _} <- Done],
    {length(Done), Failed}.

%% #{Ref => Pid}; the reference is both the monitor and what the answer is known by.
ask(Pids, Message) -> maps:from_list([{ask_one(Pid, Message), Pid} || Pid <- Pids]).

ask_one(Pid, Message) ->
    Ref = monitor(process, Pid),
    Pid ! {system, {self(), Ref}, Message},
    Ref.

%% {[{Ref, Pid}] of those that said ok, [{Pid, Why}] of those that did not}. Those that said ok are told Then, and have
%% answered that too.
collect(Asked, Then, Ms) ->
    Timer = erlang:send_after(Ms, self(), out_of_time),
    Result = collect(Asked, Then, [], []),
    erlang:cancel_timer(Timer),
    receive out_of_time -> ok after 0 -> ok end,
    Result.

collect(Asked, _, Done, Failed) when map_size(Asked) =:= 0 -> {Done, Failed};
collect(Asked, Then, Done, Failed) ->
    receive
        {Ref, ok} when is_map_key(Ref, Asked) ->
            case Asked of
                #{Ref := {resumed, Pid}} -> collect(maps:remove(Ref, Asked), Then, [{Ref, Pid} | Done], Failed);
                #{Ref := Pid} when Then =:= none -> collect(maps:remove(Ref, Asked), Then, [{Ref, Pid} | Done], Failed);
                #{Ref := Pid} ->
                    Pid ! {system, {self(), Ref}, Then},
                    collect(Asked#{Ref := {resumed, Pid}}, Then, Done, Failed)
            end;
        {Ref, Other} when is_map_key(Ref, Asked) ->
            {Pid, Left} = maps:take(Ref, Asked),
            demonitor(Ref, [flush]),
            collect(Left, Then, Done, [{Pid, Other} | Failed]);
        {'DOWN', Ref, process, _, _} when is_map_key(Ref, Asked) ->
            collect(maps:remove(Ref, Asked), Then, Done, Failed);
        out_of_time ->
            [demonitor(Ref, [flush]) || Ref <- maps:keys(Asked)],
            {[{Ref, Pid} || {Ref, {resumed, Pid}} <- maps:to_list(Asked)] ++ Done,
             [{Pid, timeout} || Pid <- maps:values(Asked), is_pid(Pid)] ++ Failed}
    end.

%% Lets all go on; [Pid] of those that stand still all the same. One that is too busy to answer, and was too busy to be
%% suspended, has both messages waiting for it.
resume(Pids, Ms) ->
    {_, Silent} = ask_all(Pids, resume, Ms),
    [Pid || {Pid, _} <- Silent, is_suspended(Pid)].

now_us() -> erlang:monotonic_time(microsecond).
