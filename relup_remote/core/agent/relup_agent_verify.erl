%% Payload, shipped to hosts: what the VM's code and processes are after a hop. Changes nothing.
-module(relup_agent_verify).

-export([run/1]).

-import(relup_agent_target, [loaded_md5/1]).
-import(relup_agent_text, [process/1]).

-define(NAMED, 20).

%% The request is #{beams => File, modules => [Name]}: a file with the term [{Name, Path, IsListed}], all modules of the
%% release that should run, or [] in its place; and the names of those that the hop loaded. Of the latter: those whose
%% running code is not the release's (differ), and those with old code in use, or that they are too many to be asked. Of the
%% others: those whose running code is another (left), or that a boot would load and that are not loaded (unloaded). And
%% all suspended processes, and those of which it can't be told, see suspended/0 of relup_agent_processes. Lists are cut, the
%% counts are whole.
%% No atom is made of what may not be in the VM.
run(#{beams := File, modules := Names}) ->
    Beams = read(File),
    %% Thousands of files are read, which nobody should wait for.
    Beams =:= [] orelse process_flag(priority, low),
    OfHop = maps:from_list([{Name, true} || Name <- Names]),
    Compared = [{Name, is_current(Name, Path), Listed} || {Name, Path, Listed} <- Beams],
    Embedded = code:get_mode() =:= embedded,
    Differ = [Name || {Name, Is, _} <- Compared, maps:is_key(Name, OfHop), Is =/= true],
    Left = [Name || {Name, false, _} <- Compared, not maps:is_key(Name, OfHop)],
    Unloaded = [Name || {Name, unloaded, true} <- Compared, Embedded, not maps:is_key(Name, OfHop)],
    WithOld = [Mod || Name <- Names, Mod <- existing(Name), erlang:check_old_code(Mod)],
    Asked = relup_agent_processes:may_ask(length(WithOld)),
    Old = [atom_to_binary(Mod, utf8) || Asked, Mod <- WithOld, relup_agent_processes:old_code_users(Mod) =/= []],
    {Suspended, Unknown} = relup_agent_processes:suspended(),
    #{differ => lists:sublist(Differ, ?NAMED), differ_count => length(Differ),
      left => lists:sublist(Left, ?NAMED), left_count => length(Left),
      unloaded => lists:sublist(Unloaded, ?NAMED), unloaded_count => length(Unloaded),
      old_code => lists:sublist(Old, ?NAMED), old_code_count => length(Old), old_code_checked => Asked,
      suspended => [process(Pid) || Pid <- lists:sublist(Suspended, ?NAMED)], suspended_count => length(Suspended),
      unknown => [process(Pid) || Pid <- lists:sublist(Unknown, ?NAMED)], unknown_count => length(Unknown)}.

read([]) -> [];
read(File) ->
    {ok, Packed} = file:read_file(File),
    binary_to_term(Packed).

%% Whether a module runs the code of a file: true | false | unloaded. A file that can't be read has none.
is_current(Name, Path) ->
    case [Md5 || Mod <- existing(Name), Md5 <- [loaded_md5(Mod)], Md5 =/= none] of
        [] -> unloaded;
        [Md5] ->
            case beam_lib:md5(unicode:characters_to_list(Path)) of
                {ok, {_, Md5}} -> true;
                _ -> false
            end
    end.

existing(Name) ->
    try [binary_to_existing_atom(Name, utf8)] catch error:badarg -> [] end.
