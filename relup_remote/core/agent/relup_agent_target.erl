%% Payload, shipped to hosts: the hop as its file says, and the code that it would load.
%%
%% Of the target's code there are always the facts that were read from its tarball, and, once it is deployed, the tree.
%% Facts are #{modules => #{Name => Facts}, apps => #{Name => Facts}}; names are binaries, for no atom is made of what is
%% not in the hop. A module's: app (the folder in lib), md5, exports [{Name, Arity}], behaviours, calls (modules),
%% on_load, max_op (its highest opcode), and dir (the folder in the tree) where that is not its application's; or only
%% error. An application's: dir, modules, applications, optional, included, or only error. What this module returns of a
%% beam has these keys too, with path and code where there is a tree.
-module(relup_agent_target).

-export([read_hop/1, numbered/1, numbered/2, callback/1, label/1, open/2]).
-export([module/2, app/2, app_spec/2, dropped/2, included/2, included_in/2, start_type/2]).
-export([is_helper/2, helpers_before/2, callback_module/1, modules/1, app_dirs/1, consolidated/1]).
-export([is_exported/3, unchanged/2, loaded_md5/1, how_to_undo/1, read_beam/2, is_own/2]).

-import(relup_agent_text, [text/2, short/1, problem/4]).
-import(relup_agent_value, [names_in/1]).

%% ------------------------------------------------------------------------------------------------- the hop

