%% Payload, shipped to hosts: what the VM's code and processes are after a hop. Changes nothing.
-module(relup_agent_verify).

-export([run/1]).

-import(relup_agent_target, [loaded_md5/1]).
-import(relup_agent_text, [process/1]).

-define(NAMED, 20).

%% Of the modules named: those whose running code is not the tree's, and those with old code in use; all suspended
%% processes but those that hibernate, which nothing tells from others. The request is #{tree, modules => [Name]}. Lists
%% are cut, the counts are whole.
run(#{tree := Tree, modules := Names}) ->
    Index = index(Tree),
    Differ = [Name || Name <- Names, {ok, Path} <- [maps:find(unicode:characters_to_list(Name), Index)],
                      {ok, {Mod, Md5}} <- [beam_lib:md5(Path)], loaded_md5(Mod) =/= Md5],
    Absent = [Name || Name <- Names, not maps:is_key(unicode:characters_to_list(Name), Index)],
    WithOld = [Mod || Name <- Names, Mod <- existing(Name), erlang:check_old_code(Mod)],
    Asked = relup_agent_processes:may_ask(length(WithOld)),
    Old = [atom_to_binary(Mod, utf8) || Asked, Mod <- WithOld, relup_agent_processes:old_code_users(Mod) =/= []],
    Suspended = [Pid || Pid <- processes(), relup_agent_processes:is_suspended(Pid)],
    #{differ => lists:sublist(Differ, ?NAMED), differ_count => length(Differ),
      absent => lists:sublist(Absent, ?NAMED), absent_count => length(Absent),
      old_code => lists:sublist(Old, ?NAMED), old_code_count => length(Old), old_code_checked => Asked,
      suspended => [process(Pid) || Pid <- lists:sublist(Suspended, ?NAMED)], suspended_count => length(Suspended)}.

%% #{"module" => path} of a tree's beams; names stay strings, for no atom is made of what may not be in the VM.
index(undefined) -> #{};
index(Tree) ->
    maps:from_list([{filename:basename(File, ".beam"), File}
                    || Ebin <- filelib:wildcard(filename:join([Tree, "lib", "*", "ebin"])),
                       {ok, Names} <- [file:list_dir(Ebin)], Name <- Names, filename:extension(Name) =:= ".beam",
                       File <- [filename:join(Ebin, Name)]]).

existing(Name) ->
    try [binary_to_existing_atom(Name, utf8)] catch error:badarg -> [] end.
