%% Payload, shipped to hosts: the VM's processes: which a module has, which stand still, which run old code.
-module(relup_agent_processes).

-export([supervised/2, tree/2, pids/2, linked/1, old_code_users/1, may_ask/1, is_suspended/1]).
-export([suspended/0, is_supervisor/1]).
-export([kinds/1, callback_module/1, leader/1, within/2]).

-import(relup_agent_text, [text/2, process/1]).

%% A look is given so long at least, for it is the time of all that are asked together.
-define(AT_LEAST, 5000).
%% For all supervisors that hibernate to say that they go on.
-define(ANSWER_OF_ALL, 2000).
%% Supervisors of up to so many processes are asked for their state.
-define(STATE_ASKED_FOR, 10000).
%% So many are asked at a time.
-define(AHEAD, 64).
%% Up to so many questions whether a process runs old code: each takes some microseconds of its time.
-define(OLD_CODE_CHECKS, 2000000).

%% ------------------------------------------------------------------------------------------------- looking

%% {[{Mod, Supervisor, Pid}], [Problem], [Linked]}: the processes whose child specification lists one of the modules, or that
%% answer get_modules with it; and the top supervisors of applications, with themselves as supervisor, where it is theirs.
%% A problem is {Type, Format, Args}: a supervisor that can't be asked, or does not answer within Ms, which is for all; or an
%% event manager that does not say which handlers it has, where one of the modules may be one. Linked are all processes to
%% which these supervisors were linked just before they were asked.
%%
%% Only a supervisor of stdlib's is asked, by what it is and not by what a specification calls it: to any other process
%% the question may be one that it never answers, or logs. Such a one is seen from outside, see started_by/1.
%%
%% What the supervisors say is kept in the process that asks: the next time only those are asked whose children are others.
supervised(Mods, Ms) ->
    {Tops, Found, Problems} = look([App || {App, _, _} <- application:loaded_applications()], Ms),
    {Handlers, Unknown} = handlers([Mod || Mod <- Mods, erlang:function_exported(Mod, handle_event, 2)], Found, Ms),
    Its = [{Mod, Sup, Sup} || {Mod, Sup} <- Tops, lists:member(Mod, Mods)] ++
        [{Mod, Sup, Pid} || {Sup, Pid, Listed} <- Found, Mod <- listed(Pid, Listed, Handlers), lists:member(Mod, Mods)],
    Known = known(),
    {Its, Problems ++ Unknown, lists:append([Linked || Sup <- lists:usort([Sup || {_, Sup, _} <- Its]),
                                            {_, Linked, _} <- [maps:get(Sup, Known, none)]])}.

listed(Pid, dynamic, Handlers) -> maps:get(Pid, Handlers, []);
listed(_, Listed, _) -> Listed.

%% The processes found for a module, each once, in their order.
pids(Mod, Found) -> lists:usort([Pid || {Its, _, Pid} <- Found, Its =:= Mod]).

%% The same for the processes of one application, all modules; what counts of it are the problems.
tree(App, Ms) ->
    {_, Found, Problems} = look([App], Ms),
    {[{none, Sup, Pid} || {Sup, Pid, _} <- Found], Problems}.

%% {[{Mod, Top supervisor}], [{Supervisor, Pid, Modules | dynamic}], [Problem]} of applications.
look(Apps, Ms) ->
    Limit = max(Ms, ?AT_LEAST),
    Deadline = now_ms() + Limit,
    Asked = ask(fun top_supervisor/1, [App || App <- Apps, application_controller:get_master(App) =/= undefined], Limit),
    Tops = [Top || {_, {answer, [Top]}} <- Asked],
    Silent = [{which_children_failed, "The application ~p does not answer.", [App]} || {App, silent} <- Asked],
    {Found, Problems} = walk([Sup || {_, Sup} <- Tops], Deadline, Silent),
    {Tops, Found, Problems}.

%% [{Mod, Sup}]. An application's top process need not be a supervisor.
top_supervisor(App) ->
    case application_controller:get_master(App) of
        Master when is_pid(Master) ->
            case application_master:get_child(Master) of
                {Sup, _} when is_pid(Sup) -> [{Mod, Sup} || {supervisor, Mod, _} <- [proc_lib:translate_initial_call(Sup)]];
                _ -> []
            end;
        undefined -> []
    end.

