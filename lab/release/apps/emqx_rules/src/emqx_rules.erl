%% @doc The rules. Each is a module of its own that exports `topic/0', the topic filter it is for, and `run/1', what it
%% makes of a payload.
-module(emqx_rules).
-export([all/0, run/2]).
-export_type([outcome/0, reading/0]).

-type reading() :: #{binary() => number() | binary()}.
-type outcome() :: {alarm, Reasons :: [atom(), ...], reading()} | {pass, reading()} | {drop, Reason :: atom()}.

%% @doc The modules of all rules.
-spec all() -> [module()].
all() ->
    {ok, Modules} = application:get_key(?MODULE, modules),
    Modules -- [?MODULE].

%% @doc What the rules for a topic filter make of a payload.
-spec run(Filter :: binary(), Payload :: binary()) -> [{module(), outcome()}].
run(Filter, Payload) -> [{Rule, Rule:run(Payload)} || Rule <- all(), Rule:topic() =:= Filter].
