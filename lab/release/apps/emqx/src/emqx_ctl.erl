%% @doc The table of the node's commands, and running one. Output goes to the caller's group leader.
-module(emqx_ctl).
-behaviour(gen_server).
-export([print/2, register_command/2, run_command/1, start_link/0]).
-export([handle_call/3, handle_cast/2, init/1]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Have a command, by its first word, run by `Mod:Fun(RestOfTheWords)'.
-spec register_command(Word :: string(), {module(), Fun :: atom()}) -> ok.
register_command(Word, {Mod, Fun}) -> gen_server:call(?MODULE, {register, Word, {Mod, Fun}}).

-spec run_command(Words :: [string()]) -> ok | {error, initializing | unknown_command}.
run_command(Words) ->
    case ets:whereis(?MODULE) of
        undefined ->
            print("Command table is initializing.~n", []),
            {error, initializing};
        _ ->
            run(Words)
    end.

-spec print(io:format(), [term()]) -> ok.
print(Format, Args) -> io:format(Format, Args).

run([Word | Rest]) ->
    case ets:lookup(?MODULE, Word) of
        [{_, {Mod, Fun}}] -> Mod:Fun(Rest);
        [] -> usage()
    end;
run([]) ->
    usage().

usage() ->
    print("Commands:~n~ts", [[["  ", Word, "\n"] || {Word, _} <- ets:tab2list(?MODULE)]]),
    {error, unknown_command}.

init([]) ->
    ?MODULE = ets:new(?MODULE, [named_table, ordered_set, {read_concurrency, true}]),
    true = ets:insert(?MODULE, emqx_commands:all()),
    {ok, []}.

handle_call({register, Word, Handler}, _From, State) ->
    true = ets:insert(?MODULE, {Word, Handler}),
    {reply, ok, State}.

handle_cast(_Message, State) -> {noreply, State}.
