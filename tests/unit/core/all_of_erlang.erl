%% What a helper may be written in: each function says what it comes to, which is the same however it was compiled.
-module(all_of_erlang).
-compile([export_all, nowarn_export_all]).
-include_lib("stdlib/include/ms_transform.hrl").
-record(r, {a = 1, b = "x", c}).
-define(TWICE(X), (X) + (X)).
-if(?OTP_RELEASE >= 25).
new() -> true.
-else.
new() -> false.
-endif.
all() -> [new(), arith(7), strs(), lists_(), bins(<<1,2,3,4,5>>), maps_(), recs(), funs(), try_(), cat(), rcv(), guards(5), guards(a), guards(#r{}),
   filt([1,a,3]), ms(), nested(3), bools(true,false), case_(#{k => [1,2]}), named(5), comp(), rec_filter([#r{a=1},{r,2,3},x]), deep(), upd(), andor(undefined), bifs(), large()].
arith(X) -> A = 3, B = A * X, {A + B, B div 2, B rem 4, -B, bnot B, 1 bsl 10, A / 2, ?TWICE(X), 16#ff band B, B bxor 5}.
strs() -> S = "abc", T = S ++ "def", "abc" ++ R = T, {S, T, R, S -- "b", [$a | S]}.
lists_() -> [H | T] = [1, 2, 3], {H, T, hd(T), tl(T), length(T), lists:map(fun(X) -> X * 2 end, T)}.
bins(<<A:8, B:16/little, R/binary>> = W) -> Size = 4, <<C:Size, _/bitstring>> = W, {A, B, R, C, <<A:4, B:12, "x"/utf8, R/binary, 1.5/float>>, byte_size(W), <<0:Size>>}.
maps_() -> M = #{a => 1, "b" => 2}, #{a := X} = M, N = M#{a := 5, c => X}, {N, maps:get(c, N), map_size(N), is_map_key(a, M)}.
recs() -> R = #r{}, S = R#r{a = 9}, #r{b = B} = S, {R, S, B, S#r.a, is_record(S, r), #r.c, record_info(fields, r), record_info(size, r)}.
funs() -> X = 5, F = fun(Y) when Y > 1 -> Y + X; (_) -> X end, G = fun arith/1, {F(3), F(0), G(1), (fun lists:reverse/1)([1,2]), (fun(Z) -> Z end)(1)}.
try_() -> {try list_to_integer("x") of N -> N catch error:badarg -> bad after put(x, 1) end, try 5 of 5 -> five catch _:_ -> no end, try throw(q) catch throw:T:St -> {T, is_list(St)} end}.
cat() -> {catch throw(x), element(1, catch 1 + a)}.
rcv() -> self() ! {a, 1}, Ref = make_ref(), self() ! {Ref, 2}, A = receive {a, Y} -> Y end, B = receive {Ref, Z} -> Z after 1000 -> no end, {A, B, receive x -> x after 0 -> none end}.
guards(X) when is_integer(X), X * 2 > 9, X + 1 =< 6 -> int; guards(X) when X =:= a orelse X =:= b -> atom; guards(X) when is_record(X, r), X#r.a + 1 =:= 2 -> rec.
filt(L) -> {[X || X <- L, X + 1 > 1], [X || X <- L, is_integer(X), odd(X)], [X || {X, _} <- [{1, 2}, x]]}.
odd(X) -> X rem 2 =:= 1.
ms() -> ets:fun2ms(fun({A, B}) when A > 3 -> {B, A * 2} end).
nested(N) -> if N > 2, N < 10 -> case N of 3 -> three; _ -> other end; true -> none end.
bools(A, B) -> {A and B, A or B, A andalso B, A orelse B, not A, A xor B, A =:= B, 1 == 1.0, 1 < 2}.
case_(#{k := [A | _] = L} = M) -> case {A, L} of {1, [_, B]} when B > 1 -> {B, M}; _ -> no end.
named(N) -> F = fun Fac(0) -> 1; Fac(K) -> K * Fac(K - 1) end, F(N).
comp() -> {<< <<(X + 1)>> || <<X>> <= <<1, 2, 3>> >>, [{X, Y} || X <- [1, 2], Y <- [a], X > 1], << <<X>> || X <- [1, 2] >>}.
rec_filter(L) -> [X || X <- L, is_record(X, r), X#r.a =:= 1].
deep() -> X = begin Y = 4, Y * 2 end, {X, Y}.
upd() -> R = #r{c = #{x => 1}}, (R#r.c)#{x := 2}.
andor(X) -> X =/= undefined andalso X > 1.
bifs() -> {abs(-3), round(2.5), trunc(2.5), element(2, {a, b}), tuple_size({}), atom_to_list(x), integer_to_list(5 * 5), max(1, 2), erlang:'+'(1, 2), apply(lists, reverse, [[1, 2]]), apply(fun odd/1, [3]), list_to_tuple([1]), is_function(fun odd/1, 1), node(), size(<<1>>)}.
large() -> X = 1 bsl 2000, X * X.
