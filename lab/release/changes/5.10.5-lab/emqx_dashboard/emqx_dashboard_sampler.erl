%% @doc Takes the node's statistics every so often.
-module(emqx_dashboard_sampler).
-behaviour(gen_server).
-export([latest/0, start_link/1]).
-export([handle_call/3, handle_cast/2, handle_info/2, init/1]).

%% @doc `Interval': ms between two samples.
start_link(Interval) -> gen_server:start_link({local, ?MODULE}, ?MODULE, Interval, []).

-spec latest() -> #{Stat :: atom() => non_neg_integer()}.
latest() -> gen_server:call(?MODULE, latest).

init(Interval) -> {ok, sample(Interval)}.

handle_call(latest, _From, {_, Sample} = State) -> {reply, Sample, State}.

handle_cast(_Message, State) -> {noreply, State}.

handle_info(sample, {Interval, _}) -> {noreply, sample(Interval)}.

sample(Interval) ->
    erlang:send_after(Interval, self(), sample),
    Sample = maps:from_list(emqx_stats:getstats()),
    emqx_dashboard_peaks:note(Sample),
    {Interval, Sample}.
