%% Payload, shipped to hosts: the value of a hop's file, evaluated once, in bounds.
%%
%% The text is evaluated in the VM of a broker at work, and whoever wrote it may have made a mistake. So it runs in a process that is
%% killed when it takes too much memory or time. That ends whatever takes too much little by little. It does not end what one
%% native function does at once: it asks for more memory than there is, which ends the VM, or it holds a scheduler, which
%% then can't be had back. So nothing large is ever given to one:
%%
%%     what a call is given                     weighs at most ?WEIGHT, however often a part of it is shared
%%     what a variable is bound to, a case and  the same; so what is put together without a call comes from parts that
%%     a generator go through, a map's key      were weighed
%%     the parts of a binary                    so little that all of them come to ?BINARY bytes at most
%%     whole numbers                            no more than ?BITS bits
%%     what is given to `binary`, and text      weighs at most ?LITTLE
%%     that becomes a number
%%
%% To that end the forms of the text are rewritten (`guarded`): what has to be weighed goes through a call of '$within', which
%% our own handler of calls answers. Funs that are a part of the value are written back.
-module(relup_agent_value).

-export([evaluate/1, check_text/1, bounded/3, constant/1, is_arithmetic/2, names_in/1]).

-import(relup_agent_text, [text/2, problem/4, problem/5]).

%% What a hop's file may take while it is evaluated: milliseconds, and bytes of memory. A hop of 3,000 instructions takes 20 ms
%% and 3 MB.
-define(SCRIPT_TIMEOUT, 5000).
-define(SCRIPT_BYTES, (128 bsl 20)).
%% How often it is looked how much is held, also outside of heaps (milliseconds).
-define(LOOK, 20).

%% One for each part of a term, and one for eight bytes of a binary.
-define(WEIGHT, (1 bsl 20)).
-define(LITTLE, 1024).
-define(BITS, 4096).
%% Units of a part of a binary where its value is constant.
-define(SEGMENT, (1 bsl 20)).
-define(BINARY, (4 bsl 20)).
%% What each part of a binary may weigh, however many there are.
-define(FEW, 64).
%% Bytes of the text, and words in it: a VM keeps each for good. A hop of 3,000 instructions has 150,000 and 9,000.
-define(TEXT, (1 bsl 20)).
-define(WORDS, 50000).

%% #{value, told} | #{problem}: the value of the hop's file, evaluated as a script, or the one that was found before and
%% comes with the request; `value` is what read_hop/1 takes, and `told` is the same value in bytes that say whether two
%% values are equal. Both are binaries.
evaluate(#{value := Packed}) when is_binary(Packed) ->
    try {ok, binary_to_term(Packed)} of
        {ok, Value} -> #{value => Packed, told => told(Value)}
    catch
        error:_ -> #{problem => problem(0, malformed_hop, "The hop's value can't be read.", [])}
    end;
evaluate(#{hop := Path, calls := Calls}) ->
    Allowed = maps:from_keys(Calls, true),
    Run = fun() ->
              Value = script(Path, Allowed),
              {term_to_binary(Value, [compressed]), told(Value)}
          end,
    case bounded(Run, ?SCRIPT_TIMEOUT, ?SCRIPT_BYTES) of
        {ok, {Packed, Told}} -> #{value => Packed, told => Told};
        {error, {refused, Refused}} -> #{problem => refused(Refused)};
        {error, {too_large, Why}} -> #{problem => problem(0, hop_too_costly, "The hop's file ~ts.", [Why])};
        {error, {script, Reason}} -> #{problem => malformed("~ts", [script_error(Reason)])};
        {error, timeout} ->
            #{problem => problem(0, hop_too_costly, "The hop's file takes more than ~b ms to evaluate.", [?SCRIPT_TIMEOUT])};
        {error, killed} ->
            #{problem => problem(0, hop_too_costly, "The hop's file takes more than ~b MB of memory to evaluate.",
                                 [?SCRIPT_BYTES bsr 20])};
        {error, Reason} -> #{problem => malformed("the file could not be evaluated: ~0tP", [Reason, 12])}
    end.

