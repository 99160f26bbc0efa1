"""Helper modules that would hold a scheduler, or take all memory, while they are compiled.

`COMPILED`: those that do so by constants that a compiler finds by itself; they compile, and compute nothing before they
run. `REFUSED`: those with what is evaluated in any case, and a part of what is said of each.
"""

HUGE = "33554000"
"""A shift: the product of two numbers of so many bits takes minutes, in one native function."""

TIMES = "(1 bsl A) * (1 bsl A)"

LARGE = "Y = 150000, (1 bsl Y) div 1000003"
"""It is made at once, and shows: its digits can't be compressed, and are more than a helper's code."""

COMPILED = {
    "variables": f"f() -> X = {HUGE}, A = 1 bsl X, B = A - 1, B * B * B * B.",
    "product": "f() -> X = 50, Y = X * 1000000000, 1 bsl Y.",
    "squares": "f() -> A0 = 1 bsl 4000, " + ", ".join(f"A{n + 1} = A{n} * A{n}" for n in range(20)) + ", A20.",
    "float": "f() -> A0 = trunc(1.0e300), " + ", ".join(f"A{n + 1} = A{n} * A{n}" for n in range(20)) + ", A20.",
    "remainder": f"f() -> X = {HUGE}, A = (1 bsl X) - 1, B = (1 bsl (X div 2)) - 1, {{A rem B, integer_to_list(A)}}.",
    "character": f'f() -> A = hd("\\x{{10ffff}}") * 30, {TIMES}.',
    "character in place": 'f() -> (1 bsl (hd("\\x{10ffff}") * 30)) * (1 bsl (hd("\\x{10ffff}") * 30)).',
    "guard": f"f(X) -> A = {HUGE}, if X > {TIMES} -> ok; true -> no end.",
    "case": f"f() -> case {HUGE} of A -> {TIMES} end.",
    "guard of a case": f"f(X) -> case {HUGE} of A when X > {TIMES} -> ok; _ -> no end.",
    "tuple": f"f() -> {{A, _}} = {{{HUGE}, 2}}, {TIMES}.",
    "list": f"f() -> [A | _] = [{HUGE}, 2], {TIMES}.",
    "string": f'f() -> [B | _] = "\\x{{10ffff}}", A = B * 30, {TIMES}.',
    "binary": f"f() -> <<A:32>> = <<{HUGE}:32>>, {TIMES}.",
    "map": f"f() -> #{{a := A}} = #{{a => {HUGE}}}, {TIMES}.",
    "map in place": f"f() -> (1 bsl map_get(a, #{{a => {HUGE}}})) * (1 bsl map_get(a, #{{a => {HUGE}}})).",
    "record": f"-record(r, {{a = {HUGE}}}).\nf() -> R = #r{{}}, A = R#r.a, {TIMES}.",
    "record in place": f"-record(r, {{a = {HUGE}}}).\nf() -> (1 bsl (#r{{}})#r.a) * (1 bsl (#r{{}})#r.a).",
    "fun in a record": f"-record(r, {{a = (fun() -> {LARGE} end)()}}).\nf() -> #r{{}}.",
    "typed field of a record": f"-record(r, {{a = (fun() -> {LARGE} end)() :: any()}}).\nf() -> #r{{}}.",
    "call in a record": '-record(r, {a = (1 bsl (hd("a") * 2000)) div 1000003}).\nf() -> #r{}.',
    "no match specification": f"f() -> x:fun2ms(begin {LARGE} end).",
    "match specification that is not asked for": f"f() -> ets:fun2ms(fun(_) -> {LARGE} end).",
    "no information of a record": f"f() -> record_info(begin {LARGE} end, a, b).\nrecord_info(A, _, _) -> A.",
    "block": f"f() -> (1 bsl begin {HUGE} end) * (1 bsl begin {HUGE} end).",
    "catch": f"f() -> (catch 1) bsl (catch {HUGE}).",
    "match in place": f"f() -> g(A = {HUGE}), {TIMES}.\ng(X) -> X.",
    "try": f"f() -> try {HUGE} of A -> {TIMES} catch _:_ -> ok end.",
    "receive": f"f() -> receive x -> 1 after 0 -> {HUGE} end bsl receive x -> 1 after 0 -> {HUGE} end.",
    "operator as a function": f"f() -> X = {HUGE}, erlang:'*'(erlang:'bsl'(1, X), erlang:'bsl'(1, X)).",
    "imported operator": f"-import(erlang, ['*'/2, 'bsl'/2]).\nf() -> '*'('bsl'(1, {HUGE}), 'bsl'(1, {HUGE})).",
    "apply": f"f() -> X = apply(erlang, 'bsl', [1, {HUGE}]), apply(erlang, '*', [X, X]).",
    "module in a variable": f"f() -> M = erlang, M:'*'(M:'bsl'(1, {HUGE}), M:'bsl'(1, {HUGE})).",
    "fun of a module": f"f() -> (fun erlang:'*'/2)((fun erlang:'bsl'/2)(1, {HUGE}), (fun erlang:'bsl'/2)(1, {HUGE})).",
    "fun": f"f() -> (fun(A) -> {TIMES} end)({HUGE}).",
    "named fun": f"f() -> (fun F(A) -> {TIMES} end)({HUGE}).",
    "comprehension": f"f() -> [{TIMES} || A <- [{HUGE}]].",
    "filter": f"f() -> A = {HUGE}, [X || X <- [1], X < {TIMES}].",
    "binary comprehension": f"f() -> << <<({TIMES})>> || <<A:32>> <= <<{HUGE}:32>> >>.",
    "inline": f"-compile(inline).\nf() -> g({HUGE}).\ng(A) -> {TIMES}.",
    "binary of a variable": "f() -> S = 80000000000, <<0:S>>.",
    "long list": "f() -> N = 1000000000, {lists:seq(1, N), lists:duplicate(N, x)}.",
    "digits": '-define(A, "999999999999999999999999999999999999999999999999999999999999999999").\n'
    + "".join(f"-define({new}, {f'?{old} ' * 20}).\n" for old, new in ("AB", "BC", "CD"))
    + "f() -> list_to_integer(?D).",
}

