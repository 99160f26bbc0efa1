%% Payload, shipped to hosts: runs a hop, in a process that the coordinator watches.
%%
%% It tells the coordinator each thing that it is about to do, before it does it (`note`), so that whatever becomes of this
%% process, what it leaves can be taken back:
%%
%%     {at, Stage, Item}         the next piece of the hop; what was current before stays done
%%     {current, [How]}          modules that this piece replaces, and how to bring back what they were
%%     {suspending, Sups, Pids}  these may be suspended from now on, until `resumed`
%%     {changing, Pid | none | {all, Hands}}  whose state may have changed; the hands are those that change all
%%     {failed, Pids}            all states have changed but for these
%%     {updated, Mod}            the state of all processes of Mod is the target's
%%     firm                      from here on the hop can't be taken back
%%     {helper, Mod}             a helper that may be loaded, and is unloaded in the end
%%     {spent, suspended | swap, Microseconds}   what processes, or callers of modules, could notice
%%     {done, [Entry]}           the piece is done; an entry of the report for each of its instructions
-module(relup_agent_hop).

-export([run/2, group/1, entries/4, failure_of/2]).

-import(relup_agent_text, [text/2, count/3]).
-import(relup_agent_target, [module/2, is_helper/2, is_own/2, unchanged/2, how_to_undo/1, numbered/1, numbered/2]).
-import(relup_agent_processes, [pids/2, supervised/2]).

