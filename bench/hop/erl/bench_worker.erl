%% A process whose state each of the two releases shapes in its own way.
-module(bench_worker).
-behaviour(gen_server).
-export([start_link/1, release/1, init/1, handle_call/3, handle_cast/2, code_change/3]).

start_link(Id) -> gen_server:start_link(?MODULE, Id, []).

%% The release of the code that a worker runs, and of the state that it has.
release(Pid) -> gen_server:call(Pid, release, infinity).

init(Id) -> {ok, shape(Id, #{calls => 0})}.

handle_call(release, _, {Release, _, _} = State) -> {reply, {?RELEASE, Release}, State};
handle_call(release, _, #{release := Release} = State) -> {reply, {?RELEASE, Release}, State}.

handle_cast(_, State) -> {noreply, State}.

-if(?RELEASE =:= 1).
code_change(_, #{release := 2, id := Id, counters := Counters}, _) -> {ok, shape(Id, Counters)}.
shape(Id, Counters) -> {1, Id, Counters}.
-else.
code_change(_, {1, Id, Counters}, _) -> {ok, shape(Id, Counters)}.
shape(Id, Counters) -> #{release => 2, id => Id, counters => Counters}.
-endif.