%% All supervisors below some, each asked as soon as it is known of: one that does not answer takes no time from the others.
walk(Sups, Deadline, Silent) ->
    Known = known(),
    Stamped = fun(Sup) -> {Sup, element(1, maps:get(Sup, Known, {none, [], []}))} end,
    Next = fun({Sup, _}, Answer, Seen) ->
               Entry = of_answer(Sup, Answer, Known),
               New = lists:usort([Pid || {Pid, supervisor, _} <- its_children(Entry), not is_map_key(Pid, Seen)]),
               {[Stamped(Pid) || Pid <- New], maps:merge(Seen#{Sup => Entry}, asked(New))}
           end,
    Tops = lists:usort(Sups),
    Seen = ask(fun({Sup, Stamp}) -> children(Sup, Stamp) end, Next, [Stamped(Sup) || Sup <- Tops], Deadline, #{}, asked(Tops)),
    put(?MODULE, maps:merge(Known, maps:filter(fun(_, Entry) -> element(1, Entry) =/= problem end, Seen))),
    {[{Sup, Pid, Listed} || {Sup, Entry} <- maps:to_list(Seen), {Pid, _, Listed} <- its_children(Entry)],
     [Problem || {problem, Problem} <- maps:values(Seen)] ++ Silent}.

asked(Sups) -> maps:from_list([{Sup, {none, [], []}} || Sup <- Sups]).

its_children({problem, _}) -> [];
its_children({_, _, Children}) -> Children.

known() ->
    case get(?MODULE) of undefined -> #{}; Known -> Known end.

%% {Stamp, Linked, [{Pid, supervisor | worker, Modules | dynamic}]} | {problem, Problem}
of_answer(Sup, {answer, unchanged}, Known) -> maps:get(Sup, Known);
of_answer(_, {answer, {_, _, _} = Entry}, _) -> Entry;
of_answer(Sup, {answer, suspended}, _) -> {problem, {suspended_supervisor, "The supervisor ~ts is suspended.", [name(Sup)]}};
of_answer(Sup, silent, _) -> {problem, {which_children_failed, "The supervisor ~ts does not answer.", [name(Sup)]}};
of_answer(_, gone, _) -> {none, [], []}.

%% The children of what is a supervisor, or is called one. It is linked to them, so as long as its links are those of Stamp
%% they are the same.
children(Sup, Stamp) ->
    Linked = linked(Sup),
    Is = is_supervisor(Sup),
    Standing = Is andalso stands(Sup) =:= true,
    case {Is, {length(Linked), erlang:phash2(Linked, 1 bsl 32)}} of
        {true, _} when Standing -> suspended;
        {_, Stamp} -> unchanged;
        {true, Now} ->
            case gen_server:call(Sup, which_children, infinity) of
                Children when is_list(Children) ->
                    {Now, Linked, [{Pid, Type, Listed} || {_, Pid, Type, Listed} <- Children, is_pid(Pid)]};
                _ -> {Now, Linked, []}
            end;
        {false, Now} -> {Now, Linked, started_by(Sup, Linked)}
    end.

linked(Pid) ->
    case process_info(Pid, links) of
        {links, Links} -> [Linked || Linked <- Links, is_pid(Linked)];
        undefined -> []
    end.

%% What a process that is no supervisor of stdlib's has started: servers of connections, for one, are called supervisors. By
%% its links, and what proc_lib has noted of them: their first ancestor, and the module that they began in.
started_by(Sup, Links) ->
    Names = [Sup | case process_info(Sup, registered_name) of {registered_name, Name} -> [Name]; _ -> [] end],
    [Child || Pid <- Links, {dictionary, Noted} <- [process_info(Pid, dictionary)],
              [First | _] <- [proplists:get_value('$ancestors', Noted)], lists:member(First, Names),
              Child <- began_in(Pid, proplists:get_value('$initial_call', Noted))].

began_in(Pid, {supervisor, Mod, _}) -> [{Pid, supervisor, [Mod]}];
began_in(Pid, {Mod, _, _}) -> [{Pid, worker, [Mod]}];
began_in(_, _) -> [].

name(Pid) ->
    case process(Pid) of
        #{name := <<>>} -> text("~p", [Pid]);
        #{name := Name} -> Name
    end.

%% {#{Pid => its handlers}, [Problem]} of the event managers, if some of the modules can be handlers: else none is asked.
handlers([], _, _) -> {#{}, []};
handlers(Mods, Found, Ms) ->
    %% To others it would be a message out of nowhere.
    Managers = [Pid || Pid <- lists:usort([Pid || {_, Pid, dynamic} <- Found]), is_event_manager(Pid)],
    Asked = ask(fun handlers/1, Managers, max(Ms, ?AT_LEAST)),
    {maps:from_list([{Pid, Listed} || {Pid, {answer, Listed}} <- Asked, is_list(Listed)]),
     [Problem || {Pid, Answer} <- Asked, Answer =:= silent orelse Answer =:= {answer, unknown}, Mod <- Mods,
                 {problem, Problem} <- [untold(Pid, Mod)]]}.

untold(Pid, Mod) ->
    {problem, {get_modules_failed, "The event manager ~ts does not say whether ~p is one of its handlers.", [name(Pid), Mod]}}.

is_event_manager(Pid) -> element(1, proc_lib:translate_initial_call(Pid)) =:= gen_event.

handlers(Pid) ->
    case gen:call(Pid, self(), get_modules, infinity) of
        {ok, Mods} when is_list(Mods) -> Mods;
        _ -> unknown
    end.

%% [{Item, {answer, Value} | gone | silent}]: Fun of each item, each in a process of its own, some at a time; those that have
%% not ended after Ms are killed. So an answer that comes too late goes nowhere.
ask(Fun, Items, Ms) ->
    ask(Fun, fun(Item, Answer, Known) -> {[], [{Item, Answer} | Known]} end, Items, now_ms() + Ms, #{}, []).

%% The same with a value that Next(Item, Answer, Value) makes anew of each answer, with the items that the answer adds.
ask(_, _, [], _, Asked, Value) when map_size(Asked) =:= 0 -> Value;
ask(Fun, Next, [Item | Items], Deadline, Asked, Value) when map_size(Asked) < ?AHEAD ->
    {Pid, Ref} = spawn_monitor(fun() -> exit(try {answer, Fun(Item)} catch _:_ -> gone end) end),
    ask(Fun, Next, Items, Deadline, Asked#{Ref => {Pid, Item}}, Value);
ask(Fun, Next, Items, Deadline, Asked, Value) ->
    receive
        {'DOWN', Ref, process, _, Reason} when is_map_key(Ref, Asked) ->
            {{_, Item}, Left} = maps:take(Ref, Asked),
            {More, Now} = Next(Item, case Reason of {answer, _} -> Reason; _ -> gone end, Value),
            ask(Fun, Next, More ++ Items, Deadline, Left, Now)
    after max(0, Deadline - now_ms()) ->
        [begin exit(Pid, kill), demonitor(Ref, [flush]) end || {Ref, {Pid, _}} <- maps:to_list(Asked)],
        lists:foldl(fun(Item, Before) -> element(2, Next(Item, silent, Before)) end, Value,
                    Items ++ [Item || {_, Item} <- maps:values(Asked)])
    end.

now_ms() -> erlang:monotonic_time(millisecond).

is_supervisor(Pid) -> element(1, proc_lib:translate_initial_call(Pid)) =:= supervisor.

%% What processes are, each kind once: [{server | supervisor | unknown, Mod}], Mod being the module that changes their state.
%% Of event managers, and of processes that have become servers only later, that can't be told.
kinds(Pids) ->
    [kind(Call) || Call <- lists:usort([proc_lib:translate_initial_call(Pid) || Pid <- Pids])].

kind({supervisor, Mod, _}) -> {supervisor, Mod};
kind({Mod, init, 1}) ->
    Behaviours = try lists:append([Names || {Key, Names} <- Mod:module_info(attributes),
                                            lists:member(Key, [behaviour, behavior])])
                 catch error:undef -> []
                 end,
    case [Name || Name <- Behaviours, lists:member(Name, [gen_server, gen_statem, gen_fsm])] of
        [] -> {unknown, Mod};
        _ -> {server, Mod}
    end;
kind({Mod, _, _}) -> {unknown, Mod}.

%% The module by which a process was started, as far as that can be told.
callback_module(Pid) ->
    case proc_lib:translate_initial_call(Pid) of
        {supervisor, Mod, _} -> Mod;
        {Mod, _, _} -> Mod
    end.

%% The group leader of a process: the master of its application.
leader(Pid) ->
    case process_info(Pid, group_leader) of
        {group_leader, Leader} -> Leader;
        undefined -> none
    end.

%% {Suspended, Unknown}: all suspended processes, and supervisors of which it can't be told. Of those that hibernate only
%% supervisors are asked, which do so by themselves since OTP 27: there are few of them, and one of them that is suspended has
%% others wait. The rest can't be told from any that hibernates.
suspended() ->
    Seen = [{Pid, Where} || Pid <- processes(), {current_function, Where} <- [process_info(Pid, current_function)]],
    Asked = ask(fun stands/1, [Pid || {Pid, {erlang, hibernate, _}} <- Seen, noted_as_supervisor(Pid)], ?ANSWER_OF_ALL),
    {[Pid || {Pid, {sys, Loop, _}} <- Seen, is_suspend_loop(Loop)] ++ [Sup || {Sup, {answer, true}} <- Asked],
     [Sup || {Sup, Answer} <- Asked, Answer =:= silent orelse Answer =:= {answer, unknown}]}.

%% By one key of its dictionary, which older OTPs can't give alone; the whole of it would be copied.
noted_as_supervisor(Pid) ->
    try process_info(Pid, {dictionary, '$initial_call'}) of
        {_, {supervisor, _, _}} -> true;
        _ -> false
    catch error:badarg -> false
    end.

%% Whether a supervisor is suspended, or unknown; one that hibernates is asked. It answers with its state, so one of very many
%% is not.
%% Any other question would have it spin until it is resumed: it hibernates in vain while a message waits for it.
stands(Sup) ->
    case process_info(Sup, current_function) of
        {current_function, {erlang, hibernate, _}} ->
            case length(linked(Sup)) =< ?STATE_ASKED_FOR of
                true -> suspended =:= lists:nth(2, element(4, sys:get_status(Sup, infinity)));
                false -> unknown
            end;
        _ -> is_suspended(Sup)
    end.

%% One that hibernates while it is suspended looks like any other that hibernates.
is_suspended(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {sys, Loop, _}} -> is_suspend_loop(Loop);
        _ -> false
    end.

is_suspend_loop(Loop) -> Loop =:= suspend_loop orelse Loop =:= suspend_loop_hib.

%% Whether all processes may be asked for so many modules.
may_ask(Modules) -> Modules * erlang:system_info(process_count) =< ?OLD_CODE_CHECKS.

%% The processes in old code of Mod: those that a load would kill.
old_code_users(Mod) ->
    case erlang:check_old_code(Mod) of
        false -> [];
        true -> [Pid || Pid <- processes(), Pid =/= self(), runs_old(Pid, Mod)]
    end.

runs_old(Pid, Mod) ->
    try erlang:check_process_code(Pid, Mod, [{allow_gc, false}]) =/= false catch error:_ -> false end.

%% {ok, Value} or {error, Reason}: Fun in a process of its own, killed after Ms. A failure is no line in the node's log.
within(Ms, Fun) ->
    Run = fun() -> exit(try {value, Fun()} catch throw:Thrown -> {nocatch, Thrown}; _:Reason:Stack -> {Reason, Stack} end) end,
    {Pid, Ref} = spawn_monitor(Run),
    receive
        {'DOWN', Ref, process, Pid, {value, Value}} -> {ok, Value};
        {'DOWN', Ref, process, Pid, Reason} -> {error, Reason}
    after Ms ->
        exit(Pid, kill),
        receive {'DOWN', Ref, process, Pid, _} -> {error, timeout} end
    end.
