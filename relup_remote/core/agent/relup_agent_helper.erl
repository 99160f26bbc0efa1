%% Payload, shipped to hosts: a helper of the catalogue, read and compiled in the VM of a broker at work.
%%
%% A compiler evaluates what is constant in a text, by native functions that nobody can end, see relup_agent_value. So
%% nothing large is left to it:
%%
%%     conditions of the preprocessor (-if)   may compare, and not compute
%%     what follows from constants            is as small as in a hop's file: numbers, and parts of a binary
%%     what is constant by way of a variable  is hidden from the compiler (`hidden`): it evaluates that also where the passes
%%                                            for it are switched off, for it must not leave operations on constants
%%     options in the text (-compile)         are listed here: others run modules, or write files
%%     functions that are made of others      are ?FUNCTIONS at most, for the name of each is an atom
%%
%% All else is done little by little, in a process that is killed when it takes too much time or memory. Tested with the
%% compiler of OTP 25, and compared with the sources of OTP 27.
-module(relup_agent_helper).

-export([read/1, compile/1]).

-import(relup_agent_value, [check_text/1, bounded/3, constant/1, is_arithmetic/2, names_in/1]).

%% What a helper may take to be compiled: milliseconds, and bytes of memory. One of 1,000 lines takes 500 ms and 20 MB.
-define(COMPILING, 10000).
-define(COMPILING_BYTES, (256 bsl 20)).
-define(FUNCTIONS, 10000).
%% How many atoms a beam may have. A VM has place for a million, and never gives one back.
-define(ATOMS, 20000).
-define(LITERALS, (1 bsl 20)).
%% How many mistakes are told, and as many letters of each.
-define(TOLD, 10).
-define(LETTERS, 500).
%% The function through which values go, see hidden/2.
-define(SAME, '$same').

%% {ok, Names}: all atoms that a helper has. {error, Type, Format, Args} for one that is not compiled, or not loaded.
read(Path) ->
    case filename:extension(Path) of ".beam" -> read_beam(Path); _ -> read_source(Path) end.

%% Atoms are never given back, so they are counted before they are read: OTP 28 counts with a minus. Those of constants are
%% with the constants.
read_beam(Path) ->
    try beam_lib:chunks(Path, ["AtU8", "LitT"], [allow_missing_chunks]) of
        {ok, {_, [{_, <<Count:32/signed, _/binary>>}, {_, Literals}]}} ->
            case {abs(Count), size_of(Literals)} of
                {Many, _} when Many > ?ATOMS -> too_large(Path, Many, atoms, ?ATOMS);
                {_, Size} when Size > ?LITERALS -> too_large(Path, Size, 'bytes of constants', ?LITERALS);
                _ -> {ok, atoms(Path, Literals)}
            end;
        _ -> no_beam(Path)
    catch error:_ -> no_beam(Path)
    end.

too_large(Path, Is, What, Most) ->
    {error, bad_beam, "~ts has ~b ~ts, and may have ~b.", [filename:basename(Path), Is, What, Most]}.

%% Deflated unless the size is 0, as OTP 28 writes it.
size_of(<<0:32, Terms/binary>>) -> byte_size(Terms);
size_of(<<Size:32, _/binary>>) -> Size;
size_of(missing_chunk) -> 0.

atoms(Path, Literals) ->
    {ok, {_, [{atoms, Atoms}]}} = beam_lib:chunks(Path, [atoms]),
    [atom_to_list(Atom) || {_, Atom} <- Atoms] ++ names_in(terms(Literals)).

terms(missing_chunk) -> [];
terms(<<0:32, Terms/binary>>) -> constants(Terms);
terms(<<Size:32, Deflated/binary>>) ->
    Inflating = zlib:open(),
    ok = zlib:inflateInit(Inflating),
    Terms = inflated(zlib:safeInflate(Inflating, Deflated), Inflating, Size, []),
    zlib:close(Inflating),
    constants(Terms).

%% As many as the size says, and no more.
inflated({finished, Last}, _, Size, Before) ->
    Terms = iolist_to_binary([Before, Last]),
    Size = byte_size(Terms),
    Terms;
inflated({continue, Part}, Inflating, Size, Before) ->
    true = iolist_size([Before, Part]) =< Size,
    inflated(zlib:safeInflate(Inflating, []), Inflating, Size, [Before, Part]).

constants(<<_:32, Terms/binary>>) -> [binary_to_term(Term) || <<Size:32, Term:Size/binary>> <= Terms].

