%% @doc The same protocol, consolidated: it knows the implementations of its release.
-module('Elixir.Lab.Protocol').
-export(['__protocol__'/1, impl_for/1]).

'__protocol__'(module) -> 'Elixir.Lab.Protocol';
'__protocol__'('consolidated?') -> true.

impl_for(Value) when is_list(Value) -> 'Elixir.Lab.Protocol.List';
impl_for(Value) when is_map(Value) -> 'Elixir.Lab.Protocol.Map';
impl_for(_) -> nil.
