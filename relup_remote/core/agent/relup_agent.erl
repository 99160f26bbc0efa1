%% Payload, shipped to hosts: the agent, compiled and loaded in the VM for one hop, and gone after it.
%%
%% The core calls the exported functions. `preflight/1` and `verify/1` change nothing. `start/1` runs the hop in
%% processes of its own, which outlive the core and its connection; `await/2` tells how it goes, to whoever asks, since
%% the processes are found by their registered name and not by the module, whose name differs from load to load.
%%
%%     coordinator  registered; keeps the events, answers await/2, writes the outcome file whatever becomes of the worker
%%      └ worker    runs the hop: code changes, callbacks, marker
%%
%% What a failure leaves (in the outcome: `undone`):
%%
%%     failed in                                     undone   the node
%%     preflight, load_module, update before the     true     as before: same modules, nothing suspended
%%       first process has changed its state
%%     after a restart_application, an apply or a    false    up, part old, part new, nothing suspended (the core
%%       changed state, still in the code changes             restarts it where on_failure says so)
%%     a callback, or writing the marker             false    all new code, no marker; a further attempt goes on there
%%
%% A request is a map: run (binary), hop (path of the hop file), from, target (strings), tree (path of the deployed tree,
%% or undefined while there is none), modules and apps (binaries: names in the target; used where there is no tree),
%% helpers (paths of helper sources), marker, outcome (paths), resume (true: the code changes are done, go on from the
%% callbacks).
-module(relup_agent).

-export([preflight/1, start/1, await/2, release/0, verify/1]).

-define(NAME, relup_remote_agent).
-define(SCRIPT_TIMEOUT, 15000).
-define(SYS_TIMEOUT, 15000).
-define(MODULES_TIMEOUT, 500).
%% No module: in what the hop has loaded so far, the sign that it restarted an application whose tree is not there yet.
-define(RESTARTED, 'relup_remote restarted').
%% Up to so many questions whether a process runs old code.
-define(OLD_CODE_CHECKS, 2000000).
%% How long an outcome that could not be written down is kept in memory.
-define(LINGER, 30000).

%% ------------------------------------------------------------------------------------------------- preflight

