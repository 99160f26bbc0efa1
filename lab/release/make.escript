#!/usr/bin/env escript
%% -*- erlang -*-
%%! -noinput
%% Compiles modules and makes boot files, in one VM: make.escript PLAN
%% PLAN is a file of terms:
%%     {compile, SourceFile, OutDir}.
%%     {boot, RelFileWithoutExtension, LibDir, OutDir}.    LibDir becomes the boot variable RELEASE_LIB
%%     {strip, BeamFile, OutFile}.
%%     {escript, SourceFile, OutFile}.                     compiled, so that it starts faster
-mode(compile).

main([Plan]) ->
    {ok, Steps} = file:consult(Plan),
    Workers = erlang:system_info(schedulers_online),
    Shares = [share(Steps, Worker, Workers) || Worker <- lists:seq(1, Workers)],
    Running = [spawn_monitor(fun() -> exit(lists:flatmap(fun make/1, Share)) end) || Share <- Shares],
    Failures = lists:append([receive {'DOWN', Ref, process, Pid, Failed} -> failures(Failed) end || {Pid, Ref} <- Running]),
    [io:format(standard_error, "~ts~n", [Failure]) || Failure <- Failures],
    halt(min(length(Failures), 1)).

share(Steps, Worker, Workers) ->
    [Step || {Number, Step} <- lists:zip(lists:seq(1, length(Steps)), Steps), Number rem Workers + 1 =:= Worker].

failures(Failed) when is_list(Failed) -> Failed;
failures(Reason) -> [io_lib:format("~tp", [Reason])].

%% What is stripped is compressed, too, which costs time at each boot.
inflated(<<"FOR1", _/binary>> = Beam) -> Beam;
inflated(Compressed) -> zlib:gunzip(Compressed).

%% The first lines of a text, and the rest.
head(Text, 0) -> [Text];
head(Text, Lines) ->
    [Line, Rest] = binary:split(Text, <<"\n">>),
    [Line | head(Rest, Lines - 1)].

make({compile, Source, OutDir}) ->
    case compile:file(Source, [deterministic, debug_info, warnings_as_errors, return, {outdir, OutDir}]) of
        {ok, _Module, _Warnings} -> [];
        {error, Errors, Warnings} ->
            [io_lib:format("~ts:~p: ~ts", [filename:basename(File), Place, Module:format_error(Reason)])
             || {File, Found} <- Errors ++ Warnings, {Place, Module, Reason} <- Found]
    end;
make({strip, Beam, Out}) ->
    %% Of a file's name it would strip that very file.
    {ok, Whole} = file:read_file(Beam),
    case beam_lib:strip(Whole) of
        {ok, {_Module, Stripped}} ->
            ok = file:write_file(Out, inflated(Stripped)),
            [];
        {error, Module, Reason} -> [Module:format_error(Reason)]
    end;
make({escript, Source, Out}) ->
    {ok, Text} = file:read_file(Source),
    [<<"#!", _/binary>>, <<"%% ", Coding/binary>>, <<"%%!", Arguments/binary>>, Code] = head(Text, 3),
    Name = filename:basename(Source),
    Named = Out ++ ".erl",
    ok = file:write_file(Named, ["-module(", Name, ").\n", Code]),
    case compile:file(Named, [deterministic, warnings_as_errors, return, binary]) of
        {ok, _Module, Beam, _Warnings} ->
            Parts = [shebang, {comment, binary_to_list(Coding)}, {emu_args, binary_to_list(Arguments)}, {beam, Beam}],
            {ok, Made} = escript:create(binary, Parts),
            ok = file:write_file(Out, Made),
            [];
        {error, Errors, Warnings} ->
            [io_lib:format("~ts: ~tp", [Name, Errors ++ Warnings])]
    end;
make({boot, Rel, LibDir, OutDir}) ->
    Options = [{path, [filename:join([LibDir, "*", "ebin"])]}, {variables, [{"RELEASE_LIB", LibDir}]},
               {outdir, OutDir}, {script_name, "start"}, no_module_tests, no_dot_erlang, no_warn_sasl, silent],
    case systools:make_script(Rel, Options) of
        {ok, _Module, _Warnings} -> [];
        {error, Module, Reason} -> [Module:format_error(Reason)]
    end.
