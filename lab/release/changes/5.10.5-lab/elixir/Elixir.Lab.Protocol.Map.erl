-module('Elixir.Lab.Protocol.Map').
-export([render/1]).

render(Value) -> Value.