%% All that stands in the way of the hop, without changing anything:
%% #{problems, warnings, instructions => [#{n, text}], modules}; a problem is #{n, err_type, message, detail}.
preflight(Req) ->
    case read_hop(Req) of
        {ok, Hop} ->
            Ctx = context(Hop, Req),
            Changes = numbered(maps:get(code_changes, Hop)),
            {Found, After} = lists:mapfoldl(fun(C, Seen) -> check(C, Seen, Ctx) end, #{}, Changes),
            Problems = lists:append(Found) ++ check_callbacks(Hop, After, length(Changes), Ctx) ++
                check_release(After, Ctx) ++ check_prepared(Changes, Ctx) ++ check_helpers(Ctx),
            {Hard, Soft} = lists:partition(fun(P) -> maps:get(severity, P) =:= error end, Problems),
            Modules = [atom_to_binary(Mod, utf8) || Mod <- maps:keys(After), Mod =/= ?RESTARTED, not is_helper(Mod, Ctx)],
            #{problems => unique(Hard), warnings => Soft, instructions => describe(Hop), modules => Modules};
        {error, Problem} ->
            #{problems => [Problem], warnings => [], instructions => [], modules => []}
    end.

%% The hop of the request's file, evaluated as a script and checked for its shape.
read_hop(#{hop := Path} = Req) ->
    case within(?SCRIPT_TIMEOUT, fun() -> file:script(Path) end) of
        {ok, {ok, Hop}} when is_map(Hop) -> check_shape(Hop, Req);
        {ok, {ok, Other}} -> malformed("the last value of the file is not a map: ~0tP", [Other, 9]);
        {ok, {error, Reason}} -> malformed("~ts", [script_error(Reason)]);
        {error, Reason} -> malformed("the file could not be evaluated: ~0tP", [Reason, 12])
    end.

script_error({Line, file, {_, Class, Reason, _}}) -> io_lib:format("line ~p: ~p:~0tP", [Line, Class, Reason, 12]);
script_error({Line, _, _} = Reason) when is_integer(Line) -> file:format_error(Reason);
script_error({{Line, Column}, Mod, Term}) -> [io_lib:format("~p:~p: ", [Line, Column]), Mod:format_error(Term)];
script_error(Reason) -> file:format_error(Reason).

check_shape(Hop, #{from := From, target := Target}) ->
    Callbacks = maps:get(post_upgrade_callbacks, Hop, []),
    Changes = maps:get(code_changes, Hop, missing),
    Wrong = [What || {What, true} <- [
        {"from_version is not \"" ++ From ++ "\"", maps:get(from_version, Hop, none) =/= From},
        {"target_version is not \"" ++ Target ++ "\"", maps:get(target_version, Hop, none) =/= Target},
        {"code_changes is missing", Changes =:= missing},
        {"code_changes is not a list", Changes =/= missing andalso not is_proper(Changes)},
        {"post_upgrade_callbacks is not a list", not is_proper(Callbacks)}]],
    case Wrong of
        [] -> {ok, Hop#{post_upgrade_callbacks => Callbacks}};
        _ -> malformed("~ts", [lists:join("; ", Wrong)])
    end.

malformed(Format, Args) -> {error, problem(0, malformed_hop, Format, Args)}.

is_proper(List) ->
    try length(List) >= 0 catch error:badarg -> false end.

%% One instruction: {its problems, what is loaded after it}. Seen maps a module to what the hop put in its place.
check({N, {load_module, Mod}}, Seen, Ctx) when is_atom(Mod) ->
    check_module(N, Mod, Seen, Ctx);
check({N, {update, Mod, {advanced, _}}}, Seen, Ctx) when is_atom(Mod) ->
    {Problems, After} = check_module(N, Mod, Seen, Ctx),
    {Problems ++ check_code_change(N, Mod, After, Ctx) ++ check_users(N, Mod), After};
check({N, {restart_application, App}}, Seen, _) when App =:= kernel; App =:= stdlib; App =:= compiler ->
    {[problem(N, app_not_restartable, "~p can't be restarted in a hop.", [App])], Seen};
check({N, {restart_application, App}}, Seen, Ctx) when is_atom(App) ->
    check_app(N, App, Seen, Ctx);
check({N, {apply, Mod, Fun, Args} = Instr}, Seen, Ctx) when is_atom(Mod), is_atom(Fun) ->
    case is_proper(Args) of
        true -> {check_exported(N, Mod, Fun, length(Args), Seen, Ctx), Seen};
        false -> {invalid(N, Instr), Seen}
    end;
check({N, Instr}, Seen, _) ->
    {invalid(N, Instr), Seen}.

invalid(N, Instr) -> [problem(N, invalid_instr, "Not an instruction: ~0tP", [Instr, 12])].

check_module(N, Mod, Seen, Ctx) ->
    Sticky = [problem(N, sticky_module, "~p lies in a sticky directory.", [Mod]) || code:is_sticky(Mod)],
    case target_beam(Mod, Ctx) of
        {ok, Beam} ->
            Lingering = [problem(N, old_code_in_use, "~ts in old code of ~p.", [count(length(Users), "process is", "processes are"), Mod],
                                 #{processes => [describe_process(P) || P <- lists:sublist(Users, 20)]})
                         || not unchanged(Mod, Beam), Users <- [old_code_users(Mod)], Users =/= []],
            {Sticky ++ Lingering, Seen#{Mod => maps:get(exports, Beam)}};
        named ->
            {Sticky, Seen#{Mod => unknown}};
        {error, Type, Format, Args} ->
            {[problem(N, Type, Format, Args) | Sticky], Seen#{Mod => unknown}}
    end.

%% A supervisor changes its state by init/1.
check_code_change(N, Mod, Seen, Ctx) ->
    case {maps:get(Mod, Seen), target_beam(Mod, Ctx)} of
        {unknown, _} -> [];
        {Exports, {ok, #{behaviours := Behaviours}}} ->
            case lists:member(supervisor, Behaviours) orelse lists:any(fun(FA) -> lists:member(FA, Exports) end,
                           [{code_change, 3}, {code_change, 4}, {system_code_change, 4}]) of
                true -> [];
                false -> [problem(N, function_not_exported, "The new ~p exports no code_change.", [Mod])]
            end
    end.

check_users(N, Mod) ->
    try processes_of(Mod) of
        [] -> [warning(N, no_process, "No process uses ~p: the update is a mere load.", [Mod])];
        _ -> []
    catch
        throw:{Type, Format, Args} -> [problem(N, Type, Format, Args)]
    end.

check_app(N, App, Seen, #{tree := undefined, apps := Apps}) ->
    %% Which modules it has is not known before the tree is there: from here on any of the target's may be new.
    case lists:member(atom_to_binary(App, utf8), Apps) of
        true -> {[], Seen#{?RESTARTED => unknown}};
        false -> {[no_app(N, App)], Seen}
    end;
check_app(N, App, Seen, Ctx) ->
    case read_app(App, Ctx) of
        {ok, Ebin, Keys} ->
            Mods = proplists:get_value(modules, Keys, []),
            Beams = [{Mod, beam_in(Mod, Ebin)} || Mod <- Mods],
            Bad = [problem(N, Type, Format, Args) || {_, {error, Type, Format, Args}} <- Beams],
            Needed = proplists:get_value(applications, Keys, []) -- proplists:get_value(optional_applications, Keys, []),
            Missing = [problem(N, app_dependency_missing, "~p needs ~p, which is not in the target.", [App, Dep])
                       || Dep <- Needed, app_ebin(Dep, Ctx) =:= none],
            New = maps:from_list([{Mod, maps:get(exports, Beam)} || {Mod, {ok, Beam}} <- Beams]),
            {Bad ++ Missing, maps:merge(Seen, New)};
        {error, Format, Args} ->
            {[problem(N, app_not_found, Format, Args)], Seen}
    end.

no_app(N, App) -> problem(N, app_not_found, "The target has no application ~p.", [App]).

check_exported(N, Mod, Fun, Arity, Seen, Ctx) ->
    case exports(Mod, Seen, Ctx) of
        unknown -> [];
        none -> [problem(N, module_not_found, "~p is neither loaded at this point nor a helper of the catalogue.", [Mod])];
        {error, Type, Format, Args} -> [problem(N, Type, Format, Args)];
        Exports ->
            [problem(N, function_not_exported, "~p:~p/~b is not exported by the version loaded at this point.",
                     [Mod, Fun, Arity]) || not lists:member({Fun, Arity}, Exports)]
    end.

%% What Mod exports at a point of the hop: the version the hop has loaded, else the one running, else a helper's.
exports(Mod, Seen, #{helpers := Helpers, modules := Names} = Ctx) ->
    Unsure = maps:is_key(?RESTARTED, Seen) andalso lists:member(atom_to_binary(Mod, utf8), Names),
    case Seen of
        #{Mod := Exports} -> Exports;
        _ when Unsure -> unknown;
        _ ->
            case {erlang:module_loaded(Mod), maps:is_key(Mod, Helpers)} of
                {true, _} -> Mod:module_info(exports);
                {false, true} ->
                    case target_beam(Mod, Ctx) of
                        {ok, Beam} -> maps:get(exports, Beam);
                        Other -> Other
                    end;
                {false, false} -> none
            end
    end.

check_callbacks(#{post_upgrade_callbacks := Callbacks}, Seen, Offset, Ctx) ->
    Mod = callback_module(Ctx),
    lists:append([case callback(Callback) of
                      {Fun, Args} -> check_exported(N, Mod, Fun, 1 + length(Args), Seen, Ctx);
                      invalid -> invalid(N, Callback)
                  end || {N, Callback} <- numbered(Callbacks, Offset)]).

callback(Fun) when is_atom(Fun) -> {Fun, []};
callback({Fun, Args}) when is_atom(Fun) ->
    case is_proper(Args) of
        true -> {Fun, Args};
        false -> invalid
    end;
callback(_) -> invalid.

callback_module(#{target := Target, helpers := Helpers}) ->
    Own = list_to_atom("emqx_post_upgrade_" ++ Target),
    case maps:is_key(Own, Helpers) orelse erlang:module_loaded(Own) of
        true -> Own;
        false -> emqx_post_upgrade
    end.

check_release(_, #{resume := true}) -> [];
check_release(Seen, _) ->
    case maps:is_key(emqx_release, Seen) orelse not erlang:module_loaded(emqx_release) of
        true -> [];
        false -> [problem(0, release_not_reloaded, "The hop does not reload emqx_release.", [])]
    end.

%% A helper comes and goes with the hop; a module of its name that the node has would go with it.
check_helpers(#{helpers := Helpers} = Ctx) ->
    [problem(0, helper_name_taken, "The node runs a module ~p already.", [Mod])
     || Mod <- maps:keys(Helpers), is_helper(Mod, Ctx), erlang:module_loaded(Mod)].

%% Has the VM itself read every beam that the hop would load.
check_prepared(_, #{tree := undefined}) -> [];
check_prepared(Changes, Ctx) ->
    [problem(N, bad_beam, "~p can't be loaded: ~0tp.", [Mod, Why])
     || {N, {Kind, Mod, Beam}} <- loads(Changes, Ctx), Kind =:= beam,
        {error, Why} <- [prepare(Mod, Beam)], Why =/= on_load_not_allowed].

loads(Changes, Ctx) ->
    [{N, {beam, Mod, Beam}} || {N, Instr} <- Changes, Mod <- loaded_by(Instr), {ok, Beam} <- [target_beam(Mod, Ctx)],
                               not unchanged(Mod, Beam)].

loaded_by({load_module, Mod}) when is_atom(Mod) -> [Mod];
loaded_by({update, Mod, _}) when is_atom(Mod) -> [Mod];
loaded_by(_) -> [].

prepare(Mod, #{path := Path, code := Code}) ->
    case code:prepare_loading([{Mod, Path, Code}]) of
        {ok, _} -> ok;
        {error, [{_, Why} | _]} -> {error, Why}
    end.

describe(#{code_changes := Changes, post_upgrade_callbacks := Callbacks}) ->
    [#{n => N, text => short(Instr)} || {N, Instr} <- numbered(Changes)] ++
        [#{n => N, text => label({callback, C})} || {N, C} <- numbered(Callbacks, length(Changes))].

label({callback, Callback}) -> <<"callback ", (short(Callback))/binary>>;
label(Instr) -> short(Instr).

%% ------------------------------------------------------------------------------------------------- beams and apps

context(Hop, #{target := Target, tree := Tree} = Req) ->
    Ctx = Req#{index => index(Tree), helpers => helpers(maps:get(helpers, Req), used_modules(Hop, Target))},
    maps:merge(#{modules => [], apps => []}, Ctx).

used_modules(#{code_changes := Changes}, Target) ->
    ["emqx_post_upgrade_" ++ Target |
     [atom_to_list(element(2, C)) || C <- Changes, is_tuple(C), tuple_size(C) > 1, is_atom(element(2, C))]].

%% The helpers that the hop uses, by module: #{Mod => path of the source}.
helpers(Paths, Used) ->
    maps:from_list([{list_to_atom(Name), Path} || Path <- Paths, Name <- [filename:basename(Path, ".erl")],
                                                  lists:member(Name, Used)]).

%% #{"module" => path} of a tree's beams; names stay strings, for no atom is made of what is not in the hop.
index(undefined) -> #{};
index(Tree) ->
    maps:from_list([{filename:basename(File, ".beam"), File}
                    || Ebin <- filelib:wildcard(filename:join([Tree, "lib", "*", "ebin"])),
                       {ok, Names} <- [file:list_dir(Ebin)], Name <- Names, filename:extension(Name) =:= ".beam",
                       File <- [filename:join(Ebin, Name)]]).

%% What would be loaded as Mod: {ok, Beam} | named (it is in the target, whose tree is not here) | {error, …}.
target_beam(Mod, #{index := Index, helpers := Helpers, tree := Tree, modules := Names}) ->
    Named = Tree =:= undefined andalso lists:member(atom_to_binary(Mod, utf8), Names),
    case {maps:find(atom_to_list(Mod), Index), maps:find(Mod, Helpers)} of
        {{ok, Path}, _} -> read_beam(Mod, Path);
        {error, _} when Named -> named;
        {error, {ok, Compiled}} when is_tuple(Compiled) -> Compiled;
        {error, {ok, Source}} -> compile_helper(Mod, Source);
        {error, error} ->
            {error, module_not_found, "~p is neither in the target nor a helper of the catalogue.", [Mod]}
    end.

is_helper(Mod, #{index := Index, helpers := Helpers}) ->
    maps:is_key(Mod, Helpers) andalso not maps:is_key(atom_to_list(Mod), Index).

beam_in(Mod, Ebin) -> read_beam(Mod, filename:join(Ebin, atom_to_list(Mod) ++ ".beam")).

read_beam(Mod, Path) ->
    case file:read_file(Path) of
        {ok, Code} -> beam(Mod, Path, Code);
        {error, enoent} -> {error, no_such_file, "~ts is not there.", [Path]};
        {error, Reason} -> {error, bad_beam, "~ts can't be read: ~p.", [Path, Reason]}
    end.

beam(Mod, Path, Code) ->
    case {beam_lib:chunks(Code, [exports, attributes]), beam_lib:md5(Code)} of
        {{ok, {Mod, [{exports, Exports}, {attributes, Attributes}]}}, {ok, {Mod, Md5}}} ->
            {ok, #{path => Path, code => Code, exports => Exports, md5 => Md5, behaviours => behaviours(Attributes)}};
        {{ok, {Other, _}}, _} -> {error, bad_beam, "~ts holds the module ~p.", [Path, Other]};
        {{error, _, Reason}, _} -> {error, bad_beam, "~ts is no beam: ~0tP.", [Path, Reason, 8]}
    end.

behaviours(Attributes) ->
    lists:append([Names || {Key, Names} <- Attributes, Key =:= behaviour orelse Key =:= behavior]).

compile_helper(Mod, Source) ->
    case compile:file(Source, [binary, return, deterministic]) of
        {ok, Mod, Code, _} -> beam(Mod, Source, Code);
        {ok, Other, _, _} -> {error, bad_beam, "~ts holds the module ~p.", [filename:basename(Source), Other]};
        {error, Errors, _} ->
            {error, helper_not_compiled, "~ts", [[io_lib:format("~ts:~p: ~ts. ", [filename:basename(File), Where, M:format_error(E)])
                                                 || {File, Each} <- Errors, {Where, M, E} <- Each]]}
    end.

unchanged(Mod, #{md5 := Md5}) -> loaded_md5(Mod) =:= Md5.

loaded_md5(Mod) ->
    try erlang:get_module_info(Mod, md5) catch error:badarg -> none end.

read_app(App, Ctx) ->
    case app_ebin(App, Ctx) of
        none -> {error, "The target has no application ~p.", [App]};
        Ebin ->
            case file:consult(filename:join(Ebin, atom_to_list(App) ++ ".app")) of
                {ok, [{application, App, Keys}]} -> {ok, Ebin, Keys};
                {ok, _} -> {error, "The .app file of ~p is not one.", [App]};
                {error, Reason} -> {error, "The .app file of ~p can't be read: ~ts.", [App, file:format_error(Reason)]}
            end
    end.

app_ebin(App, #{tree := Tree}) ->
    Name = atom_to_list(App),
    case [Ebin || Ebin <- filelib:wildcard(filename:join([Tree, "lib", Name ++ "{,-*}", "ebin"])),
                  filelib:is_regular(filename:join(Ebin, Name ++ ".app"))] of
        [] -> none;
        Found -> lists:last(Found)
    end.

%% ------------------------------------------------------------------------------------------------- processes

%% The processes in old code of Mod: those that a load would kill.
old_code_users(Mod) ->
    case erlang:check_old_code(Mod) of
        false -> [];
        true -> [Pid || Pid <- processes(), Pid =/= self(), runs_old(Pid, Mod)]
    end.

runs_old(Pid, Mod) ->
    try erlang:check_process_code(Pid, Mod, [{allow_gc, false}]) =/= false catch error:_ -> false end.

describe_process(Pid) ->
    Name = case process_info(Pid, registered_name) of
               {registered_name, Registered} -> atom_to_binary(Registered, utf8);
               _ -> <<>>
           end,
    #{pid => to_binary(pid_to_list(Pid)), name => Name, initial_call => short(proc_lib:translate_initial_call(Pid))}.

%% The supervised processes whose child specification lists Mod, or that answer get_modules with it.
processes_of(Mod) -> [Pid || {_, Pid} <- supervised(Mod)].

%% The same as {Supervisor, Pid}.
supervised(Mod) ->
    lists:append([under(Sup, Mod) || {App, _, _} <- application:which_applications(), Sup <- top_supervisor(App)]).

top_supervisor(App) ->
    case application_controller:get_master(App) of
        Master when is_pid(Master) ->
            case application_master:get_child(Master) of
                {Sup, _} when is_pid(Sup) -> [Sup];
                _ -> []
            end;
        undefined -> []
    end.

under(Sup, Mod) ->
    lists:append([case Child of
                      {_, Pid, supervisor, _} when is_pid(Pid) -> own(Sup, Child, Mod) ++ under(Pid, Mod);
                      _ -> own(Sup, Child, Mod)
                  end || Child <- children(Sup)]).

own(Sup, {_, Pid, worker, dynamic}, Mod) when is_pid(Pid) ->
    [{Sup, Pid} || Mods <- [get_modules(Pid)], lists:member(Mod, Mods)];
own(Sup, {_, Pid, _, Mods}, Mod) when is_pid(Pid), is_list(Mods) ->
    [{Sup, Pid} || lists:member(Mod, Mods)];
own(_, _, _) -> [].

children(Sup) ->
    Suspended = case process_info(Sup, current_function) of
                    {current_function, {sys, Loop, _}} -> Loop =:= suspend_loop orelse Loop =:= suspend_loop_hib;
                    _ -> false
                end,
    Suspended andalso throw({suspended_supervisor, "The supervisor ~0tp is suspended.", [Sup]}),
    case is_supervisor(Sup) of
        false -> [];
        true ->
            try gen_server:call(Sup, which_children, ?SYS_TIMEOUT)
            catch exit:{noproc, _} -> [];
                  exit:Reason -> throw({which_children_failed, "The supervisor ~0tp does not answer: ~0tP.", [Sup, Reason, 6]})
            end
    end.

%% An application's top process need not be a supervisor; asking it for children could then hurt it.
is_supervisor(Pid) ->
    case proc_lib:translate_initial_call(Pid) of
        {supervisor, _, _} -> true;
        {supervisor_bridge, _, _} -> false;
        _ ->
            case process_info(Pid, dictionary) of
                {dictionary, Dict} -> supervisor =:= element(1, initial_call(proplists:get_value('$initial_call', Dict)));
                undefined -> false
            end
    end.

initial_call({_, _, _} = Call) -> Call;
initial_call(_) -> {none, none, 0}.

%% Event managers answer this with their handlers; for others it is a message like any other, to which they owe nothing.
get_modules(Pid) ->
    try gen:call(Pid, self(), get_modules, ?MODULES_TIMEOUT) of
        {ok, Mods} when is_list(Mods) -> Mods;
        _ -> []
    catch
        exit:_ -> []
    end.

%% ------------------------------------------------------------------------------------------------- the hop

%% Starts the hop. Returns started, or busy while another one runs.
start(Req) ->
    Caller = self(),
    {Pid, Ref} = spawn_monitor(fun() -> coordinator(Caller, Req) end),
    receive
        {Pid, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, process, Pid, Reason} -> {failed, short(Reason)}
    end.

%% {Events, Next, running | Outcome}: the events from number Since on, waiting up to Ms for one; `gone` without a hop.
await(Since, Ms) ->
    case whereis(?NAME) of
        undefined -> gone;
        Pid ->
            Ref = monitor(process, Pid),
            Pid ! {await, {self(), Ref}, Since},
            receive
                {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
                {'DOWN', Ref, process, Pid, _} -> gone
            after Ms -> demonitor(Ref, [flush]), {[], Since, running}
            end
    end.

%% Ends a coordinator whose outcome has been fetched, and returns ok when it is gone; busy while its hop runs.
release() ->
    case whereis(?NAME) of
        undefined -> ok;
        Pid ->
            Ref = monitor(process, Pid),
            Pid ! {release, {self(), Ref}},
            receive
                {'DOWN', Ref, process, Pid, _} -> ok;
                {Ref, busy} -> demonitor(Ref, [flush]), busy
            end
    end.

coordinator(Caller, Req) ->
    try register(?NAME, self()) of
        true ->
            group_leader(whereis(user), self()),
            Caller ! {self(), started},
            Self = self(),
            {Worker, Ref} = spawn_monitor(fun() -> exit({outcome, run(Req, fun(Event) -> Self ! {event, Event} end)}) end),
            coordinate(#{req => Req, worker => Worker, ref => Ref, events => [], waiting => [], outcome => running})
    catch
        error:badarg -> Caller ! {self(), busy}
    end.

coordinate(#{ref := Ref, events := Events, waiting := Waiting, outcome := Outcome} = State) ->
    Linger = case Outcome of running -> infinity; _ -> ?LINGER end,
    receive
        {event, Event} ->
            coordinate(answer_all(State#{events := Events ++ [Event]}));
        {await, From, Since} ->
            Next = State#{waiting := [{From, Since} | Waiting]},
            coordinate(case Outcome =/= running orelse length(Events) > Since of
                           true -> answer_all(Next);
                           false -> Next
                       end);
        {'DOWN', Ref, process, _, Reason} ->
            Final = case Reason of
                        {outcome, Known} -> Known;
                        _ -> #{result => hop_lost, message => text("The hop's process died: ~0tP.", [Reason, 12]), undone => false}
                    end,
            Written = (catch write_outcome(Final, maps:get(req, State))),
            Done = answer_all(State#{outcome := Final}),
            %% Who comes later reads the file; only where there is none the outcome is kept for a while.
            Written =:= ok orelse coordinate(Done);
        {release, {Pid, Tag}} when Outcome =:= running ->
            Pid ! {Tag, busy},
            coordinate(State);
        {release, _} ->
            ok
    after Linger -> ok
    end.

answer_all(#{events := Events, waiting := Waiting, outcome := Outcome} = State) ->
    [Pid ! {Ref, {lists:nthtail(min(Since, length(Events)), Events), length(Events), Outcome}}
     || {{Pid, Ref}, Since} <- Waiting],
    State#{waiting := []}.

write_outcome(Outcome, #{outcome := Path, run := Run}) -> write_whole(Path, term_to_binary(Outcome#{run => Run})).

%% A file that appears whole: temporary, sync, rename.
write_whole(Path, Content) ->
    Temporary = Path ++ ".tmp",
    {ok, File} = file:open(Temporary, [write, raw, binary]),
    try
        ok = file:write(File, Content),
        ok = file:sync(File)
    after
        file:close(File)
    end,
    ok = file:rename(Temporary, Path).

%% Runs the hop. State: undo (how to take back, newest first), firm (something can't be taken back), loaded (helpers to
%% unload), report (newest first), suspended (microseconds in which processes stood still).
run(Req, Notify) ->
    Started = now_us(),
    {ok, Hop} = read_hop(Req),
    #{helpers := Sources} = Known = context(Hop, Req),
    %% Compiled before anything else: the sources may be gone before their turn comes, the core being dead by then.
    Ctx = Known#{notify => Notify, helpers := maps:map(fun compile_helper/2, Sources)},
    #{code_changes := Changes, post_upgrade_callbacks := Callbacks} = Hop,
    Groups = case maps:get(resume, Req) of
                 true -> [];
                 false -> group(numbered(Changes))
             end,
    Empty = #{undo => [], firm => false, helpers => [], report => [], suspended => 0, started => Started, ctx => Ctx},
    Stages = [{code_changes, Groups}, {paths, [{switch_paths, none}]},
              {callbacks, numbered([{callback, C} || C <- Callbacks], length(Changes))}, {marker, [{marker, none}]}],
    run_stages(Stages, Empty).

run_stages([], State) ->
    %% Old code stays until the next load of its module: purging it now would break every fun made by it.
    Summary = summary(State),
    unload_helpers(State),
    Summary#{result => success, undone => false};
run_stages([{Stage, Items} | Rest], State) ->
    case run_items(Stage, Items, State) of
        {ok, Next} -> run_stages(Rest, Next);
        {failed, Failure, Left} -> taken_back(Stage, Failure, Left)
    end.

run_items(_, [], State) -> {ok, State};
run_items(Stage, [Item | Rest], Before) ->
    Start = now_us(),
    %% A helper is in the state before anything of it runs, so that it is unloaded whatever happens then.
    State = with_helper(Item, Before),
    Result = try execute(Stage, Item, State)
             catch
                 throw:{failed, Type, Message, Left} -> {failed, {Type, Message}, Left};
                 throw:{Type, Format, Args} -> {failed, {Type, text(Format, Args)}, State};
                 Class:Reason:Stack ->
                     Why = text("~p:~0tP at ~0tP", [Class, Reason, 20, Stack, 12]),
                     {failed, {failure_of(Stage, Item), Why}, made_firm(Item, State)}
             end,
    Seconds = (now_us() - Start) / 1.0e6,
    case Result of
        {ok, Next, Does} -> run_items(Stage, Rest, report(Item, done, Does, Seconds, Next));
        {failed, {_, Said} = Failure, Last} -> {failed, {Item, Failure}, report(Item, failed, Said, Seconds, Last)}
    end.

with_helper({_, {apply, Mod, _, _}}, State) -> load_helper(Mod, State);
with_helper({_, {callback, _}}, #{ctx := Ctx} = State) -> load_helper(callback_module(Ctx), State);
with_helper(_, State) -> State.

%% A function of the release's that was called may have done anything before it failed.
made_firm({_, {apply, _, _, _}}, State) -> State#{firm := true};
made_firm({_, {restart_application, _}}, State) -> State#{firm := true};
made_firm(_, State) -> State.

failure_of(callbacks, _) -> post_upgrade_failed;
failure_of(marker, _) -> marker_failed;
failure_of(_, {_, {apply, _, _, _}}) -> apply_failed;
failure_of(_, {_, {restart_application, _}}) -> failed_to_start_app;
failure_of(_, {_, {update, _, _}}) -> code_change_failed;
failure_of(_, _) -> failed_to_load.

report({N, Instr}, Status, Does, Seconds, #{report := Report, ctx := #{notify := Notify}} = State) when is_integer(N) ->
    Entry = #{n => N, text => label(Instr), does => to_binary(Does), seconds => Seconds, status => Status},
    Notify(Entry),
    State#{report := [Entry | Report]};
report({loads, Items}, Status, Does, Seconds, State) ->
    lists:foldl(fun({N, Instr, One}, S) -> report({N, Instr}, Status, One, Seconds / length(Items), S) end, State,
                [{N, Instr, case Status of done -> maps:get(Mod, Does); _ -> Does end} || {N, {_, Mod} = Instr} <- Items]);
report(_, _, _, _, State) -> State.

summary(#{report := Report, suspended := Suspended, started := Started}) ->
    #{instructions => lists:reverse(Report), suspended_ms => Suspended / 1000, seconds => (now_us() - Started) / 1.0e6}.

%% Runs of load_module become one atomic swap.
group([{_, {load_module, _}} | _] = Changes) ->
    {Loads, Rest} = lists:splitwith(fun({_, Instr}) -> element(1, Instr) =:= load_module end, Changes),
    [{loads, Loads} | group(Rest)];
group([Change | Rest]) -> [Change | group(Rest)];
group([]) -> [].

execute(code_changes, {loads, Loads}, State) -> load([Mod || {_, {load_module, Mod}} <- Loads], State);
execute(code_changes, {_, {update, Mod, {advanced, Extra}}}, State) -> update(Mod, Extra, State);
execute(code_changes, {_, {restart_application, App}}, State) -> restart_application(App, State);
execute(code_changes, {_, {apply, Mod, Fun, Args}}, State) ->
    Firm = State#{firm := true},
    case apply(Mod, Fun, Args) of
        ok -> {ok, Firm, <<"ok">>};
        Other -> failed(apply_failed, "~p:~p/~b returned ~0tP, not ok.", [Mod, Fun, length(Args), Other, 12], Firm)
    end;
execute(callbacks, {_, {callback, Callback}}, #{ctx := Ctx} = State) ->
    {Fun, Args} = callback(Callback),
    Mod = callback_module(Ctx),
    erlang:module_loaded(Mod) orelse throw({post_upgrade_module_not_loaded, "~p is not loaded.", [Mod]}),
    Value = apply(Mod, Fun, [maps:get(from, Ctx) | Args]),
    {ok, State#{firm := true}, text("~0tP", [Value, 12])};
execute(paths, _, #{ctx := #{tree := Tree}} = State) ->
    switch_paths(Tree),
    {ok, State, <<>>};
execute(marker, _, #{ctx := #{marker := Path, target := Target}} = State) ->
    write_whole(Path, Target),
    {ok, State, <<>>}.

%% ---------------------------------------------------------------------- load_module

load(Mods, #{ctx := Ctx, undo := Undo, helpers := Helpers} = State) ->
    Beams = [{Mod, wanted_beam(Mod, Ctx)} || Mod <- Mods],
    Changed = lists:ukeysort(1, [Each || {Mod, Beam} = Each <- Beams, not unchanged(Mod, Beam)]),
    Taken = [how_to_undo(Mod) || {Mod, _} <- Changed],
    try swap(Changed)
    catch throw:{Type, Format, Args} -> failed(Type, Format, Args, State#{undo := Taken ++ Undo})
    end,
    Own = [Mod || {Mod, _} <- Changed, is_helper(Mod, Ctx)],
    Does = maps:from_list([{Mod, case lists:keymember(Mod, 1, Changed) of
                                     true -> <<"loaded">>;
                                     false -> <<"unchanged">>
                                 end} || Mod <- Mods]),
    {ok, State#{undo := Taken ++ Undo, helpers := Own ++ Helpers}, Does}.

wanted_beam(Mod, Ctx) ->
    case target_beam(Mod, Ctx) of
        {ok, Beam} -> Beam;
        {error, Type, Format, Args} -> throw({Type, Format, Args})
    end.

%% Replaces all modules at once; those with on_load, which can't be prepared, one by one after them.
swap(Beams) ->
    [purge(Mod) || {Mod, _} <- Beams],
    {Alone, Together} = lists:partition(fun({Mod, Beam}) -> prepare(Mod, Beam) =:= {error, on_load_not_allowed} end, Beams),
    ok = finish(prepare_all(Together)),
    [case code:load_binary(Mod, Path, Code) of
         {module, Mod} -> ok;
         {error, Why} -> throw({failed_to_load, "~p: ~0tp", [Mod, Why]})
     end || {Mod, #{path := Path, code := Code}} <- Alone],
    ok.

prepare_all(Beams) ->
    case code:prepare_loading([{Mod, Path, Code} || {Mod, #{path := Path, code := Code}} <- Beams]) of
        {ok, Prepared} -> Prepared;
        {error, Why} -> throw({failed_to_load, "~0tP", [Why, 20]})
    end.

finish(Prepared) ->
    case code:finish_loading(Prepared) of
        ok -> ok;
        {error, Why} -> throw({failed_to_load, "~0tP", [Why, 20]})
    end.

purge(Mod) ->
    (not erlang:check_old_code(Mod)) orelse code:soft_purge(Mod) orelse
        throw({old_code_in_use, "Processes run old code of ~p.", [Mod]}).

%% {reload, Mod, Path} where the running version can be read back, {remove, Mod} where there is none, else {lost, Mod}.
how_to_undo(Mod) ->
    case loaded_md5(Mod) of
        none -> {remove, Mod};
        Md5 ->
            case [Path || Path <- [code:which(Mod)], is_list(Path), {ok, {_, Found}} <- [beam_lib:md5(Path)], Found =:= Md5] of
                [Path] -> {reload, Mod, Path};
                [] -> {lost, Mod}
            end
    end.

%% What keeps a helper from being loaded shows when it is called; the preflight has compiled it.
load_helper(Mod, #{ctx := Ctx, helpers := Loaded} = State) ->
    case is_helper(Mod, Ctx) andalso not lists:member(Mod, Loaded) andalso target_beam(Mod, Ctx) of
        {ok, Beam} ->
            _ = try_swap(Mod, Beam),
            State#{helpers := [Mod | Loaded]};
        _ -> State
    end.

unload_helpers(#{helpers := Mods}) -> [unload(Mod) || Mod <- Mods].

%% Removes a module unless a process still runs it: then it stays, rather than that process die.
unload(Mod) ->
    code:soft_purge(Mod) andalso code:delete(Mod) andalso code:soft_purge(Mod).

%% ---------------------------------------------------------------------- update

update(Mod, Extra, #{ctx := #{from := From} = Ctx, undo := Undo, suspended := Before} = State) ->
    Beam = wanted_beam(Mod, Ctx),
    case unchanged(Mod, Beam) of
        true -> {ok, State, <<"unchanged">>};
        false ->
            prepare(Mod, Beam),
            How = how_to_undo(Mod),
            Found = supervised(Mod),
            purge(Mod),
            Start = now_us(),
            %% A child that started after the look would keep an old state: its supervisor stands still as well.
            Sups = suspend(lists:usort([Sup || {Sup, _} <- Found])),
            Pids = lists:usort([Pid || {_, Pid} <- Found]),
            Suspended = or_resume(Sups, fun() -> suspend(Pids ++ (late_children(Sups, Mod) -- Pids)) end),
            or_resume(Suspended ++ Sups, fun() -> swap([{Mod, Beam}]) end),
            Change = {change_code, Mod, From, Extra},
            {Changed, Failed} = change(Suspended, Change),
            ask_all(Sups, resume),
            Window = now_us() - Start,
            Next = State#{undo := [How | Undo], suspended := Before + Window, firm := maps:get(firm, State) orelse Changed > 0},
            case Failed of
                [] -> {ok, Next, text("~ts, suspended for ~.1f ms", [count(Changed, "process", "processes"), Window / 1000])};
                [{Pid, Why} | _] when Changed =:= 0 ->
                    %% No state has changed: with the old module back the processes go on as if nothing had been.
                    Left = case undo(How) of
                               true ->
                                   ask_all(Suspended, resume),
                                   State#{suspended := Before + Window};
                               _ ->
                                   [exit(P, kill) || P <- Suspended],
                                   Next#{firm := true}
                           end,
                    {failed, {code_change_failed, text("~p of ~p: ~0tP", [Pid, Mod, Why, 20])}, Left};
                [{Pid, Why} | _] ->
                    %% Old state under new code is not defined: the supervisors start these processes afresh.
                    [exit(P, kill) || {P, _} <- Failed],
                    {failed, {code_change_failed, text("~b of ~b processes of ~p, the first ~p: ~0tP; they were killed.",
                                                       [length(Failed), length(Suspended), Mod, Pid, Why, 20])}, Next}
            end
    end.

%% The value of Fun; if it fails, the processes suspended for it go on before the failure does.
or_resume(Pids, Fun) ->
    try Fun()
    catch Class:Reason:Stack ->
        ask_all(Pids, resume),
        erlang:raise(Class, Reason, Stack)
    end.

%% Children that a suspended supervisor can't tell of: it is linked to them, and they were born as Mod's.
late_children(Sups, Mod) ->
    [Pid || Sup <- Sups, {links, Links} <- [process_info(Sup, links)], Pid <- Links, is_pid(Pid),
            element(1, proc_lib:translate_initial_call(Pid)) =:= Mod].

%% Suspends all at once; returns those that are alive and suspended.
suspend(Pids) ->
    {Done, Bad} = ask_all(Pids, suspend),
    case Bad of
        [] -> Done;
        [{Pid, Why} | _] ->
            ask_all(Done, resume),
            %% One that answers late would stay suspended: its turn comes after its suspension.
            [P ! {system, {self(), make_ref()}, resume} || {P, _} <- Bad],
            throw({suspend_failed, "~p could not be suspended: ~0tp.", [Pid, Why]})
    end.

%% The first process alone: what fails in it would fail in all, and with none changed the update can be taken back.
%% {how many have changed and gone on, [{Pid, Why}] of the others, still suspended}.
change([], _) -> {0, []};
change([First | Rest], Change) ->
    case ask_all([First], Change) of
        {[First], []} ->
            ask_all([First], resume),
            {Done, Failed} = ask_all(Rest, Change, resume),
            {length(Done) + 1, Failed};
        {[], []} -> change(Rest, Change);
        {[], Failed} -> {0, Failed}
    end.

%% Sends a system message to all and waits for every answer: {those that said ok, [{Pid, Why}]}. The dead are in neither.
ask_all(Pids, Message) -> ask_all(Pids, Message, none).

%% As above, and sends Then to each as soon as it has said ok.
ask_all(Pids, Message, Then) ->
    Asked = maps:from_list([{ask(Pid, Message), Pid} || Pid <- Pids]),
    collect(Asked, Then, erlang:send_after(?SYS_TIMEOUT, self(), out_of_time), [], []).

ask(Pid, Message) ->
    Ref = monitor(process, Pid),
    Pid ! {system, {self(), Ref}, Message},
    Ref.

collect(Asked, _, Timer, Done, Failed) when map_size(Asked) =:= 0 ->
    erlang:cancel_timer(Timer),
    receive out_of_time -> ok after 0 -> ok end,
    {lists:reverse(Done), lists:reverse(Failed)};
collect(Asked, Then, Timer, Done, Failed) ->
    receive
        {Ref, Answer} when is_map_key(Ref, Asked) ->
            demonitor(Ref, [flush]),
            {Pid, Left} = maps:take(Ref, Asked),
            case Answer of
                ok ->
                    Then =:= none orelse (Pid ! {system, {self(), make_ref()}, Then}),
                    collect(Left, Then, Timer, [Pid | Done], Failed);
                Other -> collect(Left, Then, Timer, Done, [{Pid, Other} | Failed])
            end;
        {'DOWN', Ref, process, _, _} when is_map_key(Ref, Asked) ->
            collect(maps:remove(Ref, Asked), Then, Timer, Done, Failed);
        out_of_time ->
            [demonitor(Ref, [flush]) || Ref <- maps:keys(Asked)],
            {lists:reverse(Done), lists:reverse(Failed) ++ [{Pid, timeout} || Pid <- maps:values(Asked)]}
    end.

%% ---------------------------------------------------------------------- restart_application

restart_application(App, #{ctx := Ctx} = State) ->
    {Ebin, Keys} = case read_app(App, Ctx) of
                       {ok, Found, Read} -> {Found, Read};
                       {error, Format, Args} -> throw({app_not_found, Format, Args})
                   end,
    Mods = proplists:get_value(modules, Keys, []),
    Beams = [{Mod, case beam_in(Mod, Ebin) of
                       {ok, Beam} -> Beam;
                       {error, Type, F, As} -> throw({Type, F, As})
                   end} || Mod <- Mods],
    Firm = State#{firm := true},
    case application:stop(App) of
        ok -> ok;
        {error, {not_started, App}} -> ok;
        {error, Why} -> failed(failed_to_stop_app, "~p: ~0tP", [App, Why, 20], State)
    end,
    Old = case application:get_key(App, modules) of
              {ok, Listed} -> Listed;
              undefined -> []
          end,
    _ = application:unload(App),
    [begin code:purge(Mod), code:delete(Mod), code:purge(Mod) end || Mod <- Old],
    _ = replace_path(App, Ebin),
    try swap(Beams) catch throw:{Kind, F2, As2} -> failed(Kind, F2, As2, Firm) end,
    case application:load({application, App, Keys}) of
        ok -> ok;
        {error, Unloaded} -> failed(failed_to_start_app, "~p: ~0tP", [App, Unloaded, 20], Firm)
    end,
    case application:ensure_all_started(App) of
        {ok, Started} -> {ok, Firm, text("restarted, ~b modules; started ~0tp", [length(Mods), Started])};
        {error, NotStarted} -> failed(failed_to_start_app, "~p: ~0tP", [App, NotStarted, 20], Firm)
    end.

failed(Type, Format, Args, State) -> throw({failed, Type, text(Format, Args), State}).

%% ---------------------------------------------------------------------- code paths

%% The node's applications are looked up in the target's tree from here on, changed or not.
switch_paths(Tree) ->
    [replace_path(App, Ebin) || Ebin <- filelib:wildcard(filename:join([Tree, "lib", "*", "ebin"])), App <- app_of(Ebin)].

app_of(Ebin) ->
    Dir = filename:basename(filename:dirname(Ebin)),
    Name = hd(string:split(Dir, "-")),
    [list_to_atom(Name) || filelib:is_regular(filename:join(Ebin, Name ++ ".app"))].

replace_path(App, Ebin) ->
    case code:lib_dir(App) of
        {error, bad_name} -> code:add_pathz(Ebin);
        Dir -> filename:join(Dir, "ebin") =:= Ebin orelse code:replace_path(App, Ebin)
    end.

%% ---------------------------------------------------------------------- undo

taken_back(Stage, {Item, {Type, Message}}, #{firm := Firm, undo := Undo} = State) ->
    unload_helpers(State),
    Reversible = Stage =:= code_changes andalso not Firm,
    Left = case Reversible of
               true -> [U || U <- Undo, undo(U) =/= true];
               false -> Undo
           end,
    Undone = Reversible andalso Left =:= [],
    (summary(State))#{
        result => Type, message => Message, undone => Undone, stage => Stage,
        n => case Item of {loads, [{N, _} | _]} -> N; {N, _} when is_integer(N) -> N; _ -> 0 end,
        left => [short(U) || U <- lists:sublist(Left, 20)],
        restart => Stage =:= code_changes andalso not Undone}.

undo({reload, Mod, Path}) ->
    case read_beam(Mod, Path) of
        {ok, Beam} -> unchanged(Mod, Beam) orelse try_swap(Mod, Beam);
        Other -> Other
    end;
undo({remove, Mod}) -> (not erlang:module_loaded(Mod)) orelse unload(Mod);
undo({lost, _}) -> lost.

try_swap(Mod, Beam) ->
    try
        swap([{Mod, Beam}]),
        code:soft_purge(Mod),
        true
    catch
        throw:Why -> Why
    end.

%% ------------------------------------------------------------------------------------------------- verify

%% Of the modules named: those whose running code is not the tree's, and those with old code in use; all suspended
%% processes. Lists are cut at 20, the counts are whole.
verify(#{tree := Tree, modules := Names}) ->
    Index = index(Tree),
    Differ = [Name || Name <- Names, {ok, Path} <- [maps:find(unicode:characters_to_list(Name), Index)],
                      {ok, {Mod, Md5}} <- [beam_lib:md5(Path)], loaded_md5(Mod) =/= Md5],
    Absent = [Name || Name <- Names, not maps:is_key(unicode:characters_to_list(Name), Index)],
    WithOld = [Name || Name <- Names, Mod <- existing(Name), erlang:check_old_code(Mod)],
    %% Every process is asked for every such module; on a very large node that would be felt.
    Affordable = length(WithOld) * erlang:system_info(process_count) =< ?OLD_CODE_CHECKS,
    Old = [Name || Affordable, Name <- WithOld, Mod <- existing(Name), old_code_users(Mod) =/= []],
    Suspended = [Pid || Pid <- processes(), is_suspended(Pid)],
    #{differ => lists:sublist(Differ, 20), differ_count => length(Differ),
      absent => lists:sublist(Absent, 20), absent_count => length(Absent),
      old_code => lists:sublist(Old, 20), old_code_count => length(Old), old_code_checked => Affordable,
      suspended => [describe_process(Pid) || Pid <- lists:sublist(Suspended, 20)], suspended_count => length(Suspended)}.

existing(Name) ->
    try [binary_to_existing_atom(Name, utf8)] catch error:badarg -> [] end.

is_suspended(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, {sys, suspend_loop, _}} -> true;
        {current_function, {sys, suspend_loop_hib, _}} -> true;
        _ -> false
    end.

%% ------------------------------------------------------------------------------------------------- small things

problem(N, Type, Format, Args) -> problem(N, Type, Format, Args, #{}).

problem(N, Type, Format, Args, Detail) ->
    #{n => N, err_type => Type, message => text(Format, Args), detail => Detail, severity => error}.

warning(N, Type, Format, Args) -> (problem(N, Type, Format, Args))#{severity => warning}.

unique([]) -> [];
unique([First | Rest]) -> [First | unique([Each || Each <- Rest, Each =/= First])].

numbered(List) -> numbered(List, 0).

numbered(List, Offset) -> lists:zip(lists:seq(Offset + 1, Offset + length(List)), List).

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

count(1, One, _) -> ["1 ", One];
count(N, _, Many) -> [integer_to_list(N), $\s, Many].

now_us() -> erlang:monotonic_time(microsecond).

short(Term) -> text("~0tP", [Term, 30]).

text(Format, Args) -> to_binary(io_lib:format(Format, Args)).

to_binary(Chars) -> unicode:characters_to_binary(Chars).