no_beam(Path) -> {error, bad_beam, "~ts is not a beam file.", [filename:basename(Path)]}.

read_source(Path) ->
    try check_text(Path), erl_scan:string(content(Path)) of
        {ok, Tokens, _} ->
            case harmful(Tokens, Path) of
                [] -> {ok, lists:usort([atom_to_list(Atom) || {atom, _, Atom} <- Tokens])};
                [{Line, Why} | _] -> refused(Path, Line, Why)
            end;
        {error, {Line, Mod, What}, _} -> refused(Path, Line, ["does not compile: ", Mod:format_error(What)])
    catch
        throw:{too_large, Why} -> not_compiled("~ts ~ts.", [filename:basename(Path), Why])
    end.

refused(Path, Line, Why) -> not_compiled("~ts:~b ~ts.", [filename:basename(Path), Line, Why]).

not_compiled(Format, Args) -> {error, helper_not_compiled, Format, Args}.

content(Path) ->
    {ok, Content} = file:read_file(Path),
    case {encoding(Path, Content), unicode:characters_to_list(Content)} of
        {utf8, Text} when is_list(Text) -> Text;
        _ -> binary_to_list(Content)
    end.

%% As the compiler has it: what the text says, else what it can be.
encoding(Path, Content) ->
    case epp:read_encoding(Path) of
        none when is_binary(Content) ->
            case unicode:characters_to_list(Content) of Text when is_list(Text) -> utf8; _ -> latin1 end;
        Encoding -> Encoding
    end.

