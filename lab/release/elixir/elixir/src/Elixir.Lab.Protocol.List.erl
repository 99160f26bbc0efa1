-module('Elixir.Lab.Protocol.List').
-export([render/1]).

render(Value) -> Value.