BITS, UNITS = "4096 bits", "part of a binary"

REFUSED = {
    "constant": (f"-define(A, {HUGE}).\nf() -> {TIMES.replace('A', '?A')}.", BITS),
    "constant to the right": (f"-define(S, -{HUGE}).\nf() -> (1 bsr ?S) * (1 bsr ?S).", BITS),
    "squares of macros": (
        "-define(A0, (1 bsl 4000)).\n"
        + "".join(f"-define(A{n + 1}, (?A{n} * ?A{n})).\n" for n in range(4))
        + "f(?A4) -> ok.",
        BITS,
    ),
    "pattern": (f"-define(S, {HUGE}).\nf((1 bsl ?S) - 1) -> ok.", BITS),
    "key in a pattern": (f"f(#{{(1 bsl {HUGE}) := X}}) -> X.", BITS),
    "type": (f"-define(S, {HUGE}).\n-type t() :: (1 bsl ?S).", BITS),
    "default of a record": (f"-record(r, {{a = (1 bsl {HUGE}) * (1 bsl {HUGE})}}).\nf() -> #r{{}}.", BITS),
    "constants in a guard": (f"f(X) when X > (1 bsl {HUGE}) * (1 bsl {HUGE}) -> X.", BITS),
    "operators in a guard": (f"f(X) when X > erlang:'bsl'(1, {HUGE}) -> X.", BITS),
    "function in a guard": ('f(X) when X > 1 bsl (hd("\\x{10ffff}") * 30) -> X.', "in a guard"),
    "record in a guard": (f"-record(r, {{a = {HUGE}}}).\nf(X) when X > 1 bsl (#r{{}})#r.a -> X.", "in a guard"),
    "condition": (f"-if((1 bsl {HUGE}) > 0).\n-endif.\nf() -> ok.", "condition"),
    "macro in a condition": (f"-define(S, (1 bsl {HUGE})).\n-if(?S > 0).\n-endif.\nf() -> ok.", "condition"),
    "second condition": (f"-ifdef(X).\n-elif((1 bsl {HUGE}) > 0).\n-endif.\nf() -> ok.", "condition"),
    "binary": ("f() -> <<0:80000000000>>.", UNITS),
    "binary in a pattern": ("f(<<1:80000000000>>) -> a; f(<<2:80000000000>>) -> b.", UNITS),
    "text in a pattern": ('f(<<"abc":80000000000>>) -> a.', UNITS),
    "binary in an attribute": ("-vsn(<<0:80000000000>>).\nf() -> ok.", UNITS),
    "macro in an attribute": ("-define(S, 80000000000).\n-foo([<<0:?S>>]).\nf() -> ok.", UNITS),
    "binary in parentheses": ("-vsn([<<0:(80000000000)>>]).\nf() -> ok.", UNITS),
    "binary with a sign": ("-vsn(<<0:((+ (80000000000)))>>).\nf() -> ok.", UNITS),
    "macro within a macro": (
        f"-define(S, (1 bsl {HUGE})).\n-define(T(X), X < ?S).\n-if(?T(1)).\n-endif.\nf() -> ok.",
        "condition",
    ),
    "second of two macros": (
        f"-ifdef(X).\n-define(S, 1).\n-else.\n-define(S, (1 bsl {HUGE})).\n-endif.\n-if(?S > 0).\n-endif.\nf() -> ok.",
        "condition",
    ),
    "documentation": ('-doc {file, "/dev/zero"}.\nf() -> ok.', "documentation"),
    "path in two": ('-include("x/" "../../../../../../dev/zero").\nf() -> ok.', "does not name"),
    "parse transform": ("-compile({parse_transform, evil}).\nf() -> ok.", "parse_transform"),
    "core transform": ("-compile([{core_transform, evil}]).\nf() -> ok.", "core_transform"),
    "file that would be written": ("-compile('S').\nf() -> ok.", "asks the compiler for"),
    "atoms of functions": (
        "-define(A0, fun() -> x end).\n"
        + "".join(f"-define(A{n + 1}, {', '.join([f'?A{n}'] * 8)}).\n" for n in range(5))
        + "f() -> [?A5].",
        "funs and comprehensions",
    ),
    "variables": (f"f() -> {{{', '.join(f'V{number}' for number in range(60_000))}}}.", "words"),
    "open string": ('f() -> "abc.', "unterminated"),
}
