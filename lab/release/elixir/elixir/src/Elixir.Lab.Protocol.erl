%% @doc A protocol as it is compiled: it asks the code server which implementations there are.
-module('Elixir.Lab.Protocol').
-export(['__protocol__'/1, impl_for/1]).

'__protocol__'(module) -> 'Elixir.Lab.Protocol';
'__protocol__'('consolidated?') -> false.

impl_for(Value) when is_list(Value) -> loaded('Elixir.Lab.Protocol.List');
impl_for(_) -> nil.

loaded(Module) ->
    case code:ensure_loaded(Module) of
        {module, Module} -> Module;
        {error, _} -> nil
    end.
