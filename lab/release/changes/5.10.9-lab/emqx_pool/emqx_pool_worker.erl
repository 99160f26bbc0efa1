%% @doc Runs jobs, one after the other.
-module(emqx_pool_worker).
-behaviour(gen_server).
-export([jobs/1, run/2, start_link/0]).
-export([code_change/3, handle_call/3, handle_cast/2, init/1]).

start_link() -> gen_server:start_link(?MODULE, [], []).

-spec run(pid(), fun(() -> Result)) -> Result.
run(Pid, Job) -> gen_server:call(Pid, {run, Job}).

%% @doc How many jobs it has run.
-spec jobs(pid()) -> non_neg_integer().
jobs(Pid) -> gen_server:call(Pid, jobs).

-record(worker, {jobs = 0 :: non_neg_integer(), started_at :: integer()}).

init([]) -> {ok, #worker{started_at = erlang:system_time(millisecond)}}.

handle_call({run, Job}, _From, #worker{jobs = Jobs} = Worker) -> {reply, Job(), Worker#worker{jobs = Jobs + 1}};
handle_call(jobs, _From, #worker{jobs = Jobs} = Worker) -> {reply, Jobs, Worker}.

handle_cast(_Message, Worker) -> {noreply, Worker}.

%% The number of jobs was the state until 5.10.4-lab. The hop says as of when older workers count as started.
code_change({down, _ToVsn}, #worker{jobs = Jobs}, _Extra) -> {ok, Jobs};
code_change(_FromVsn, #worker{} = Worker, _Extra) -> {ok, Worker};
code_change(_FromVsn, Jobs, #{started_at := At}) when is_integer(Jobs) -> {ok, #worker{jobs = Jobs, started_at = At}}.
