%% Payload, shipped to hosts: the VM's processes: which a module has, which stand still, which run old code.
-module(relup_agent_processes).

-export([supervised/2, tree/2, old_code_users/1, may_ask/1, is_suspended/1, is_supervisor/1, within/2]).

-import(relup_agent_text, [text/2, process/1]).

%% For a process that may be an event manager to tell its handlers.
-define(MODULES_TIMEOUT, 500).
%% Up to so many questions whether a process runs old code: each takes some microseconds of its time.
-define(OLD_CODE_CHECKS, 2000000).

%% ------------------------------------------------------------------------------------------------- looking

%% {[{Mod, Supervisor, Pid}], [Problem]}: the processes whose child specification lists one of the modules, or that
%% answer get_modules with it; and the top supervisors of applications, with themselves as supervisor, where it is theirs.
%% A problem is {Type, Format, Args}: a supervisor that can't be asked, within Ms.
supervised(Mods, Ms) ->
    Tops = [Top || {App, _, _} <- application:which_applications(), Top <- top_supervisor(App)],
    split([{child, {Mod, Sup, Sup}} || {Mod, Sup} <- Tops, lists:member(Mod, Mods)] ++
              [Found || {_, Sup} <- Tops, Found <- walk(Sup, Mods, Ms)]).

%% The same for the processes of one application, all modules; what counts of it are the problems.
tree(App, Ms) -> split([Found || {_, Sup} <- top_supervisor(App), Found <- walk(Sup, [], Ms)]).

split(Found) ->
    {Problems, Children} = lists:partition(fun({What, _}) -> What =:= problem end, Found),
    {[Child || {child, Child} <- Children], [Problem || {problem, Problem} <- Problems]}.

%% [{Mod, Sup}]. An application's top process need not be a supervisor; asking it for children could then hurt it.
top_supervisor(App) ->
    case application_controller:get_master(App) of
        Master when is_pid(Master) ->
            case application_master:get_child(Master) of
                {Sup, _} when is_pid(Sup) -> [{Mod, Sup} || {supervisor, Mod, _} <- [proc_lib:translate_initial_call(Sup)]];
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

%% What its specification calls a supervisor has to answer, be it one of stdlib's or not: those of connections are not. Some
%% answer with no list, and some end meanwhile.
children(Sup, Ms) ->
    case is_suspended(Sup) of
        true -> {problem, {suspended_supervisor, "The supervisor ~ts is suspended.", [name(Sup)]}};
        false ->
            try gen_server:call(Sup, which_children, Ms) of
                Children when is_list(Children) -> Children;
                _ -> []
            catch
                exit:{timeout, _} -> {problem, {which_children_failed, "The supervisor ~ts does not answer.", [name(Sup)]}};
                exit:_ -> []
            end
    end.

name(Pid) ->
    case process(Pid) of
        #{name := <<>>} -> text("~p", [Pid]);
        #{name := Name} -> Name
    end.

%% Event managers answer this with their handlers; to others it would be a message out of nowhere.
get_modules(Pid) ->
    case proc_lib:translate_initial_call(Pid) of
        {gen_event, _, _} -> handlers(Pid);
        _ -> []
    end.

handlers(Pid) ->
    try gen:call(Pid, self(), get_modules, ?MODULES_TIMEOUT) of
        {ok, Mods} when is_list(Mods) -> Mods;
        _ -> []
    catch
        exit:_ -> []
    end.

is_supervisor(Pid) -> element(1, proc_lib:translate_initial_call(Pid)) =:= supervisor.

%% One that hibernates while it is suspended looks like any other that hibernates.
is_suspended(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {sys, Loop, _}} -> Loop =:= suspend_loop orelse Loop =:= suspend_loop_hib;
        _ -> false
    end.

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
