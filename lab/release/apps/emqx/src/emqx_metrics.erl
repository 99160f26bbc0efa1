%% @doc Counters of this node.
-module(emqx_metrics).
-behaviour(gen_server).
-export([all/0, inc/1, start_link/0]).
-export([code_change/3, handle_call/3, handle_cast/2, init/1]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec inc(Name :: atom()) -> ok.
inc(Name) -> gen_server:cast(?MODULE, {inc, Name}).

-spec all() -> #{Name :: atom() => pos_integer()}.
all() -> gen_server:call(?MODULE, all).

%% The state is the counters.
init([]) -> {ok, #{}}.

handle_call(all, _From, Counters) -> {reply, Counters, Counters}.

handle_cast({inc, Name}, Counters) -> {noreply, maps:update_with(Name, fun(Count) -> Count + 1 end, 1, Counters)}.

code_change(_FromVsn, Counters, _Extra) -> {ok, Counters}.
