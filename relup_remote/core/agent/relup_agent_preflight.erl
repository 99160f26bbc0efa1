%% Payload, shipped to hosts: all that stands in the way of a hop, found without changing anything.
%%
%% The hop is gone through as it will run, piece by piece. What is loaded at each point is kept in `Seen`: modules, by
%% name, as the target's facts have them (with n, the instruction that loads them), or `removed`; the applications that
%% the hop has started, and those that it has started with the new code of a module that is updated later (`fresh`); the
%% modules whose processes have the target's state (`updated`, with those that have not); and how many modules all processes
%% were asked for, and for which there were too many to ask.
-module(relup_agent_preflight).

-export([run/1]).

-import(relup_agent_text, [text/2, count/3, problem/4, problem/5, warning/4, warning/5, process/1]).
-import(relup_agent_processes, [pids/2]).
-import(relup_agent_target, [module/2, is_helper/2, is_exported/3, unchanged/2, loaded_md5/1, numbered/1, numbered/2]).

%% How many modules or processes are named.
-define(NAMED, 500).
-define(NAMED_PROCESSES, 20).
%% How many processes of an update are asked what they are.
-define(ASKED_WHAT_THEY_ARE, 500).
-define(VERSION_TIMEOUT, 5000).
%% How long all supervisors together may take to answer: less than in the hop, so that silent ones are named in time.
-define(LOOK_TIMEOUT, 10000).