%% {ok, Hop} | {error, Problem}: the hop in the request's value, checked for its shape.
read_hop(#{value := Packed} = Req) ->
    case binary_to_term(Packed) of
        Hop when is_map(Hop) -> check_shape(Hop, Req);
        Other -> malformed("the last value of the file is not a map: ~0tP", [Other, 9])
    end.

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

numbered(List) -> numbered(List, 0).

numbered(List, Offset) -> lists:zip(lists:seq(Offset + 1, Offset + length(List)), List).

%% A callback as {Fun, Args}, the version it comes from left out; or invalid.
callback(Fun) when is_atom(Fun) -> {Fun, []};
callback({Fun, Args}) when is_atom(Fun) ->
    case is_proper(Args) of
        true -> {Fun, Args};
        false -> invalid
    end;
callback(_) -> invalid.

label({callback, Callback}) -> <<"callback ", (short(Callback))/binary>>;
label(Instr) -> short(Instr).

%% ------------------------------------------------------------------------------------------------- the target

%% The target of a request, with those of the catalogue's helpers that the hop uses.
open(Hop, #{facts := Facts, helpers := Helpers, target := Version} = Req) ->
    {ok, Content} = file:read_file(Facts),
    Sources = maps:from_list([{filename:rootname(filename:basename(Path)), Path} || Path <- Helpers]),
    Named = ["emqx_post_upgrade_" ++ Version | names_in(Hop)],
    (maps:with([from, target, tree], Req))#{facts => binary_to_term(Content), helpers => helpers(Named, Sources, #{})}.

%% The helpers that are named, and those that these name, and so on: Mod => #{compiled, names}. Compiled at once: the sources
%% may be gone before their turn comes, the core being dead by then.
helpers([], _, Found) -> Found;
helpers([Name | Waiting], Sources, Found) ->
    case maps:take(Name, Sources) of
        error -> helpers(Waiting, Sources, Found);
        {Path, Others} ->
            Mod = list_to_atom(Name),
            {Names, Compiled} = case {filename:extension(Path), relup_agent_helper:read(Path)} of
                                    {".beam", {ok, Named}} -> {Named, read_beam(Mod, Path)};
                                    {_, {ok, Named}} -> {Named, compile_helper(Mod, Path)};
                                    {_, {error, _, _, _} = Error} -> {[], Error}
                                end,
            helpers(Names ++ Waiting, Others, Found#{Mod => #{compiled => Compiled, names => Names}})
    end.

compile_helper(Mod, Source) ->
    case relup_agent_helper:compile(Source) of
        {ok, Mod, Code} -> beam(Mod, Source, Code);
        {ok, Other, _} -> {error, bad_beam, "~ts holds the module ~p.", [filename:basename(Source), Other]};
        {error, _, _, _} = Error -> Error
    end.

%% What would be loaded as Mod: {ok, Beam} | {error, Type, Format, Args}. The target's come before helpers.
module(Mod, #{facts := #{modules := Modules}, helpers := Helpers} = Target) ->
    case {maps:find(atom_to_binary(Mod, utf8), Modules), maps:find(Mod, Helpers)} of
        {{ok, #{error := Why}}, _} -> {error, bad_beam, "~p of the target ~ts.", [Mod, Why]};
        {{ok, Facts}, _} -> of_target(Mod, Facts, Target);
        {error, {ok, #{compiled := Compiled}}} -> Compiled;
        {error, error} -> {error, module_not_found, "~p is neither in the target nor a helper of the catalogue.", [Mod]}
    end.

of_target(Mod, #{max_op := Op} = Facts, #{tree := undefined}) ->
    case is_known_op(Op) of
        true -> {ok, Facts};
        false -> {error, bad_beam, "~p was compiled for a newer version of OTP.", [Mod]}
    end;
of_target(Mod, Facts, Target) -> read_beam(Mod, filename:join(beam_dir(Facts, Target), atom_to_list(Mod) ++ ".beam")).

%% Protocols that Elixir has consolidated lie beside the .rel file.
beam_dir(#{dir := Dir}, #{tree := Tree}) -> filename:join(Tree, unicode:characters_to_list(Dir));
beam_dir(#{app := Dir}, Target) -> ebin(Dir, Target).

%% The compiler's table of instructions is the loader's.
is_known_op(Op) ->
    try beam_opcodes:opname(Op) of _ -> true catch error:undef -> true; error:_ -> false end.

is_helper(Mod, #{facts := #{modules := Modules}, helpers := Helpers}) ->
    maps:is_key(Mod, Helpers) andalso not maps:is_key(atom_to_binary(Mod, utf8), Modules).

%% Whether the node runs a helper as a module of its own, from a file that is there: one of the vendor's plugin, say. It stays
%% after the hop. Ours are read from the folder of a request.
is_own(Mod, #{path := Ours}) ->
    erlang:module_loaded(Mod) andalso
        case code:which(Mod) of
            Path when is_list(Path) -> filelib:is_regular(Path) andalso requests(Path) =/= requests(Ours);
            _ -> false
        end.

requests(Path) -> filename:dirname(filename:dirname(Path)).

%% The helpers that have to be there before a piece of a hop: those that it names, and those that these name, each after the
%% ones that it names itself. Those that it loads are left to it.
helpers_before(Piece, #{helpers := Helpers} = Target) ->
    Own = case Piece of
              {loads, Loads} -> [Mod || {_, {load_module, Mod}} <- Loads];
              {_, {callback, _}} -> [];
              {_, {update, Mod, _}} -> [Mod];
              _ -> []
          end,
    Called = case Piece of
                 {_, {callback, _}} -> [atom_to_list(callback_module(Target))];
                 _ -> []
             end,
    {_, Ordered} = in_order(Called ++ names_in(Piece), Helpers, {[], []}),
    [Mod || Mod <- lists:reverse(Ordered), is_helper(Mod, Target), not lists:member(Mod, Own)].

in_order(Names, Helpers, Before) ->
    lists:foldl(fun(Name, {Seen, Ordered} = Known) ->
                        case [Mod || Mod <- maps:keys(Helpers), atom_to_list(Mod) =:= Name, not lists:member(Mod, Seen)] of
                            [] -> Known;
                            [Mod] ->
                                #{Mod := #{names := Inner}} = Helpers,
                                {Now, Sorted} = in_order(Inner, Helpers, {[Mod | Seen], Ordered}),
                                {Now, [Mod | Sorted]}
                        end
                end, Before, Names).

%% Where the hop's callbacks are.
callback_module(#{target := Version, helpers := Helpers}) ->
    Own = list_to_atom("emqx_post_upgrade_" ++ Version),
    case maps:is_key(Own, Helpers) orelse erlang:module_loaded(Own) of
        true -> Own;
        false -> emqx_post_upgrade
    end.

%% Facts of all modules of the target, by name.
modules(#{facts := #{modules := Modules}}) -> Modules.

%% {ok, Facts} | {error, Format, Args}.
app(App, #{facts := #{apps := Apps}}) ->
    case maps:find(App, Apps) of
        {ok, #{error := Why}} -> {error, "The .app file of ~ts ~ts.", [App, Why]};
        {ok, Facts} -> {ok, Facts};
        error -> {error, "The target has no application ~ts.", [App]}
    end.

%% {Ebin, Keys} of an application's .app file in the tree. Throws {app_not_found, Format, Args}.
app_spec(App, Target) ->
    case app(atom_to_binary(App, utf8), Target) of
        {ok, #{dir := Dir}} ->
            Ebin = ebin(Dir, Target),
            case file:consult(filename:join(Ebin, atom_to_list(App) ++ ".app")) of
                {ok, [{application, App, Keys}]} -> {Ebin, Keys};
                {ok, _} -> throw({app_not_found, "The .app file of ~p is not an .app file.", [App]});
                {error, Why} -> throw({app_not_found, "The .app file of ~p: ~ts.", [App, file:format_error(Why)]})
            end;
        {error, Format, Args} -> throw({app_not_found, Format, Args})
    end.

%% The modules that an application has now and the target has no more, be it in another application.
dropped(App, #{facts := #{modules := Modules}}) ->
    case application:get_key(App, modules) of
        {ok, Listed} -> [Mod || Mod <- Listed, not maps:is_key(atom_to_binary(Mod, utf8), Modules), erlang:module_loaded(Mod)];
        undefined -> []
    end.

%% [{Name, Ebin}] of the applications of the tree that one of them includes, and those included in them.
included(App, #{facts := #{apps := Apps}} = Target) -> included([atom_to_binary(App, utf8)], Apps, Target, []).

included([], _, _, Found) -> [{binary_to_atom(Name, utf8), Ebin} || {Name, Ebin} <- lists:ukeysort(1, Found)];
included([App | Rest], Apps, Target, Found) ->
    Names = maps:get(included, maps:get(App, Apps, #{}), []),
    More = [{Name, ebin(Dir, Target)} || Name <- Names, not lists:keymember(Name, 1, Found),
                                         {ok, #{dir := Dir}} <- [maps:find(Name, Apps)]],
    included([Name || {Name, _} <- More] ++ Rest, Apps, Target, More ++ Found).

%% The applications that include another one: in the target, or as it runs.
included_in(App, #{facts := #{apps := Apps}}) ->
    Name = atom_to_binary(App, utf8),
    %% Nobody is asked for it. One without a process includes none.
    Running = [{Outer, Included} || {Outer, _, _} <- application:loaded_applications(),
                                    application_controller:get_master(Outer) =/= undefined,
                                    {ok, Included} <- [application:get_key(Outer, included_applications)]],
    lists:usort([binary_to_atom(Outer, utf8) || {Outer, #{included := Names}} <- maps:to_list(Apps), lists:member(Name, Names)] ++
                    [Outer || {Outer, Included} <- Running, lists:member(App, Included)]).

%% How the release of the tree starts an application. What it only loads is started by other applications, as temporary.
start_type(App, #{tree := Tree, target := Version}) ->
    Types = [type(Entry) || Rel <- filelib:wildcard(filename:join([Tree, "releases", Version, "*.rel"])),
                            {ok, [{release, _, _, Entries}]} <- [file:consult(Rel)],
                            Entry <- Entries, element(1, Entry) =:= App],
    case Types of
        [Type | _] -> Type;
        [] -> temporary
    end.

type(Entry) when tuple_size(Entry) > 2 ->
    case element(3, Entry) of
        Type when Type =:= permanent; Type =:= transient; Type =:= temporary -> Type;
        Type when Type =:= load; Type =:= none -> temporary;
        _ -> permanent
    end;
type(_) -> permanent.

%% [{Name, Ebin}] of all applications of the tree.
app_dirs(#{facts := #{apps := Apps}} = Target) -> [{Name, ebin(Dir, Target)} || {Name, #{dir := Dir}} <- maps:to_list(Apps)].

%% Where the protocols are that are consolidated for the target, if it has any.
consolidated(#{tree := Tree, target := Version}) -> filename:join([Tree, "releases", Version, "consolidated"]).

ebin(Dir, #{tree := Tree}) -> filename:join([Tree, "lib", unicode:characters_to_list(Dir), "ebin"]).

%% ------------------------------------------------------------------------------------------------- beams

read_beam(Mod, Path) ->
    case file:read_file(Path) of
        {ok, Code} -> beam(Mod, Path, Code);
        {error, enoent} -> {error, no_such_file, "~ts is not there.", [Path]};
        {error, Reason} -> {error, bad_beam, "~ts can't be read: ~p.", [Path, Reason]}
    end.

beam(Mod, Path, Code) ->
    case {beam_lib:chunks(Code, [exports, attributes, imports]), beam_lib:md5(Code)} of
        {{ok, {Mod, [{exports, Exports}, {attributes, Attributes}, {imports, Imports}]}}, {ok, {Mod, Md5}}} ->
            {ok, #{path => Path, code => Code, md5 => Md5, exports => [{atom_to_binary(F, utf8), A} || {F, A} <- Exports],
                   behaviours => [atom_to_binary(B, utf8) || {Key, Names} <- Attributes,
                                                             Key =:= behaviour orelse Key =:= behavior, B <- Names],
                   calls => lists:usort([atom_to_binary(M, utf8) || {M, _, _} <- Imports, M =/= Mod])}};
        {{ok, {Other, _}}, _} -> {error, bad_beam, "~ts holds the module ~p.", [Path, Other]};
        {{error, _, Reason}, _} -> {error, bad_beam, "~ts is not a beam file: ~0tP.", [Path, Reason, 8]}
    end.

is_exported(Fun, Arity, #{exports := Exports}) -> lists:member({atom_to_binary(Fun, utf8), Arity}, Exports).

unchanged(Mod, #{md5 := Md5}) -> loaded_md5(Mod) =:= Md5.

loaded_md5(Mod) ->
    try erlang:get_module_info(Mod, md5) catch error:badarg -> none end.

%% How what Mod is now can be brought back: {reload, Mod, Path} where the running code can be read, {remove, Mod} where
%% there is none, else {lost, Mod, Md5}.
how_to_undo(Mod) ->
    case loaded_md5(Mod) of
        none -> {remove, Mod};
        Md5 ->
            case [Path || Path <- [code:which(Mod)], is_list(Path), {ok, {_, Found}} <- [beam_lib:md5(Path)], Found =:= Md5] of
                [Path] -> {reload, Mod, Path};
                [] -> {lost, Mod, Md5}
            end
    end.
