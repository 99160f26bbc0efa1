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

%% The state is the number of jobs.
init([]) -> {ok, 0}.

handle_call({run, Job}, _From, Jobs) -> {reply, Job(), Jobs + 1};
handle_call(jobs, _From, Jobs) -> {reply, Jobs, Jobs}.

handle_cast(_Message, Jobs) -> {noreply, Jobs}.

code_change(_FromVsn, Jobs, _Extra) -> {ok, Jobs}.
