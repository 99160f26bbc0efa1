%% @doc Counters of this node.
-module(emqx_metrics).
-behaviour(gen_server).
-export([all/0, ensure/1, inc/1, since/0, start_link/0]).
-export([code_change/3, handle_call/3, handle_cast/2, init/1]).

-record(metrics, {since :: integer(), counters = #{} :: #{atom() => non_neg_integer()}}).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec inc(Name :: atom()) -> ok.
inc(Name) -> gen_server:cast(?MODULE, {inc, Name}).

%% @doc Have counters listed that have counted nothing yet.
-spec ensure(Names :: [atom()]) -> ok.
ensure(Names) -> gen_server:call(?MODULE, {ensure, Names}).

-spec all() -> #{Name :: atom() => non_neg_integer()}.
all() -> gen_server:call(?MODULE, all).

%% @doc Since when it counts, in ms since the epoch.
-spec since() -> integer().
since() -> gen_server:call(?MODULE, since).

init([]) -> {ok, #metrics{since = erlang:system_time(millisecond)}}.

handle_call(all, _From, #metrics{counters = Counters} = Metrics) ->
    {reply, Counters, Metrics};
handle_call(since, _From, #metrics{since = Since} = Metrics) ->
    {reply, Since, Metrics};
handle_call({ensure, Names}, _From, #metrics{counters = Counters} = Metrics) ->
    {reply, ok, Metrics#metrics{counters = maps:merge(maps:from_list([{Name, 0} || Name <- Names]), Counters)}}.

handle_cast({inc, Name}, #metrics{counters = Counters} = Metrics) ->
    {noreply, Metrics#metrics{counters = maps:update_with(Name, fun(Count) -> Count + 1 end, 1, Counters)}}.

%% The counters were the state until 5.10.4-lab. The hop says since when they count.
code_change({down, _ToVsn}, #metrics{counters = Counters}, _Extra) -> {ok, Counters};
code_change(_FromVsn, #metrics{} = Metrics, _Extra) -> {ok, Metrics};
code_change(_FromVsn, Counters, #{since := Since}) when is_map(Counters) -> {ok, #metrics{since = Since, counters = Counters}}.