%% Runs the hop of a request; Note is the fun that tells the coordinator. Returns ok, or exits with {failed, Type, Message}.
run(#{updated := Updated} = Req, Note) ->
    {ok, #{code_changes := Changes, post_upgrade_callbacks := Callbacks} = Hop} = relup_agent_target:read_hop(Req),
    %% updates: the modules that updates name; old: for those that the hop has replaced before their update, the processes
    %% that they had then; updated: those whose processes have the target's state, but for those listed.
    Ctx = Req#{note => Note, target_code => relup_agent_target:open(Hop, Req), old => #{},
               updates => [Mod || {update, Mod, _} <- Changes], updated => maps:from_list(Updated)},
    Pieces = case maps:get(resume, Req) of
                 true -> [];
                 false -> [{code_changes, Piece} || Piece <- group(numbered(Changes))]
             end ++ [{paths, none}] ++
        [{callbacks, {N, {callback, Callback}}} || {N, Callback} <- numbered(Callbacks, length(Changes))] ++
        [{marker, none}],
    _ = lists:foldl(fun({Stage, Piece}, Before) -> run_piece(Stage, Piece, Before) end, Ctx, Pieces),
    ok.

%% What is known after a piece.
run_piece(Stage, Piece, #{note := Note} = Ctx) ->
    Note({at, Stage, Piece}),
    Start = now_us(),
    try
        load_helpers(Stage, Piece, Ctx),
        execute(Piece, Stage, Ctx)
    of
        {Does, After} ->
            Note({done, entries(Piece, done, Does, (now_us() - Start) / 1.0e6)}),
            After
    catch
        throw:{Type, Format, Args} when is_list(Args) -> exit({failed, Type, text(Format, Args)});
        Class:Reason:Stack ->
            Where = lists:takewhile(fun(Frame) -> element(1, Frame) =/= ?MODULE end, Stack),
            exit({failed, failure_of(Stage, Piece), text("~p:~0tP at ~0tP", [Class, Reason, 20, Where, 12])})
    end.

%% Runs of load_module become one atomic swap.
group([{_, {load_module, _}} | _] = Changes) ->
    {Loads, Rest} = lists:splitwith(fun({_, Instr}) -> element(1, Instr) =:= load_module end, Changes),
    [{loads, Loads} | group(Rest)];
group([Change | Rest]) -> [Change | group(Rest)];
group([]) -> [].

%% The report's entries for a piece: #{n, text, does, status, seconds} and what else is known of it.
entries(none, _, _, _) -> [];
entries({loads, Loads}, Status, Does, Seconds) ->
    Firsts = [N || {_, N} <- lists:ukeysort(1, [{Mod, N} || {N, {_, Mod}} <- Loads])],
    [entry(N, Instr, Status, does_of(Mod, Does, lists:member(N, Firsts)), Seconds / length(Loads)) ||
        {N, {_, Mod} = Instr} <- Loads];
entries({N, Instr}, Status, Does, Seconds) -> [entry(N, Instr, Status, Does, Seconds)].

entry(N, Instr, Status, Does, Seconds) when is_map(Does) ->
    Does#{n => N, text => relup_agent_target:label(Instr), status => Status, seconds => Seconds};
entry(N, Instr, Status, Does, Seconds) -> entry(N, Instr, Status, #{does => Does}, Seconds).

%% A module is loaded once in a swap, however often it is named.
does_of(Mod, {Each, Default}, true) -> maps:get(Mod, Each, Default);
does_of(_, {_, Default}, false) -> Default;
does_of(_, Said, _) -> Said.

%% The err_type of a piece that failed in a way of its own.
failure_of(callbacks, _) -> post_upgrade_failed;
failure_of(marker, _) -> marker_failed;
failure_of(_, {_, {apply, _, _, _}}) -> apply_failed;
failure_of(_, {_, {restart_application, _}}) -> failed_to_start_app;
failure_of(_, {_, {update, _, _}}) -> code_change_failed;
failure_of(_, _) -> failed_to_load.

execute({loads, Loads}, _, Ctx) -> load([Mod || {_, {load_module, Mod}} <- Loads], Ctx);
execute({_, {update, Mod, {advanced, Extra}}}, _, Ctx) -> update(Mod, Extra, Ctx);
execute({_, {restart_application, App}}, _, Ctx) -> restart_application(App, Ctx);
execute({_, {apply, Mod, Fun, Args}}, _, #{note := Note, target_code := Target} = Ctx) ->
    Note(firm),
    %% What is called may read files of its application (code:priv_dir/1): those that belong to the code loaded so far.
    switch_paths(Target),
    case apply(Mod, Fun, Args) of
        ok -> {<<"ok">>, Ctx};
        Other -> throw({apply_failed, "~p:~p/~b returned ~0tP, not ok.", [Mod, Fun, length(Args), Other, 12]})
    end;
execute({_, {callback, Callback}}, _, #{from := From, target_code := Target} = Ctx) ->
    {Fun, Args} = relup_agent_target:callback(Callback),
    Mod = relup_agent_target:callback_module(Target),
    erlang:module_loaded(Mod) orelse throw({post_upgrade_module_not_loaded, "~p is not loaded.", [Mod]}),
    {text("~0tP", [apply(Mod, Fun, [From | Args]), 12]), Ctx};
execute(none, paths, #{target_code := Target, note := Note} = Ctx) ->
    Note(firm),
    switch_paths(Target),
    {<<>>, Ctx};
execute(none, marker, #{marker := Path, target := Version} = Ctx) ->
    relup_agent:write_whole(Path, Version, 8#644),
    {<<>>, Ctx}.

%% ---------------------------------------------------------------------- load_module

load(Mods, #{note := Note, target_code := Target} = Ctx) ->
    Beams = [{Mod, wanted(Mod, Ctx)} || Mod <- Mods],
    Changed = lists:ukeysort(1, [Each || {Mod, Beam} = Each <- Beams, not unchanged(Mod, Beam)]),
    [Note({helper, Mod}) || {Mod, Beam} <- Beams, is_helper(Mod, Target), not is_own(Mod, Beam)],
    After = with_old(Changed, Ctx),
    Spent = swap(Changed, Ctx),
    Loaded = #{does => loaded_with(length(Changed) - 1), window_ms => Spent / 1000},
    {{maps:from_list([{Mod, Loaded} || {Mod, _} <- Changed]), #{does => <<"unchanged">>, unchanged => true}}, After}.

loaded_with(0) -> <<"loaded">>;
loaded_with(Others) -> text("loaded, in one swap with ~ts", [count(Others, "other", "others")]).

wanted(Mod, #{target_code := Target}) ->
    case module(Mod, Target) of
        {ok, Beam} -> Beam;
        {error, Type, Format, Args} -> throw({Type, Format, Args})
    end.

%% The processes that modules have before they are replaced, where an update is still to come: those that start in between
%% have the new state from the beginning. Where a look has got no answer, {unknown, Problem}: that is thrown by the update, not
%% here, where an application may have stopped.
with_old(Beams, #{updates := Updates, old := Old, timeout := Ms} = Ctx) ->
    case [Mod || {Mod, _} <- Beams, lists:member(Mod, Updates)] of
        [] -> Ctx;
        Mods ->
            {Found, Problems, _} = supervised(Mods, Ms),
            Had = fun(Mod) -> case Problems of [] -> pids(Mod, Found); [Problem | _] -> {unknown, Problem} end end,
            Ctx#{old := lists:foldl(fun(Mod, Known) -> Known#{Mod => Had(Mod)} end, Old, Mods)}
    end.

%% Replaces all modules at once; those with on_load, which can't be prepared, one by one after them. All that can be done
%% before is. Returns the microseconds of the swap.
swap([], _) -> 0;
swap(Beams, Ctx) -> put_in_place(Beams, prepare(Beams, []), Ctx).

put_in_place(Beams, {Prepared, Alone}, #{note := Note} = Ctx) ->
    Note({current, [how_to_undo(Mod) || {Mod, _} <- Beams]}),
    [purge(Mod, Ctx) || {Mod, _} <- Beams],
    Start = now_us(),
    Prepared =:= none orelse finished(code:finish_loading(Prepared)),
    [finished(alone(Mod, code:load_binary(Mod, Path, Code))) || {Mod, #{path := Path, code := Code}} <- Alone],
    Spent = now_us() - Start,
    Note({spent, swap, Spent}),
    Spent.

%% {what finish_loading takes, or none; those with on_load, which can't be prepared}
prepare([], Alone) -> {none, Alone};
prepare(Beams, Alone) ->
    case code:prepare_loading([{Mod, Path, Code} || {Mod, #{path := Path, code := Code}} <- Beams]) of
        {ok, Prepared} -> {Prepared, Alone};
        {error, Errors} ->
            case [Mod || {Mod, on_load_not_allowed} <- Errors] of
                OnLoad when Alone =:= [], length(OnLoad) =:= length(Errors) ->
                    {With, Without} = lists:partition(fun({Mod, _}) -> lists:member(Mod, OnLoad) end, Beams),
                    prepare(Without, With);
                _ -> not_loaded([Error || {_, Why} = Error <- Errors, Why =/= on_load_not_allowed])
            end
    end.

alone(Mod, {error, Why}) -> {error, [{Mod, Why}]};
alone(_, {module, _}) -> ok.

finished(ok) -> ok;
finished({error, Why}) -> not_loaded(Why).

not_loaded(badfile = Why) -> throw({bad_beam, "~0tP", [Why, 20]});
not_loaded([{_, badfile} | _] = Why) -> throw({bad_beam, "~0tP", [Why, 20]});
not_loaded(Why) -> throw({failed_to_load, "~0tP", [Why, 20]}).

purge(Mod, #{kill_lingering := Kill}) ->
    (not erlang:check_old_code(Mod)) orelse code:soft_purge(Mod) orelse (Kill andalso killed(Mod)) orelse
        throw({old_code_in_use, "Processes run old code of ~p.", [Mod]}).

killed(Mod) ->
    _ = code:purge(Mod),
    true.

%% Whatever helpers a piece names, at any place, and those that these name, are there before it runs.
load_helpers(Stage, Piece, #{target_code := Target} = Ctx) ->
    try [load_helper(Mod, Ctx) || Mod <- relup_agent_target:helpers_before(Piece, Target)]
    catch throw:{_, Format, Why} when Stage =:= callbacks -> throw({post_upgrade_module_not_loaded, Format, Why})
    end.

%% What keeps a helper from being compiled is told by the preflight.
load_helper(Mod, #{target_code := Target, note := Note} = Ctx) ->
    case module(Mod, Target) of
        {ok, Beam} ->
            is_own(Mod, Beam) orelse Note({helper, Mod}),
            unchanged(Mod, Beam) orelse swap([{Mod, Beam}], Ctx#{note := fun(_) -> ok end});
        _ -> ok
    end.

%% ---------------------------------------------------------------------- update

%% The state changes of all processes that have it yet, whether or not the module is loaded by then.
update(Mod, Extra, #{note := Note, updated := Updated, timeout := Ms} = Ctx) ->
    Beam = wanted(Mod, Ctx),
    Loads = not unchanged(Mod, Beam),
    {Found, Problems, Linked} = supervised([Mod], Ms),
    [throw(Problem) || Problem <- Problems],
    Sups = lists:usort([Sup || {_, Sup, _} <- Found]),
    Does = case to_change(Mod, pids(Mod, Found), Loads, Ctx) of
               [] when not Loads -> #{does => <<"unchanged, and no process is left to change">>, unchanged => true};
               Pids when Loads ->
                   Swap = swapper(Mod, Beam, Ctx),
                   change(Mod, Extra, #{pids => Pids, sups => Sups, linked => Linked, swap => Swap}, Ctx);
               Pids ->
                   %% Whoever starts now has the new state from the beginning.
                   change(Mod, Extra, #{pids => Pids, sups => Sups, linked => all, swap => fun() -> ok end}, Ctx)
           end,
    Note({updated, Mod}),
    {Does, Ctx#{updated := Updated#{Mod => []}}}.

%% Those of the processes that have the old state: all if the module is loaded only now.
to_change(_, Pids, true, _) -> Pids;
to_change(Mod, Pids, false, #{updated := Updated, old := Old}) ->
    case {Updated, Old} of
        {#{Mod := Kept}, _} -> [Pid || Pid <- Pids, lists:member(text("~p", [Pid]), Kept)];
        {_, #{Mod := {unknown, Problem}}} when Pids =/= [] -> throw(Problem);
        {_, #{Mod := {unknown, _}}} -> [];
        {_, #{Mod := Had}} -> ordsets:intersection(Pids, Had);
        _ -> Pids
    end.

change(Mod, Extra, Update, #{from := From, note := Note, timeout := Ms}) ->
    {Changed, Window, Failed} = relup_agent_crowd:change(
        Update#{mod => Mod, message => {change_code, Mod, From, Extra}, note => Note}, Ms),
    Note({spent, suspended, Window}),
    case Failed of
        [] ->
            Note(resumed),
            #{does => text("~ts, suspended for ~.1f ms", [count(Changed, "process", "processes"), Window / 1000]),
              processes => Changed, window_ms => Window / 1000};
        _ ->
            {Pid, Why} = lists:last(Failed),
            throw({code_change_failed, "~b of ~b processes of ~p, the first ~p: ~0tP.",
                   [length(Failed), length(Failed) + Changed, Mod, Pid, Why, 20]})
    end.

%% What swaps the module while its processes stand still; all that can be done before is.
swapper(Mod, Beam, #{note := Note} = Ctx) ->
    case prepare([{Mod, Beam}], []) of
        {none, _} = Ready -> fun() -> put_in_place([{Mod, Beam}], Ready, Ctx) end;
        {Prepared, []} ->
            How = how_to_undo(Mod),
            purge(Mod, Ctx),
            fun() ->
                Note({current, [How]}),
                finished(code:finish_loading(Prepared))
            end
    end.

%% ---------------------------------------------------------------------- restart_application

%% Modules that did not change are left alone, and none is purged: nothing that another application runs is killed. An
%% application that is included in another one keeps its place there: only its code and its specification are renewed.
restart_application(App, #{target_code := Target, note := Note} = Ctx) ->
    {Ebin, Keys} = relup_agent_target:app_spec(App, Target),
    Mods = lists:usort(proplists:get_value(modules, Keys, [])),
    Beams = [Each || Mod <- Mods, {_, Beam} = Each <- [{Mod, wanted(Mod, Ctx)}], not unchanged(Mod, Beam)],
    Gone = relup_agent_target:dropped(App, Target),
    Replaced = text("~b of ~ts replaced, ~b removed", [length(Beams), count(length(Mods), "module", "modules"), length(Gone)]),
    %% A beam that can't be loaded shows while the application still runs.
    Ready = prepare(Beams, []),
    [purge(Mod, Ctx) || Mod <- [Each || {Each, _} <- Beams] ++ Gone],
    Put = fun() ->
                  After = with_old(Beams, Ctx),
                  put_in_place(Beams, Ready, Ctx#{note := fun keep_no_undo/1}),
                  [code:delete(Mod) || Mod <- Gone],
                  renew(App, Ebin, Keys, Target),
                  After
          end,
    Note(firm),
    case relup_agent_target:included_in(App, Target) of
        [] ->
            {Started, After} = stopped(App, Put, Ctx),
            {#{does => text("restarted, ~ts~ts", [Replaced, with(Started -- [App])]),
               started => [atom_to_binary(Each, utf8) || Each <- Started]}, After};
        Outer ->
            After = Put(),
            {#{does => text("~ts; not restarted, being included in ~0tp", [Replaced, Outer]), started => []}, After}
    end.

stopped(App, Put, #{target_code := Target, timeout := Ms}) ->
    Type = start_type(App, Target),
    stop(App, Ms),
    After = Put(),
    Started = start(App, Ms),
    [become(Each, case Each of App -> Type; _ -> relup_agent_target:start_type(Each, Target) end, Ms) || Each <- Started],
    {Started, After}.

keep_no_undo(_) -> ok.

with([]) -> "";
with(Others) -> text("; started with it: ~0tp", [Others]).

%% The application's keys and environment become those of the target, and so do those of the applications included in it.
renew(App, Ebin, Keys, Target) ->
    _ = application:unload(App),
    _ = replace_path(App, Ebin),
    [replace_path(Name, Dir) || {Name, Dir} <- relup_agent_target:included(App, Target)],
    case application:load({application, App, Keys}) of
        ok -> ok;
        {error, Unloaded} -> throw({failed_to_start_app, "~p: ~0tP", [App, Unloaded, 20]})
    end.

%% As the application was started, or else as the release starts it; its end ends the node if it did before.
start_type(App, Target) ->
    case proplists:get_value(App, proplists:get_value(started, application:info(), [])) of
        undefined -> relup_agent_target:start_type(App, Target);
        Type -> Type
    end.

stop(App, Ms) ->
    case relup_agent_processes:within(Ms, fun() -> application:stop(App) end) of
        {ok, ok} -> ok;
        {ok, {error, {not_started, App}}} -> ok;
        {ok, {error, Why}} -> throw({failed_to_stop_app, "~p: ~0tP", [App, Why, 20]});
        {error, Why} -> throw({failed_to_stop_app, "~p: ~0tP", [App, Why, 20]})
    end.

%% As temporary: the VM halts if a permanent application does not start.
start(App, Ms) ->
    case relup_agent_processes:within(Ms, fun() -> application:ensure_all_started(App, temporary) end) of
        {ok, {ok, Started}} -> Started;
        {_, Why} -> throw({failed_to_start_app, "~p: ~0tP", [App, Why, 20]})
    end.

%% An application that runs gets the type that it is to have. Nothing but the state of the application controller says
%% which that is: one of its elements is a list of {App, Type}.
become(_, temporary, _) -> ok;
become(App, Type, Ms) ->
    Is = {App, temporary},
    Renew = fun(Known) when is_list(Known) ->
                    case lists:member(Is, Known) of
                        true -> lists:keyreplace(App, 1, Known, {App, Type});
                        false -> Known
                    end;
               (Other) -> Other
            end,
    sys:replace_state(application_controller, fun(State) -> list_to_tuple(lists:map(Renew, tuple_to_list(State))) end, Ms).

%% ---------------------------------------------------------------------- code paths

%% The node's applications are looked up in the target's tree from here on, changed or not. Like OTP, which does it at the
%% point of no return: before the first apply, or else after the code changes.
switch_paths(Target) ->
    [replace_path(binary_to_atom(Name, utf8), Ebin) || {Name, Ebin} <- relup_agent_target:app_dirs(Target)],
    replace_consolidated(relup_agent_target:consolidated(Target)).

replace_path(App, Ebin) ->
    case code:lib_dir(App) of
        {error, bad_name} -> code:add_pathz(Ebin);
        Dir -> filename:join(Dir, "ebin") =:= Ebin orelse code:replace_path(App, Ebin)
    end.

%% The protocols that Elixir has consolidated for a release come before all applications.
replace_consolidated(New) ->
    Old = [Dir || Dir <- code:get_path(), Dir =/= New, filename:basename(Dir) =:= "consolidated",
                  filename:basename(filename:dirname(filename:dirname(Dir))) =:= "releases"],
    _ = filelib:is_dir(New) andalso code:add_patha(New),
    [code:del_path(Dir) || Dir <- Old].

now_us() -> erlang:monotonic_time(microsecond).