refused(Calls) ->
    Named = [io_lib:format("~ts:~ts/~b (line ~b)", [Mod, Fun, Arity, Line]) || {Line, {Mod, Fun, Arity}} <- Calls],
    problem(0, hop_call_not_allowed, "The hop's file calls functions that are not known to be harmless: ~ts.", [lists:join(", ", Named)],
            #{calls => [text("~ts:~ts/~b", [Mod, Fun, Arity]) || {_, {Mod, Fun, Arity}} <- Calls]}).

%% {ok, Value} | {error, timeout | killed | Reason}: the value of Run, made in a process that is killed when it takes more
%% milliseconds or bytes; nothing is said of that in the log. So are processes that it has begun and waits for: they have us
%% as their group leader.
bounded(Run, Ms, Bytes) ->
    Watcher = self(),
    Heap = #{size => Bytes div erlang:system_info(wordsize), kill => true, error_logger => false},
    {Pid, Ref} = spawn_opt(fun() ->
                               group_leader(Watcher, self()),
                               exit(try {value, Run()} catch throw:Thrown -> Thrown; _:Why -> {died, Why} end)
                           end, [monitor, {max_heap_size, Heap}]),
    watched(Pid, Ref, erlang:monotonic_time(millisecond) + Ms, Bytes, []).

watched(Pid, Ref, Deadline, Bytes, Seen) ->
    Left = max(0, Deadline - erlang:monotonic_time(millisecond)),
    receive
        {'DOWN', Ref, process, Pid, {value, Value}} -> {ok, Value};
        {'DOWN', Ref, process, Pid, Reason} -> ended(Reason, Seen)
    after min(Left, ?LOOK) ->
        {Held, Now} = held([Pid]),
        if
            Left =< ?LOOK ->
                exit(Pid, kill),
                demonitor(Ref, [flush]),
                ended(timeout, Now);
            true ->
                Held > Bytes andalso exit(Pid, kill),
                watched(Pid, Ref, Deadline, Bytes, Now)
        end
    end.

ended(Reason, Begun) ->
    [exit(Each, kill) || Each <- Begun],
    {error, Reason}.

%% The bytes that processes hold, within their heaps and without, and those that they wait for; {Bytes, Processes}.
held(Pids) ->
    Known = [Each || Pid <- Pids, Each <- [process_info(Pid, [memory, binary, monitors])], is_list(Each)],
    Begun = [Pid || [_, _, {monitors, Monitored}] <- Known, {process, Pid} <- Monitored, is_pid(Pid), node(Pid) =:= node(),
                    process_info(Pid, group_leader) =:= {group_leader, self()}],
    Own = lists:sum([Heap + lists:sum([Size || {_, Size, _} <- lists:usort(Shared)])
                     || [{memory, Heap}, {binary, Shared}, _] <- Known]),
    case Begun of
        [] -> {Own, Pids};
        _ ->
            {Theirs, All} = held(Begun),
            {Own + Theirs, Pids ++ All}
    end.

%% The last value of a file, as file:script/1 has it; but each call that its text makes is looked up first.
script(Path, Allowed) ->
    check_text(Path),
    Forms = case file:open(Path, [read]) of
                {ok, Fd} ->
                    _ = epp:set_encoding(Fd),
                    forms(Fd, 1);
                {error, Reason} -> throw({script, Reason})
            end,
    %% Patterns are evaluated by nobody that we could ask.
    _ = try constant([Form || {_, Form} <- Forms])
        catch throw:{constant, Line, Why} -> throw({too_large, io_lib:format("~ts (line ~b)", [Why, Line])})
        end,
    Called = fun(Anno, Callee, Args) -> called(erl_anno:line(Anno), Callee, Args, Allowed) end,
    try lists:foldl(fun({Line, Form}, {_, Bindings}) -> evaluated({Line, guarded(Form)}, Bindings, handler(Called)) end,
                    {none, erl_eval:new_bindings()}, Forms) of
        {{value, Value}, _} -> free(Value);
        {none, _} -> throw({script, {1, file, undefined_script}})
    after
        %% The text may have caught what is thrown here.
        get(too_large) =:= undefined orelse throw({too_large, get(too_large)}),
        get(refused) =:= undefined orelse throw({refused, lists:usort([get(refused) | unlisted(Forms, Allowed)])})
    end.

%% Throws too_large for a text that is too large to be read at all.
check_text(Path) ->
    Size = filelib:file_size(Path),
    Size =< ?TEXT orelse throw({too_large, io_lib:format("has more than ~b bytes", [?TEXT])}),
    Text = case file:read_file(Path) of {ok, Read} -> Read; {error, Reason} -> throw({script, Reason}) end,
    re:run(Text, "[0-9][0-9_]{1000}|#[0-9A-Za-z_]{1000}", [{capture, none}]) =:= nomatch
        orelse throw({too_large, "has a number of more than 1000 digits"}),
    %% Also the name of a variable is an atom.
    case re:run(Text, "(?<![\\w@\\x80-\\xff])[A-Za-z_\\x80-\\xff][\\w@\\x80-\\xff]*|'", [global, {capture, first, index}]) of
        {match, Words} when length(Words) > ?WORDS -> throw({too_large, io_lib:format("has more than ~b words", [?WORDS])});
        _ -> ok
    end.

forms(Fd, Line) ->
    case io:parse_erl_exprs(Fd, '', Line) of
        {ok, Form, Next} -> [{Next, Form} | forms(Fd, Next)];
        {error, What, _} -> throw({script, What});
        {eof, _} -> []
    end.

evaluated({Line, Form}, Bindings, Handler) ->
    try erl_eval:exprs(Form, Bindings, none, {value, Handler}) of
        {value, Value, Next} -> {{value, Value}, Next}
    catch
        %% It is told as text, for it may be large.
        Class:Reason -> throw({script, {Line, file, {Class, text("~0tP", [Reason, 12]), []}}})
    end.

%% From OTP 25 on it is told where the call is.
handler(Called) ->
    case list_to_integer(erlang:system_info(otp_release)) >= 25 of
        true -> Called;
        false -> fun(Callee, Args) -> Called(erl_anno:new(0), Callee, Args) end
    end.

called(Line, {'$within', within}, [Limit, Value], _) ->
    weigh(Line, Value, Limit),
    Value;
called(Line, {'$within', bits}, [Limit, Bits], _) ->
    is_integer(Bits) andalso Bits > Limit andalso too_large(Line),
    Bits;
called(Line, {Mod, Fun}, Args, Allowed) ->
    permit(Line, {Mod, Fun, length(Args)}, Allowed),
    weigh(Line, Args, limit(Mod, Fun)),
    is_small(Mod, Fun, Args) orelse too_large(Line),
    [permit_given(Line, Given, Allowed) || Given <- Args, is_function(Given)],
    apply(Mod, Fun, Args);
called(Line, Fun, Args, Allowed) ->
    permit(Line, Fun, Allowed),
    weigh(Line, Args, ?WEIGHT),
    apply(Fun, Args).

%% A function that is given by its name is called with whatever it is called with: nobody weighs that.
permit_given(Line, Fun, Allowed) ->
    permit(Line, Fun, Allowed),
    {module, Mod} = erlang:fun_info(Fun, module),
    {name, Name} = erlang:fun_info(Fun, name),
    {type, Type} = erlang:fun_info(Fun, type),
    case Type =:= external andalso (limit(Mod, Name) =/= ?WEIGHT orelse Name =:= 'bsl') of
        true -> refuse(Line, {atom_to_binary(Mod, utf8), atom_to_binary(Name, utf8), element(2, erlang:fun_info(Fun, arity))});
        false -> ok
    end.

limit(binary, _) -> ?LITTLE;
limit(_, Fun) when Fun =:= list_to_integer; Fun =:= binary_to_integer; Fun =:= to_integer -> ?LITTLE;
limit(_, _) -> ?WEIGHT.

is_small(erlang, 'bsl', [_, Shift]) when is_integer(Shift) -> Shift =< ?BITS;
is_small(_, _, _) -> true.

%% A fun of the text's own is evaluated like the text.
permit(Line, Fun, Allowed) when is_function(Fun) ->
    [permit(Line, {Mod, Name, Arity}, Allowed)
     || {type, external} <- [erlang:fun_info(Fun, type)], {module, Mod} <- [erlang:fun_info(Fun, module)],
        {name, Name} <- [erlang:fun_info(Fun, name)], {arity, Arity} <- [erlang:fun_info(Fun, arity)]];
permit(Line, {Mod, Fun, Arity}, Allowed) when is_atom(Mod), is_atom(Fun) ->
    Call = {atom_to_binary(Mod, utf8), atom_to_binary(Fun, utf8), Arity},
    case is_map_key(Call, Allowed) of
        true -> ok;
        false -> refuse(Line, Call)
    end;
permit(_, _, _) -> ok.

refuse(Line, Call) ->
    put(refused, {Line, Call}),
    throw({refused, Call}).

%% [{Line, {Mod, Fun, Arity}}] of the calls in a text that name what they call, and may not.
unlisted({call, Anno, {remote, _, {atom, _, Mod}, {atom, _, Fun}}, Args} = Form, Allowed) ->
    unlisted(Anno, Mod, Fun, length(Args), Allowed) ++ unlisted(tl(tuple_to_list(Form)), Allowed);
unlisted({call, Anno, {atom, _, Fun}, Args} = Form, Allowed) ->
    unlisted(Anno, erlang, Fun, length(Args), Allowed) ++ unlisted(tl(tuple_to_list(Form)), Allowed);
unlisted(Form, Allowed) when is_tuple(Form) -> unlisted(tuple_to_list(Form), Allowed);
unlisted([Form | Forms], Allowed) -> unlisted(Form, Allowed) ++ unlisted(Forms, Allowed);
unlisted(_, _) -> [].

unlisted(Anno, Mod, Fun, Arity, Allowed) ->
    Call = {atom_to_binary(Mod, utf8), atom_to_binary(Fun, utf8), Arity},
    %% What is applied is looked up itself.
    [{erl_anno:line(Anno), Call} || not is_map_key(Call, Allowed), {Mod, Fun} =/= {erlang, apply}].

too_large(Line) ->
    put(too_large, io_lib:format("makes something too large (line ~b)", [Line])),
    throw(too_large).

%% {value, Number} of what is constant, else unknown. Throws {constant, Line, Why} where something constant is
%% too large.
constant({Kind, _, Value}) when Kind =:= integer; Kind =:= char; Kind =:= float -> {value, Value};
constant({op, Anno, Op, A}) -> made(Anno, Op, [constant(A)]);
constant({op, Anno, Op, A, B}) -> made(Anno, Op, [constant(A), constant(B)]);
constant({call, Anno, {remote, _, {atom, _, erlang}, {atom, _, Op}}, Args}) ->
    made(Anno, Op, [constant(Arg) || Arg <- Args]);
constant({bin_element, Anno, Value, Size, _}) ->
    case {constant(Value), constant(Size)} of
        {unknown, {value, _}} when element(1, Value) =/= string -> unknown;
        {_, {value, Units}} when Units > ?SEGMENT -> too_long(Anno);
        _ -> unknown
    end;
constant({string, _, _}) -> unknown;
constant([First | Rest]) ->
    _ = constant(First),
    _ = constant(Rest),
    unknown;
constant(Form) when is_tuple(Form) -> constant(tuple_to_list(Form));
constant(_) -> unknown.

made(Anno, 'bsl', [_, {value, Shift}]) when Shift > ?BITS -> too_many_bits(Anno);
made(Anno, 'bsr', [_, {value, Shift}]) when Shift < -?BITS -> too_many_bits(Anno);
made(Anno, Op, Args) ->
    Values = [Value || {value, Value} <- Args],
    case length(Values) =:= length(Args) andalso is_arithmetic(Op, length(Args)) of
        true ->
            try apply(erlang, Op, Values) of
                Value when is_integer(Value), abs(Value) >= 1 bsl ?BITS -> too_many_bits(Anno);
                Value -> {value, Value}
            catch
                error:_ -> unknown
            end;
        false -> unknown
    end.

is_arithmetic(Op, Arity) -> erl_internal:arith_op(Op, Arity).

too_many_bits(Anno) -> throw({constant, erl_anno:line(Anno), io_lib:format("has a number of more than ~b bits", [?BITS])}).

too_long(Anno) -> throw({constant, erl_anno:line(Anno), io_lib:format("has a part of a binary of more than ~b units", [?SEGMENT])}).

%% Throws too_large where a term has too many parts, each counted as often as it is there.
weigh(Line, Term, Limit) ->
    weighed(Term, Limit) > 0 orelse too_large(Line).

%% What is left of a limit; as soon as nothing is, no more is looked at.
weighed(_, Left) when Left =< 0 -> 0;
weighed([Head | Tail], Left) -> weighed(Tail, weighed(Head, Left - 1));
weighed(Term, Left) when is_tuple(Term) -> weighed_in(Term, tuple_size(Term), Left - 1);
weighed(Term, Left) when is_map(Term) -> weighed_of(maps:next(maps:iterator(Term)), Left - 1);
weighed(Term, Left) when is_bitstring(Term) -> Left - 1 - byte_size(Term) div 8;
weighed(Term, _) when is_integer(Term), (Term >= 1 bsl ?BITS orelse Term =< -(1 bsl ?BITS)) -> 0;
weighed(Term, Left) when is_function(Term) ->
    case erl_eval:fun_data(Term) of
        false -> Left - 1;
        %% What it was written as is no larger than the text.
        Data -> weighed(element(2, Data), Left - 1)
    end;
weighed(_, Left) -> Left - 1.

weighed_in(_, 0, Left) -> Left;
weighed_in(_, _, Left) when Left =< 0 -> 0;
weighed_in(Tuple, N, Left) -> weighed_in(Tuple, N - 1, weighed(element(N, Tuple), Left)).

weighed_of(none, Left) -> Left;
weighed_of(_, Left) when Left =< 0 -> 0;
weighed_of({Key, Value, Next}, Left) -> weighed_of(maps:next(Next), weighed(Value, weighed(Key, Left))).

%% A form with a call of '$within' around whatever has to be weighed. Patterns stay what they are.
guarded({match, Anno, Pattern, Value}) -> {match, Anno, Pattern, within(Anno, guarded(Value))};
guarded({maybe_match, Anno, Pattern, Value}) -> {maybe_match, Anno, Pattern, within(Anno, guarded(Value))};
guarded({'case', Anno, Value, Clauses}) -> {'case', Anno, within(Anno, guarded(Value)), guarded(Clauses)};
guarded({'try', Anno, Body, Clauses, Catches, After}) ->
    {Before, [Last]} = lists:split(length(Body) - 1, guarded(Body)),
    {'try', Anno, Before ++ [within(Anno, Last)], guarded(Clauses), guarded(Catches), guarded(After)};
guarded({clause, Anno, Patterns, Guards, Body}) -> {clause, Anno, Patterns, guarded(Guards), guarded(Body)};
guarded({Kind, Anno, Pattern, Value})
  when Kind =:= generate; Kind =:= b_generate; Kind =:= m_generate; Kind =:= generate_strict;
       Kind =:= b_generate_strict; Kind =:= m_generate_strict ->
    {Kind, Anno, Pattern, within(Anno, guarded(Value))};
guarded({Kind, Anno, Key, Value}) when Kind =:= map_field_assoc; Kind =:= map_field_exact ->
    {Kind, Anno, within(Anno, guarded(Key)), guarded(Value)};
guarded({bin, Anno, Elements}) ->
    Share = ?BINARY div max(1, length(Elements)),
    {bin, Anno, [guarded_part(Element, Share) || Element <- Elements]};
guarded({'fun', Anno, {clauses, Clauses}}) ->
    [once(Patterns) || {clause, _, Patterns, _, _} <- Clauses],
    {'fun', Anno, {clauses, guarded(Clauses)}};
guarded({named_fun, Anno, Name, Clauses}) ->
    [once(Patterns) || {clause, _, Patterns, _, _} <- Clauses],
    {named_fun, Anno, Name, guarded(Clauses)};
guarded({string, _, _} = Form) -> Form;
guarded([Form | Forms]) -> [guarded(Form) | guarded(Forms)];
guarded(Form) when is_tuple(Form) -> list_to_tuple(guarded(tuple_to_list(Form)));
guarded(Form) -> Form.

guarded_part({bin_element, Anno, Value, Size, Types}, Share) ->
    {bin_element, Anno, part(Anno, guarded(Value), max(?FEW, Share div 8)),
     size_of(Anno, guarded(Size), max(?FEW, Share div 32)), Types}.

part(_, {Kind, _, _} = Literal, _) when Kind =:= string; Kind =:= integer; Kind =:= char; Kind =:= float -> Literal;
part(Anno, Value, Limit) -> within(Anno, within, Limit, Value).

%% A unit has 256 bits at most, so a limit on the number of units is one on the bytes.
size_of(_, default, _) -> default;
size_of(_, {integer, _, Size} = Literal, Limit) when Size =< Limit -> Literal;
size_of(Anno, Size, Limit) -> within(Anno, bits, Limit, Size).

within(_, {atom, _, _} = Literal) -> Literal;
within(Anno, Value) -> within(Anno, within, ?WEIGHT, Value).

within(Anno, How, Limit, Value) ->
    {call, Anno, {remote, Anno, {atom, Anno, '$within'}, {atom, Anno, How}}, [{integer, Anno, Limit}, Value]}.

%% The form that was guarded.
written({call, _, {remote, _, {atom, _, '$within'}, _}, [_, Value]}) -> written(Value);
written([Form | Forms]) -> [written(Form) | written(Forms)];
written(Form) when is_tuple(Form) -> list_to_tuple(written(tuple_to_list(Form)));
written(Form) -> Form.

%% A fun's head in which a variable stands twice compares what nobody has weighed.
once(Patterns) ->
    Names = variables(Patterns),
    Names -- lists:usort(Names) =:= [] orelse throw({script, "the head of a fun names a variable twice"}).

variables({var, _, '_'}) -> [];
variables({var, _, Name}) -> [Name];
variables([Form | Forms]) -> variables(Form) ++ variables(Forms);
variables(Form) when is_tuple(Form) -> variables(tuple_to_list(Form));
variables(_) -> [].

%% The value with its funs as file:script/1 would have them: they may be called long after the hop, and by whom they are then.
free(Value) ->
    replaced(Value, fun({named_fun_data, Bindings, Name, Clauses}) ->
                            fun_of({named_fun, erl_anno:new(0), Name, written(Clauses)}, free(Bindings));
                       ({fun_data, Bindings, Clauses}) ->
                            fun_of({'fun', erl_anno:new(0), {clauses, written(Clauses)}}, free(Bindings))
                    end).

fun_of(Expression, Bindings) ->
    {value, Fun, _} = erl_eval:expr(Expression, Bindings),
    Fun.

%% The same bytes for equal values. A fun is what it was written as, and what it was given.
told(Value) ->
    Plain = fun Tell(Data) ->
                [Tag, Bindings | Rest] = tuple_to_list(Data),
                [Tag, replaced(Bindings, Tell) | Rest]
            end,
    term_to_binary(replaced(Value, Plain), [deterministic]).

%% A term with With of what erl_eval knows of each fun in the place of the fun.
replaced([Head | Tail], With) -> [replaced(Head, With) | replaced(Tail, With)];
replaced(Term, With) when is_tuple(Term) -> list_to_tuple(replaced(tuple_to_list(Term), With));
replaced(Term, With) when is_map(Term) -> maps:from_list(replaced(maps:to_list(Term), With));
replaced(Term, With) when is_function(Term) ->
    case erl_eval:fun_data(Term) of
        false -> Term;
        Data -> With(Data)
    end;
replaced(Term, _) -> Term.

script_error(Told) when is_list(Told) -> Told;
script_error({Line, file, {Class, Reason, _}}) -> io_lib:format("line ~p: ~p:~ts", [Line, Class, Reason]);
script_error({Line, _, _} = Reason) when is_integer(Line) -> file:format_error(Reason);
script_error({{Line, Column}, Mod, Term}) -> [io_lib:format("~p:~p: ", [Line, Column]), Mod:format_error(Term)];
script_error(Reason) -> file:format_error(Reason).

malformed(Format, Args) -> problem(0, malformed_hop, Format, Args).

%% All that may be a module's name in a term, at whatever depth; what funs of a hop have in them is a term as well.
names_in(Term) -> lists:usort([atom_to_list(Atom) || Atom <- atoms_in([Term], [])]).

atoms_in([], Found) -> Found;
atoms_in([Atom | Rest], Found) when is_atom(Atom) -> atoms_in(Rest, [Atom | Found]);
atoms_in([[Head | Tail] | Rest], Found) -> atoms_in([Head, Tail | Rest], Found);
atoms_in([Tuple | Rest], Found) when is_tuple(Tuple) -> atoms_in(tuple_to_list(Tuple) ++ Rest, Found);
atoms_in([Map | Rest], Found) when is_map(Map) -> atoms_in(maps:to_list(Map) ++ Rest, Found);
atoms_in([Fun | Rest], Found) when is_function(Fun) ->
    Parts = [Part || What <- [module, env], {_, Part} <- [erlang:fun_info(Fun, What)]],
    atoms_in(Parts ++ Rest, Found);
atoms_in([_ | Rest], Found) -> atoms_in(Rest, Found).
