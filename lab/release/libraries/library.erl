-module(lab_library_NUMBER).
-export([number/0, later/1]).

number() -> "NUMBER".

%% A fun, a literal and a call, as other modules have.
later(Value) -> fun() -> lists:keyfind(Value, 1, [{number, "NUMBER"}, {name, ?MODULE}]) end.
