%% Payload, shipped to hosts: the VM's processes: which a module has, which stand still, which run old code.
-module(relup_agent_processes).

-export([supervised/2, tree/2, pids/2, linked/1, old_code_users/1, may_ask/1, is_suspended/1, is_supervisor/1]).
-export([kinds/1, callback_module/1, leader/1, within/2]).

-import(relup_agent_text, [text/2, process/1]).

%% For a process that may be an event manager to tell its handlers.
-define(MODULES_TIMEOUT, 500).
%% Up to so many questions whether a process runs old code: each takes some microseconds of its time.
-define(OLD_CODE_CHECKS, 2000000).

%% ------------------------------------------------------------------------------------------------- looking

%% {[{Mod, Supervisor, Pid}], [Problem], [Linked]}: the processes whose child specification lists one of the modules, or that
%% answer get_modules with it; and the top supervisors of applications, with themselves as supervisor, where it is theirs.
%% A problem is {Type, Format, Args}: a supervisor that can't be asked, within Ms. Linked are all processes to which these
%% supervisors were linked just before they were asked.
supervised(Mods, Ms) ->
    Tops = [Top || {App, _, _} <- application:which_applications(), Top <- top_supervisor(App)],
    split([Found || {Mod, Sup} <- Tops, lists:member(Mod, Mods), Found <- [{linked, linked(Sup)}, {child, {Mod, Sup, Sup}}]] ++
              [Found || {_, Sup} <- Tops, Found <- walk(Sup, Mods, Ms)]).

%% The processes found for a module, each once, in their order.
pids(Mod, Found) -> lists:usort([Pid || {Its, _, Pid} <- Found, Its =:= Mod]).

%% The same for the processes of one application, all modules; what counts of it are the problems.
tree(App, Ms) ->
    {Found, Problems, _} = split([Found || {_, Sup} <- top_supervisor(App), Found <- walk(Sup, [], Ms)]),
    {Found, Problems}.

split(Found) ->
    {[Child || {child, Child} <- Found], [Problem || {problem, Problem} <- Found],
     lists:append([Pids || {linked, Pids} <- Found])}.

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
    Linked = linked(Sup),
    case children(Sup, Ms) of
        {problem, _} = Problem -> [Problem];
        Children ->
            Its = [{child, {Mod, Sup, Pid}} || {_, Pid, _, Listed} = Child <- Children, is_pid(Pid), Listed =/= [],
                                               Mod <- modules_of(Child, Mods), lists:member(Mod, Mods)],
            [{linked, Linked} || Its =/= []] ++ Its ++
                [Found || {_, Pid, supervisor, _} <- Children, is_pid(Pid), Found <- walk(Pid, Mods, Ms)]
    end.

linked(Pid) ->
    case process_info(Pid, links) of
        {links, Links} -> [Linked || Linked <- Links, is_pid(Linked)];
        undefined -> []
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