%% [{Line, Why}]: what the preprocessor would do too much for. Like the preprocessor it looks only at how a form begins, and
%% before macros are put in.
harmful(Tokens, Path) ->
    Forms = split(Tokens, []),
    Macros = lists:foldl(fun([{'-', _}, {atom, _, define}, {'(', _}, {_, _, Name} | Body], Known) ->
                                 Known#{Name => [Body | maps:get(Name, Known, [])]};
                            (_, Known) -> Known
                         end, #{}, Forms),
    [{Line, Why} || [{'-', Line} | Form] <- Forms, Why <- wrong(Form, Path, Macros)].

split([], []) -> [];
split([], Form) -> [lists:reverse(Form)];
split([{dot, _} | Rest], Form) -> [lists:reverse(Form) | split(Rest, [])];
split([Token | Rest], Form) -> split(Rest, [Token | Form]).

wrong([{atom, _, Kind}, {'(', _} | Named], Path, _) when Kind =:= include; Kind =:= include_lib ->
    case Named of
        [{string, _, Header}, {')', _}] ->
            %% A file beside a helper is another helper, which may not have been read yet.
            [["includes ", Header, ", which is not a file of a release"]
             || lists:member(hd(Header ++ "/"), "/$") orelse lists:member("..", filename:split(Header)) orelse
                file:read_file_info(filename:join(filename:dirname(Path), Header), [raw]) =/= {error, enoent}];
        _ -> ["includes a file that it does not name"]
    end;
wrong([{atom, _, Doc} | Text], _, _) when Doc =:= doc; Doc =:= moduledoc ->
    ["has its documentation in another file"
     || case Text of [{'(', _}, {'{', _} | _] -> true; [{'{', _} | _] -> true; _ -> false end];
wrong([{'if', _} | Condition], _, Macros) -> judged(Condition, Macros);
wrong([{atom, _, elif} | Condition], _, Macros) -> judged(Condition, Macros);
wrong(_, _, _) -> [].

judged(Condition, Macros) -> ["has a condition that does more than compare" || not compares([Condition], Macros)].

%% Whether these tokens, and those of the macros in them, do no more than compare. A macro that is defined elsewhere is the
%% system's, or a release's, or there is none.
compares([], _) -> true;
compares([[] | Others], Macros) -> compares(Others, Macros);
compares([[{'?', _}, {Kind, _, Name} | Rest] | Others], Macros) when Kind =:= atom; Kind =:= var ->
    case maps:take(Name, Macros) of
        {Bodies, Left} -> compares(Bodies ++ [Rest | Others], Left);
        error -> compares([Rest | Others], Macros)
    end;
compares([[{Kind, _, _} | Rest] | Others], Macros)
  when Kind =:= atom; Kind =:= var; Kind =:= integer; Kind =:= char; Kind =:= float; Kind =:= string ->
    compares([Rest | Others], Macros);
compares([[{Symbol, _} | Rest] | Others], Macros) ->
    lists:member(Symbol, ['(', ')', ',', 'not', 'and', 'or', 'xor', 'andalso', 'orelse', '<', '>', '=<', '>=', '==', '/=', '=:=',
                          '=/=']) andalso compares([Rest | Others], Macros);
compares(_, _) -> false.

%% {ok, Mod, Code} | {error, Type, Format, Args}, of a source that read/1 has read.
compile(Path) ->
    Name = filename:basename(Path),
    case bounded(fun() -> compiled(Path) end, ?COMPILING, ?COMPILING_BYTES) of
        {ok, {ok, Mod, Code, _}} -> {ok, Mod, Code};
        {ok, {error, Errors, Warnings}} ->
            %% Without an error it is a warning that the text calls one.
            Why = case Errors of [] -> Warnings; _ -> Errors end,
            All = [{filename:basename(File), Where, M, E} || {File, Each} <- Why, {Where, M, E} <- Each],
            Told = [string:slice(io_lib:format("~ts:~p: ~ts", [File, Where, M:format_error(E)]), 0, ?LETTERS) ++ "."
                    || {File, Where, M, E} <- lists:sublist(All, ?TOLD)],
            More = [io_lib:format("And ~b more.", [length(All) - ?TOLD]) || length(All) > ?TOLD],
            not_compiled("~ts", [lists:join($\s, Told ++ More)]);
        {error, {constant, Line, Why}} -> refused(Path, Line, Why);
        {error, {died, Why}} -> not_compiled("~ts ended the compiler: ~0tP.", [Name, Why, 12]);
        {error, _} ->
            not_compiled("~ts takes more than ~b s or ~b MB to compile.", [Name, ?COMPILING div 1000, ?COMPILING_BYTES bsr 20])
    end.

compiled(Path) ->
    {ok, Content} = file:read_file(Path),
    {ok, Epp} = epp:open([{name, Path}, {source_name, filename:basename(Path)}, {includes, [filename:dirname(Path)]},
                          {default_encoding, encoding(Path, Content)}, {deterministic, true}]),
    %% It would go on without us, and keep what it holds: who kills us sees it only while we wait for it.
    true = link(Epp),
    Forms = try forms(Epp) after epp:close(Epp) end,
    _ = constant(Forms),
    lifted(Forms, 0) =< ?FUNCTIONS orelse refuse(1, io_lib:format("has more than ~b funs and comprehensions", [?FUNCTIONS])),
    [refuse(Anno, io_lib:format("asks the compiler for ~0tP", [Option, 8]))
     || {attribute, Anno, compile, Given} <- Forms, Option <- lists:flatten([Given]), not is_harmless(Option)],
    %% What folds constants: no_copt and no_ssa_opt. The others belong to these, or work for them.
    Slow = [no_copt, no_ssa_opt, no_bsm_opt, no_type_opt, no_bool_opt, no_share_opt, no_fold, no_module_opt],
    Unused = {nowarn_unused_function, [{?SAME, 1}]},
    compile:noenv_forms(all_hidden(Forms), [binary, return, deterministic, Unused | Slow]).

%% What the text has once its macros are put in, as the compiler reads it.
forms(Epp) ->
    case epp:scan_erl_form(Epp) of
        {ok, Tokens} ->
            check_attribute(Tokens),
            Form = case erl_parse:parse_form(Tokens) of {ok, Read} -> Read; {error, _} = Error -> Error end,
            [Form | forms(Epp)];
        {eof, _} = End -> [End];
        Told -> [Told | forms(Epp)]
    end.

%% A binary in an attribute is made while the text is parsed.
check_attribute([{'-', _} | Tokens]) -> check_sizes(Tokens);
check_attribute(_) -> ok.

check_sizes([{':', Anno}, {Sign, _} | Rest]) when Sign =:= '('; Sign =:= '+'; Sign =:= '-' -> check_sizes([{':', Anno} | Rest]);
check_sizes([{':', _}, {_, Anno, Size} | Rest]) when is_integer(Size) ->
    %% As in a pattern, whatever is in that part.
    _ = constant({bin_element, Anno, {integer, Anno, 0}, {integer, Anno, Size}, default}),
    check_sizes(Rest);
check_sizes([_ | Rest]) -> check_sizes(Rest);
check_sizes([]) -> ok.

refuse(Anno, Why) -> throw({constant, erl_anno:line(Anno), Why}).

%% The forms with what is bound, and what is computed with, going through a function of their own: the compiler does not
%% know what comes of it. In guards no function can be called: there a variable is enough, for none has a constant value.
all_hidden(Forms) ->
    {Before, Functions} = lists:splitwith(fun(Form) -> element(1, Form) =/= function end,
                                          [case Form of {attribute, _, record, _} -> record(Form, Forms); _ -> Form end
                                           || Form <- Forms]),
    Head = [Form || {attribute, _, Kind, _} = Form <- Before ++ Functions, lists:member(Kind, [record, compile])],
    Same = {function, 1, ?SAME, 1, [{clause, 1, [{var, 1, 'Same'}], [], [{var, 1, 'Same'}]}]},
    Before ++ [Same || Functions =/= []] ++ [hidden(Form, Head) || Form <- Functions].

%% Values of fields are put in where a record is made.
record({attribute, Anno, record, {Name, Fields}}, Head) when is_list(Fields) ->
    {attribute, Anno, record, {Name, [field(Field, Head) || Field <- Fields]}};
record(Form, _) -> Form.

field({typed_record_field, Field, Type}, Head) -> {typed_record_field, field(Field, Head), Type};
field({record_field, Anno, Name, Value}, Head) -> {record_field, Anno, Name, hidden(Value, Head)};
field(Field, _) -> Field.

%% Head: the attributes that say what records there are, and what the compiler is asked for.
hidden({function, Anno, Name, Arity, Clauses}, Head) -> {function, Anno, Name, Arity, hidden(Clauses, Head)};
hidden({attribute, _, _, _} = Form, _) -> Form;
hidden({clause, Anno, Patterns, Guards, Body}, Head) ->
    guard(Guards),
    {clause, Anno, Patterns, Guards, hidden(Body, Head)};
hidden({'case', Anno, Value, Clauses}, Head) -> {'case', Anno, same(hidden(Value, Head)), hidden(Clauses, Head)};
hidden({'try', Anno, Body, [_ | _] = Clauses, Catches, After}, Head) ->
    {Before, [Last]} = lists:split(length(Body) - 1, hidden(Body, Head)),
    {'try', Anno, Before ++ [same(Last)], hidden(Clauses, Head), hidden(Catches, Head), hidden(After, Head)};
hidden({Kind, Anno, Pattern, Value}, Head)
  when Kind =:= match; Kind =:= maybe_match; Kind =:= generate; Kind =:= b_generate; Kind =:= m_generate;
       Kind =:= generate_strict; Kind =:= b_generate_strict; Kind =:= m_generate_strict ->
    {Kind, Anno, Pattern, same(hidden(Value, Head))};
hidden({Kind, Anno, Made, Qualifiers}, Head) when Kind =:= lc; Kind =:= bc; Kind =:= mc ->
    {Kind, Anno, hidden(Made, Head), [qualifier(Each, Head) || Each <- Qualifiers]};
hidden({op, Anno, Op, A} = Form, Head) ->
    case constant(Form) of
        unknown -> {op, Anno, Op, same(hidden(A, Head))};
        _ -> Form
    end;
hidden({op, Anno, Op, A, B} = Form, Head) ->
    case constant(Form) of
        unknown -> {op, Anno, Op, same(hidden(A, Head)), hidden(B, Head)};
        _ -> Form
    end;
%% These are evaluated, or made a match specification, before there is a function to call.
hidden({call, _, {remote, _, {atom, _, Mod}, {atom, _, fun2ms}}, [{'fun', _, {clauses, _}}]} = Form, Head)
  when Mod =:= ets; Mod =:= dbg ->
    case [asked || {attribute, _, compile, Given} <- Head, {parse_transform, ms_transform} <- lists:flatten([Given])] of
        [] -> hidden_call(Form, Head);
        _ -> Form
    end;
hidden({call, _, {atom, _, record_info}, [{atom, _, _}, {atom, _, _}]} = Form, _) -> Form;
hidden({call, _, _, _} = Form, Head) -> hidden_call(Form, Head);
hidden({string, _, _} = Form, _) -> Form;
hidden([Form | Forms], Head) -> [hidden(Form, Head) | hidden(Forms, Head)];
hidden(Form, Head) when is_tuple(Form) -> list_to_tuple(hidden(tuple_to_list(Form), Head));
hidden(Form, _) -> Form.

hidden_call({call, Anno, Callee, Args}, Head) ->
    Given = hidden(Args, Head),
    case may_be_evaluated(Callee, length(Args)) of
        true -> {call, Anno, callee(Callee, Head), [same(Arg) || Arg <- Given]};
        false -> {call, Anno, callee(Callee, Head), Given}
    end.

%% A filter that is a guard does not raise anything, so it stays one.
qualifier(Form, Head) ->
    IsFilter = not lists:member(element(1, Form), [generate, b_generate, m_generate, generate_strict, b_generate_strict,
                                                   m_generate_strict, zip]),
    case IsFilter andalso erl_lint:is_guard_test(Form, Head) of
        true -> guard(Form), Form;
        false -> hidden(Form, Head)
    end.

callee({atom, _, _} = Name, _) -> Name;
callee({remote, Anno, Mod, Fun}, Head) -> {remote, Anno, named(Mod, Head), named(Fun, Head)};
callee(Fun, Head) -> through(hidden(Fun, Head)).

named({atom, _, _} = Name, _) -> Name;
named(Form, Head) -> same(hidden(Form, Head)).

%% Whether a call may be one that the compiler evaluates. A record's name stays where it is.
may_be_evaluated({atom, _, is_record}, _) -> false;
may_be_evaluated({atom, _, Name}, Arity) ->
    erl_internal:bif(Name, Arity) orelse erl_internal:guard_bif(Name, Arity) orelse is_arithmetic(Name, Arity) orelse
        erl_internal:list_op(Name, Arity);
may_be_evaluated({remote, _, {atom, _, erlang}, {atom, _, is_record}}, _) -> false;
may_be_evaluated({remote, _, {atom, _, Mod}, _}, _) -> Mod =:= erlang;
may_be_evaluated(_, _) -> true.

%% A value that the compiler does not know. What it does not know anyway stays as it is.
same({Kind, _, _} = Form) when Kind =:= var; Kind =:= 'fun' -> Form;
same({named_fun, _, _, _} = Form) -> Form;
same({call, _, {atom, _, ?SAME}, _} = Form) -> Form;
same({call, _, Callee, Args} = Form) ->
    case may_be_evaluated(Callee, length(Args)) andalso not is_new(Callee) of true -> through(Form); false -> Form end;
same(Form) -> through(Form).

%% The compiler makes `receive` fast where it sees that a reference is new.
is_new({atom, _, Name}) -> lists:member(Name, [make_ref, monitor, spawn_monitor, spawn_request]);
is_new({remote, _, {atom, _, erlang}, Name}) -> is_new(Name);
is_new(_) -> false.

through(Form) -> {call, element(2, Form), {atom, element(2, Form), ?SAME}, [Form]}.

%% Throws constant for a guard that computes with what has no variable, and is more than a number.
guard({op, Anno, Op, A} = Form) -> computed(Anno, Op, [A], Form);
guard({op, Anno, Op, A, B} = Form) -> computed(Anno, Op, [A, B], Form);
guard({call, Anno, {remote, _, _, {atom, _, Op}}, Args} = Form) -> computed(Anno, Op, Args, Form);
guard({string, _, _}) -> ok;
guard([Form | Forms]) -> guard(Form), guard(Forms);
guard(Form) when is_tuple(Form) -> guard(tuple_to_list(Form));
guard(_) -> ok.

computed(Anno, Op, Args, Form) ->
    is_arithmetic(Op, length(Args)) andalso constant(Form) =:= unknown andalso not has_variable(Args) andalso
        refuse(Anno, "computes with constants in a guard"),
    guard(Args).

has_variable({var, _, _}) -> true;
has_variable({string, _, _}) -> false;
has_variable([Form | Forms]) -> has_variable(Form) orelse has_variable(Forms);
has_variable(Form) when is_tuple(Form) -> has_variable(tuple_to_list(Form));
has_variable(_) -> false.

%% How many functions the compiler makes of what a text has within its own.
lifted([First | Rest], Count) -> lifted(Rest, lifted(First, Count));
lifted({string, _, _}, Count) -> Count;
lifted(Form, Count) when tuple_size(Form) > 0 ->
    Own = lists:member(element(1, Form), ['fun', named_fun, lc, bc, mc, 'try', 'receive']),
    lifted(tuple_to_list(Form), case Own of true -> Count + 1; false -> Count end);
lifted(_, Count) -> Count.

is_harmless({parse_transform, ms_transform}) -> true;
is_harmless(Option) when is_tuple(Option), tuple_size(Option) > 1 -> is_harmless(element(1, Option));
is_harmless(Option) when is_atom(Option) ->
    lists:member(Option, [export_all, inline, inline_size, no_auto_import, debug_info, compressed, warnings_as_errors]) orelse
        lists:any(fun(Start) -> lists:prefix(Start, atom_to_list(Option)) end, ["nowarn", "warn_"]);
is_harmless(_) -> false.
