%% @doc Remembers the highest value of each statistic.
-module(emqx_dashboard_peaks).
-behaviour(gen_server).
-export([all/0, note/1, start_link/0]).
-export([handle_call/3, handle_cast/2, init/1]).

start_link() -> gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec note(Sample :: #{atom() => non_neg_integer()}) -> ok.
note(Sample) -> gen_server:cast(?MODULE, {note, Sample}).

-spec all() -> #{Stat :: atom() => non_neg_integer()}.
all() -> gen_server:call(?MODULE, all).

init([]) -> {ok, #{}}.

handle_call(all, _From, Peaks) -> {reply, Peaks, Peaks}.

handle_cast({note, Sample}, Peaks) -> {noreply, maps:merge_with(fun(_, Peak, Value) -> max(Peak, Value) end, Peaks, Sample)}.
