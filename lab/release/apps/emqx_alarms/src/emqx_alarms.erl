%% @doc The manager of alarms. What becomes of an alarm is up to its handlers.
-module(emqx_alarms).
-export([history/0, raise/2, ready/0, start_link/0]).

start_link() ->
    {ok, Pid} = gen_event:start_link({local, ?MODULE}),
    ok = gen_event:add_handler(?MODULE, emqx_alarms_history, []),
    {ok, Pid}.

-spec raise(Name :: atom(), Detail :: term()) -> ok.
raise(Name, Detail) -> gen_event:notify(?MODULE, {raised, Name, Detail}).

%% @doc The alarms there were, the newest first.
-spec history() -> [tuple()].
history() -> gen_event:call(?MODULE, emqx_alarms_history, all).

%% @doc `ok' once the application can answer; exits while it is down.
-spec ready() -> ok.
ready() ->
    true = is_list(history()),
    ok.