%% #{problems, warnings, instructions => [#{n, text, does, …}], modules}: a problem or warning is #{n, err_type, message,
%% detail}, n 0 where it is the whole hop's; modules are the names of those that the hop takes from the target.
run(#{timeout := Ms} = Req) ->
    case relup_agent_target:read_hop(Req) of
        {ok, Hop} -> judge(Hop, Req#{timeout := min(Ms, ?LOOK_TIMEOUT)});
        {error, Problem} -> #{problems => [Problem], warnings => [], instructions => [], modules => []}
    end.

judge(#{code_changes := Changes, post_upgrade_callbacks := Callbacks} = Hop, Req) ->
    Numbered = numbered(Changes),
    Ctx = supervised(Numbered, Req#{target_code => relup_agent_target:open(Hop, Req)}),
    {Entries, Found, Changed} = case maps:get(resume, Req) of
                                 true -> {[entry(Each, <<"done by an earlier attempt">>) || Each <- Numbered], [], seen(Ctx)};
                                 false -> changes(relup_agent_hop:group(Numbered), Ctx)
                             end,
    {Last, Seen} = lists:mapfoldl(fun({N, Callback}, Before) -> callback(N, Callback, Before, Ctx) end, Changed,
                                  numbered(Callbacks, length(Changes))),
    All = Found ++ lists:append([Problems || {_, Problems} <- Last]) ++ release(Seen, Ctx) ++ helpers(Ctx) ++
        prepared(Seen, Ctx) ++ unasked(Seen) ++ told_beforehand(Seen, Ctx),
    {Hard, Soft} = lists:partition(fun(#{severity := Severity}) -> Severity =:= error end, unique(All)),
    #{modules := Modules} = Seen,
    #{problems => Hard, warnings => Soft, instructions => Entries ++ [Entry || {Entry, _} <- Last],
      modules => [atom_to_binary(Mod, utf8) || {Mod, #{}} <- maps:to_list(Modules), not is_helper(Mod, target(Ctx))]}.

seen(#{updated := Updated}) ->
    #{modules => #{}, apps => [], fresh => #{}, updated => maps:from_list(Updated), asked => 0, unasked => []}.

target(#{target_code := Target}) -> Target.

entry(Numbered, Does) when is_binary(Does) -> entry(Numbered, #{does => Does});
entry({N, Instr}, Does) -> Does#{n => N, text => relup_agent_target:label(Instr)}.

%% What is wrong twice is told once, where it first is.
unique([]) -> [];
unique([#{err_type := Type, message := Message} = First | Rest]) ->
    [First | unique([Each || #{err_type := T, message := M} = Each <- Rest, {T, M} =/= {Type, Message}])].

%% ------------------------------------------------------------------------------------------------- code changes

changes(Pieces, Ctx) ->
    {Checked, Seen} = lists:mapfoldl(fun(Piece, Before) -> piece(Piece, Before, Ctx) end, seen(Ctx), Pieces),
    {lists:append([Entries || {Entries, _} <- Checked]), lists:append([Problems || {_, Problems} <- Checked]), Seen}.

%% {{Entries, Problems}, Seen}
piece({loads, [{N, _} | _] = Loads} = Piece, Before, Ctx) ->
    {Missing, Ready} = helped(N, Piece, Before, Ctx),
    {Checked, Seen} = lists:mapfoldl(fun(Load, S) -> load(Load, S, Ctx) end, Ready, Loads),
    Others = length([loaded || {#{loads := true}, _} <- Checked]) - 1,
    {{[in_one_swap(Entry, Others) || {Entry, _} <- Checked], Missing ++ lists:append([Problems || {_, Problems} <- Checked])},
     Seen};
piece({N, _} = Numbered, Before, Ctx) ->
    {Missing, Ready} = helped(N, Numbered, Before, Ctx),
    {Does, Problems, Seen} = instruction(Numbered, Ready, Ctx),
    {{[entry(Numbered, Does)], Missing ++ Problems}, Seen}.

%% {Problems, Seen}: the helpers that are loaded because a piece names them.
helped(N, Piece, Seen, Ctx) ->
    lists:foldl(fun(Mod, {Problems, #{modules := Modules} = Before}) ->
                        case module(Mod, target(Ctx)) of
                            {ok, Facts} -> {Problems, Before#{modules := maps:merge(#{Mod => Facts#{n => N}}, Modules)}};
                            {error, Type, Format, Args} -> {Problems ++ [problem(N, Type, Format, Args)], Before}
                        end
                end, {[], Seen}, relup_agent_target:helpers_before(Piece, target(Ctx))).

in_one_swap(#{loads := true, does := Does} = Entry, Others) when Others > 0 ->
    maps:remove(loads, Entry#{does := text("~ts, in one swap with ~ts", [Does, count(Others, "other", "others")])});
in_one_swap(Entry, _) -> maps:remove(loads, Entry).

load({N, {load_module, Mod}} = Numbered, Seen, Ctx) when is_atom(Mod) ->
    {Does, Problems, After} = replaced(N, Mod, Seen, Ctx),
    {{entry(Numbered, Does), Problems}, After};
load(Numbered, Seen, _) -> {{entry(Numbered, <<>>), invalid(Numbered)}, Seen}.

%% {Does, Problems, Seen}
instruction({N, {update, Mod, {advanced, _}}}, Seen, Ctx) when is_atom(Mod) ->
    {Does, Problems, #{updated := Updated} = After} = replaced(N, Mod, Seen, Ctx),
    {Found, All} = maps:get(Mod, maps:get(supervised, Ctx)),
    Pids = to_change(Mod, All, Seen, Ctx),
    {maps:remove(loads, updates(Does, length(Pids))),
     Problems ++ code_change(N, Mod, Pids, After, Ctx) ++ [problem(N, Type, F, As) || {Type, F, As} <- Found] ++
         [warning(N, no_process, "No process uses ~p, so the update only loads it.", [Mod]) || All =:= [], Found =:= []],
     After#{updated := Updated#{Mod => []}}};
instruction({N, {restart_application, App}}, Seen, _) when App =:= kernel; App =:= stdlib; App =:= compiler ->
    {<<>>, [problem(N, app_not_restartable, "~p can't be restarted in a hop.", [App])], Seen};
instruction({N, {restart_application, App}}, Seen, Ctx) when is_atom(App) -> restarted(N, App, Seen, Ctx);
instruction({N, {apply, Mod, Fun, Args}} = Numbered, Seen, Ctx) when is_atom(Mod), is_atom(Fun) ->
    try length(Args) of
        Arity -> {calls(Mod, Seen, Ctx), exported(N, Mod, Fun, Arity, Seen, Ctx), Seen}
    catch error:badarg -> {<<>>, invalid(Numbered), Seen}
    end;
instruction(Numbered, Seen, _) -> {<<>>, invalid(Numbered), Seen}.

invalid({N, Instr}) -> [problem(N, invalid_instr, "Not an instruction: ~0tP", [Instr, 12])].

%% A module that the hop puts in the place of what runs.
replaced(N, Mod, #{modules := Modules} = Seen, Ctx) ->
    case module(Mod, target(Ctx)) of
        {ok, Facts} ->
            {Problems, After} = case is_there(Mod, Facts, Seen) of
                                    true -> {[], Seen};
                                    false -> in_use(N, Mod, Seen, Ctx)
                                end,
            {does(Mod, Facts, Seen, Ctx), sticky(N, Mod, Facts) ++ Problems,
             After#{modules := Modules#{Mod => Facts#{n => N}}}};
        {error, Type, Format, Args} ->
            {#{does => <<>>}, [problem(N, Type, Format, Args)], Seen#{modules := Modules#{Mod => unknown}}}
    end.

%% Whether the code that is loaded at this point is what would be loaded.
is_there(Mod, Facts, #{modules := Modules}) ->
    case Modules of
        #{Mod := #{}} -> true;
        #{Mod := removed} -> false;
        _ -> unchanged(Mod, Facts)
    end.

does(Mod, Facts, Seen, Ctx) ->
    case {is_there(Mod, Facts, Seen), is_helper(Mod, target(Ctx)), loaded_md5(Mod)} of
        {true, _, _} -> #{does => <<"unchanged">>, unchanged => true};
        {false, true, _} -> #{does => <<"helper of the catalogue, removed after the hop">>, loads => true};
        {false, false, none} -> #{does => <<"new">>, loads => true};
        {false, false, _} -> #{does => <<"replaced">>, loads => true}
    end.

updates(#{loads := true, does := Does} = Entry, Users) -> Entry#{does := states(Does, Users), processes => Users};
updates(#{unchanged := true} = Entry, 0) -> Entry#{does := <<"unchanged, and no process is left to change">>};
updates(#{unchanged := true} = Entry, Users) ->
    (maps:remove(unchanged, Entry))#{does := states(<<"unchanged">>, Users), processes => Users};
updates(Entry, _) -> Entry.

states(Does, Users) -> text("~ts; the state of ~ts changes", [Does, count(Users, "process", "processes")]).

%% The processes whose state an update has to change, of all that use its module; see relup_agent_hop.
to_change(Mod, Pids, #{modules := Modules, fresh := Fresh, updated := Updated} = Seen, Ctx) ->
    Is = case module(Mod, target(Ctx)) of
             {ok, Facts} -> is_there(Mod, Facts, Seen);
             _ -> false
         end,
    case {Is, Updated} of
        {true, #{Mod := Kept}} -> [Pid || Pid <- Pids, lists:member(text("~p", [Pid]), Kept)];
        {true, _} when is_map_key(Mod, Modules) -> without(Pids, maps:get(Mod, Fresh, []));
        _ -> Pids
    end.

%% Those that are not of one of the applications.
without(Pids, []) -> Pids;
without(Pids, Apps) ->
    Masters = [application_controller:get_master(App) || App <- Apps],
    [Pid || Pid <- Pids, not lists:member(relup_agent_processes:leader(Pid), Masters)].

sticky(N, Mod, Facts) ->
    [problem(N, sticky_module, "~p is in a sticky directory.", [Mod]) || code:is_sticky(Mod), not unchanged(Mod, Facts)].

%% {Problems, Seen}
in_use(N, Mod, #{asked := Asked, unasked := Unasked} = Seen, Ctx) ->
    case erlang:check_old_code(Mod) andalso relup_agent_processes:may_ask(Asked + 1) of
        true -> {lingering(N, Mod, relup_agent_processes:old_code_users(Mod), Ctx), Seen#{asked := Asked + 1}};
        false -> {[], Seen#{unasked := [Mod || erlang:check_old_code(Mod)] ++ Unasked}}
    end.

%% Processes that a load of Mod would kill.
lingering(_, _, [], _) -> [];
lingering(N, Mod, Users, #{kill_lingering := Kill}) ->
    {Severity, Then} = case Kill of true -> {warning, "; the load kills what does (--kill-lingering)"}; false -> {error, ""} end,
    Named = [process(Pid) || Pid <- lists:sublist(Users, ?NAMED_PROCESSES)],
    Many = count(length(Users), "process runs", "processes run"),
    [(problem(N, old_code_in_use, "~ts old code of ~p~ts.", [Many, Mod, Then],
              #{module => atom_to_binary(Mod, utf8), count => length(Users), processes => Named}))#{severity := Severity}].

%% The hop itself asks, before it loads them.
unasked(#{unasked := []}) -> [];
unasked(#{unasked := Mods}) ->
    [warning(0, old_code_in_use, "There are too many processes to be asked whether they run old code of ~ts.",
             [count(length(Mods), "module", "modules")],
             #{count => length(Mods), modules => [atom_to_binary(Mod, utf8) || Mod <- lists:sublist(Mods, ?NAMED)]})].

%% What changes a state is the module that a process runs, which need not be the one that is updated. Where it can't be told,
%% nothing is refused: the first process tells, and all is taken back.
code_change(N, Mod, Pids, Seen, Ctx) ->
    Running = [{Kind, Its} || {Kind, Its} <- relup_agent_processes:kinds(lists:sublist(Pids, ?ASKED_WHAT_THEY_ARE)),
                              Kind =/= unknown],
    [problem(N, function_not_exported, "~p can't change the state of ~p: the version loaded by then exports no ~s.",
             [Its, Mod, Needed]) || {Kind, Its} <- Running, {Needed, false} <- [{needed(Kind), changes(Kind, Its, Mod, Seen, Ctx)}]].

needed(supervisor) -> "init/1";
needed(server) -> "code_change".

changes(supervisor, Its, _, Seen, Ctx) -> exports(Its, [{init, 1}], Seen, Ctx);
changes(server, Its, Mod, Seen, Ctx) ->
    Any = [{code_change, 3}, {code_change, 4}, {system_code_change, 4}],
    exports(Its, Any, Seen, Ctx) orelse exports(Mod, Any, Seen, Ctx).

%% Whether the version of a module that is loaded at this point exports one of some functions, or can't be told.
exports(Mod, Functions, Seen, Ctx) ->
    case loaded(Mod, Seen, Ctx) of
        running -> lists:any(fun({F, A}) -> erlang:function_exported(Mod, F, A) end, Functions);
        {_, {ok, Facts}} -> lists:any(fun({F, A}) -> is_exported(F, A, Facts) end, Functions);
        none -> false;
        _ -> true
    end.

%% One walk through the supervisors for all updates: Mod => {problems of the walk, the processes}. A supervisor that
%% can't be asked is told of with the first update.
supervised(Numbered, #{timeout := Ms} = Ctx) ->
    case [Mod || {_, {update, Mod, _}} <- Numbered, is_atom(Mod)] of
        [] -> Ctx#{supervised => #{}};
        [First | _] = Mods ->
            {Found, Problems, _} = relup_agent_processes:supervised(lists:usort(Mods), Ms),
            Ctx#{supervised => maps:from_list([{Mod, {[P || P <- Problems, concerns(P, Mod, First)], pids(Mod, Found)}}
                                               || Mod <- Mods])}
    end.

concerns({get_modules_failed, _, [_, Its]}, Mod, _) -> Its =:= Mod;
concerns(_, Mod, First) -> Mod =:= First.

%% ------------------------------------------------------------------------------------------------- applications

restarted(N, App, #{apps := Apps} = Seen, #{timeout := Ms} = Ctx) ->
    case relup_agent_target:app(atom_to_binary(App, utf8), target(Ctx)) of
        {error, Format, Args} -> {<<>>, [problem(N, app_not_found, Format, Args)], Seen};
        {ok, #{modules := Names} = Facts} ->
            Mods = lists:usort([binary_to_atom(Name, utf8) || Name <- Names]),
            {Checked, Looked} = lists:mapfoldl(
                fun(Mod, Before) -> {Does, Problems, After} = replaced(N, Mod, Before, Ctx), {{Does, Problems}, After} end,
                Seen, Mods),
            Gone = [Mod || Mod <- relup_agent_target:dropped(App, target(Ctx)), not is_removed(Mod, Seen)],
            {Used, #{modules := Known} = Last} = lists:mapfoldl(fun(Mod, Before) -> in_use(N, Mod, Before, Ctx) end, Looked, Gone),
            {_, Stuck} = relup_agent_processes:tree(App, Ms),
            Problems = lists:append([Each || {_, Each} <- Checked] ++ Used) ++ dependencies(N, App, Facts, Seen, Ctx) ++
                [problem(N, Type, Format, Args) || {Type, Format, Args} <- Stuck],
            Changed = length([loads || {#{loads := true}, _} <- Checked]),
            Replace = text("replace ~b of ~ts, remove ~b", [Changed, count(length(Mods), "module", "modules"), length(Gone)]),
            After = Last#{modules := maps:merge(Known, maps:from_list([{Mod, removed} || Mod <- Gone]))},
            case relup_agent_target:included_in(App, target(Ctx)) of
                [] -> {text("stop, ~ts, start", [Replace]), Problems, fresh(App, After#{apps := [App | Apps]}, Ctx)};
                Outer -> {text("~ts; not restarted, being included in ~0tp", [Replace, Outer]), Problems, After}
            end
    end.

is_removed(Mod, #{modules := Modules}) -> maps:get(Mod, Modules, none) =:= removed.

%% The processes of an application that has just been started run the new code of what the hop has loaded by now.
fresh(App, #{modules := Modules, fresh := Fresh} = Seen, #{supervised := Updates}) ->
    Loaded = [Mod || Mod <- maps:keys(Updates), is_map(maps:get(Mod, Modules, none)),
                     not unchanged(Mod, map_get(Mod, Modules))],
    Seen#{fresh := lists:foldl(fun(Mod, Known) -> maps:update_with(Mod, fun(Apps) -> [App | Apps] end, [App], Known) end, Fresh,
                               Loaded)}.

%% What the application needs has to be in the target, and running when its turn comes.
dependencies(N, App, #{applications := Needed, optional := Optional}, #{apps := Restarted}, Ctx) ->
    Running = started(),
    lists:append([case {relup_agent_target:app(Dep, target(Ctx)), is_started(Dep, Running, Restarted)} of
                      {{error, _, _}, _} ->
                          [problem(N, app_dependency_missing, "~p needs ~ts, which is not in the target.", [App, Dep])];
                      {{ok, _}, false} ->
                          [problem(N, app_dependency_not_started, "~p needs ~ts, which is not started.", [App, Dep])];
                      {{ok, _}, unknown} ->
                          [warning(N, app_dependency_not_started, "~p needs ~ts. It is not known whether that is"
                                   " started: the application controller does not answer.", [App, Dep])];
                      {{ok, _}, true} -> []
                  end || Dep <- Needed -- Optional]).

is_started(Dep, Running, Restarted) ->
    case lists:member(Dep, [atom_to_binary(Name, utf8) || Name <- Restarted]) of
        true -> true;
        false when is_list(Running) -> lists:member(Dep, Running);
        false -> unknown
    end.

%% The application controller does not answer while an application starts that takes its time.
started() ->
    try [atom_to_binary(Name, utf8) || {Name, _, _} <- application:which_applications(?LOOK_TIMEOUT)]
    catch exit:_ -> unknown
    end.

%% ------------------------------------------------------------------------------------------------- calls

callback(N, Callback, Before, Ctx) ->
    Numbered = {N, {callback, Callback}},
    Mod = relup_agent_target:callback_module(target(Ctx)),
    {Missing, Seen} = helped(N, Numbered, Before, Ctx),
    case relup_agent_target:callback(Callback) of
        {Fun, Args} ->
            Problems = Missing ++ exported(N, Mod, Fun, 1 + length(Args), Seen, Ctx),
            {{entry(Numbered, calls(Mod, Seen, Ctx)), Problems}, Seen};
        invalid -> {{entry(Numbered, <<>>), invalid({N, Callback})}, Before}
    end.

exported(N, Mod, Fun, Arity, Seen, Ctx) ->
    Not = fun() -> problem(N, function_not_exported, "~p:~p/~b is not exported by the version loaded at this point.",
                           [Mod, Fun, Arity]) end,
    case loaded(Mod, Seen, Ctx) of
        unknown -> [];
        running -> [Not() || not erlang:function_exported(Mod, Fun, Arity), not erlang:is_builtin(Mod, Fun, Arity)];
        {_, {ok, Facts}} -> [Not() || not is_exported(Fun, Arity, Facts)];
        {_, {error, Type, Format, Args}} -> [problem(N, Type, Format, Args)];
        none -> [problem(N, module_not_found, "~p is neither loaded at this point nor a helper of the catalogue.", [Mod])]
    end.

calls(Mod, Seen, Ctx) ->
    case loaded(Mod, Seen, Ctx) of
        running -> <<"calls what runs now">>;
        {target, _} -> <<"calls the target's version">>;
        {helper, _} -> <<"calls the catalogue's helper">>;
        _ -> <<>>
    end.

%% What Mod is at this point of the hop: what the hop has loaded, else what runs, else a helper, loaded to be called.
loaded(Mod, #{modules := Modules}, Ctx) ->
    Helper = is_helper(Mod, target(Ctx)),
    case maps:get(Mod, Modules, none) of
        unknown -> unknown;
        #{} = Facts when Helper -> {helper, {ok, Facts}};
        #{} = Facts -> {target, {ok, Facts}};
        Other ->
            case Other =:= none andalso erlang:module_loaded(Mod) of
                true -> running;
                false when Helper -> {helper, module(Mod, target(Ctx))};
                false -> none
            end
    end.

%% ------------------------------------------------------------------------------------------------- the whole hop

%% Every hop reloads emqx_release, and the version in it is the target's.
release(_, #{resume := true}) -> [];
release(#{modules := #{emqx_release := #{n := N} = Facts}}, #{target := Target}) ->
    case reported(Facts) of
        {ok, Target} -> [];
        {ok, Other} -> [problem(N, version_not_reported, "The new emqx_release reports ~ts, not ~ts.", [Other, Target])];
        unknown -> [warning(N, version_not_reported, "What the new emqx_release will report can't be told: it gives no"
                            " version.", [])];
        %% There is no tree yet: it is asked once there is.
        not_asked -> []
    end;
release(#{modules := #{emqx_release := unknown}}, _) -> [];
release(_, _) ->
    [problem(0, release_not_reloaded, "The hop does not reload emqx_release.", []) || erlang:module_loaded(emqx_release)].

%% The version that a beam of emqx_release reports: asked of a copy under another name, which is gone at once.
reported(#{code := Code, md5 := Md5}) ->
    case loaded_md5(emqx_release) of
        Md5 -> version_of(emqx_release);
        _ -> ask_copy(list_to_atom(?MODULE_STRING "_version"), Code)
    end;
reported(_) -> not_asked.

ask_copy(Name, Code) ->
    try
        {ok, emqx_release, Chunks} = beam_lib:all_chunks(Code),
        {ok, Renamed} = beam_lib:build_module([renamed(Chunk, atom_to_binary(Name, utf8)) || Chunk <- Chunks]),
        {module, Name} = code:load_binary(Name, "", Renamed),
        version_of(Name)
    catch
        error:_ -> unknown
    after
        relup_agent_undo:unload(Name)
    end.

version_of(Mod) ->
    case relup_agent_processes:within(?VERSION_TIMEOUT, fun() -> unicode:characters_to_list(Mod:version()) end) of
        {ok, Version} when is_list(Version) -> {ok, Version};
        _ -> unknown
    end.

%% The first atom of the table is the module's name. From OTP 28 on the count is negative and lengths are compact terms.
renamed({"AtU8", <<Count:32/signed, Size, _:Size/binary, Rest/binary>>}, Name) when Count >= 0 ->
    {"AtU8", <<Count:32/signed, (byte_size(Name)), Name/binary, Rest/binary>>};
renamed({"AtU8", <<Count:32/signed, Size:4, 0:4, _:Size/binary, Rest/binary>>}, Name) ->
    Long = byte_size(Name),
    {"AtU8", <<Count:32/signed, (Long bsr 8):3, 1:2, 0:3, (Long band 255), Name/binary, Rest/binary>>};
renamed(Chunk, _) -> Chunk.

%% A helper comes and goes with the hop; a module of its name that the node has would go with it.
helpers(#{target_code := #{helpers := Helpers} = Target}) ->
    [problem(0, helper_name_taken, "The node runs a module ~p already.", [Mod])
     || {Mod, #{compiled := Compiled}} <- maps:to_list(Helpers), is_helper(Mod, Target), erlang:module_loaded(Mod),
        not is_left(Mod, Compiled)].

%% One that an earlier hop could not unload, for a process ran it yet.
is_left(Mod, {ok, Beam}) -> unchanged(Mod, Beam);
is_left(_, _) -> false.

%% Has the VM itself read every beam that the hop would load; they are there once the tree is.
prepared(#{modules := Modules}, _) ->
    [problem(N, bad_beam, "~p can't be loaded: ~0tp.", [Mod, Why])
     || {Mod, #{path := Path, code := Code, n := N} = Facts} <- maps:to_list(Modules), not unchanged(Mod, Facts),
        {error, [{_, Why} | _]} <- [code:prepare_loading([{Mod, Path, Code}])], Why =/= on_load_not_allowed].

%% ------------------------------------------------------------------------------------------------- what can't be seen later

%% What need not keep the hop from running but should be known. An earlier attempt has changed what it is found by.
told_beforehand(_, #{resume := true}) -> [];
told_beforehand(Seen, Ctx) -> not_covered(Seen, Ctx) ++ not_undoable(Seen, Ctx) ++ not_verified(Seen, Ctx).

%% What a verification would fail for after the hop, and is so before it: suspended processes, and processes in old code of
%% modules that the hop names and leaves as they are.
not_verified(#{modules := Modules}, Ctx) ->
    Same = [atom_to_binary(Mod, utf8) || {Mod, #{} = Facts} <- maps:to_list(Modules), unchanged(Mod, Facts),
                                         not is_helper(Mod, target(Ctx))],
    #{suspended := Suspended, suspended_count := Many, old_code := Old, old_code_count := OldCount, unknown := Unknown,
      unknown_count := UnknownCount} =
        relup_agent_verify:run(#{beams => [], modules => Same}),
    [warning(0, not_verified, "~ts suspended: ~ts. Verification fails while that is so.",
             [count(Many, "process is", "processes are"), named([name_of(Process) || Process <- Suspended])],
             #{signal => <<"suspended">>, count => Many, processes => Suspended}) || Many > 0] ++
        [warning(0, not_verified, "It can't be told whether ~ts suspended: ~ts.",
                 [count(UnknownCount, "process is", "processes are"), named([name_of(Process) || Process <- Unknown])],
                 #{signal => <<"suspended">>, count => UnknownCount, processes => Unknown}) || UnknownCount > 0] ++
        [warning(0, not_verified, "~ts processes in old code, and the hop leaves them alone: ~ts. Verification fails while"
                                  " that is so.", [count(OldCount, "module has", "modules have"), named(Old)],
                 #{signal => <<"old code">>, count => OldCount, modules => Old}) || OldCount > 0].

name_of(#{name := <<>>, pid := Pid}) -> Pid;
name_of(#{name := Name}) -> Name.

named(Names) -> [lists:join(", ", lists:sublist(Names, 8)), case length(Names) > 8 of true -> " …"; false -> "" end].

%% Modules of the target that are not what runs, and that the hop leaves alone: the node would report a version whose code
%% it does not run. Those that the hop's own modules call are told apart.
not_covered(#{modules := Seen}, Ctx) ->
    Left = maps:without([atom_to_binary(Mod, utf8) || Mod <- maps:keys(Seen)], relup_agent_target:modules(target(Ctx))),
    Other = [{Name, App} || {Name, #{md5 := Md5, app := App}} <- maps:to_list(Left), is_other(Name, Md5, App, Ctx)],
    Names = lists:sort([Name || {Name, _} <- Other]),
    Called = [Called || #{calls := Calls} <- maps:values(Seen), Called <- Calls],
    [warning(0, not_covered, "The hop leaves out ~ts of the target whose code differs from the running code: ~ts~ts",
             [count(length(Names), "module", "modules"), lists:join(", ", lists:sublist(Names, 8)),
              case length(Names) > 8 of true -> " …"; false -> "." end],
             #{count => length(Names), modules => lists:sublist(Names, ?NAMED),
               called_by_the_hop => [Name || Name <- Names, lists:member(Name, Called)],
               applications => applications([App || {_, App} <- Other])}) || Names =/= []].

%% A module that is not loaded counts where it never would be: the VM loads at its boot all that it has.
is_other(Name, Md5, App, Ctx) ->
    Running = try loaded_md5(binary_to_existing_atom(Name, utf8)) catch error:badarg -> none end,
    case Running of
        none -> code:get_mode() =:= embedded andalso is_listed(Name, App, Ctx);
        _ -> Running =/= Md5
    end.

%% Whether a module is one of an application that the VM has.
is_listed(Name, Dir, Ctx) ->
    App = hd(binary:split(Dir, <<"-">>)),
    case relup_agent_target:app(App, target(Ctx)) of
        {ok, #{modules := Names}} ->
            lists:member(Name, Names) andalso
                lists:any(fun({Loaded, _, _}) -> atom_to_binary(Loaded, utf8) =:= App end, application:loaded_applications());
        {error, _, _} -> false
    end.

applications(Dirs) -> maps:fold(fun(Dir, N, Told) -> Told#{Dir => N} end, #{}, counted(Dirs)).

counted(Items) -> lists:foldl(fun(Item, Counts) -> maps:update_with(Item, fun(N) -> N + 1 end, 1, Counts) end, #{}, Items).

%% Running code that is on no disk can't be put back.
not_undoable(#{modules := Seen}, _) ->
    Lost = [atom_to_binary(Mod, utf8) || {Mod, #{} = Facts} <- maps:to_list(Seen), not unchanged(Mod, Facts),
                                         {lost, _, _} <- [relup_agent_target:how_to_undo(Mod)]],
    [warning(0, not_undoable, "The running code of ~ts can't be read back: a hop that fails can't be undone.",
             [count(length(Lost), "module", "modules")], #{modules => lists:sublist(Lost, ?NAMED)}) || Lost =/= []].
