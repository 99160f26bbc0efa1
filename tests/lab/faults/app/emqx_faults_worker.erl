%% A process that may fail when it is asked to stand still, or to change its state.
-module(emqx_faults_worker).
-export([start_link/1, ask/1]).
-export([init/2, system_continue/3, system_terminate/4, system_code_change/4]).

start_link(N) -> proc_lib:start_link(?MODULE, init, [self(), N]).

%% The version of its code that its state is of.
ask(N) ->
    Name = emqx_faults_point:worker(N),
    Ref = monitor(process, Name),
    Name ! {ask, self(), Ref},
    receive
        {Ref, Version} -> demonitor(Ref, [flush]), Version;
        {'DOWN', Ref, _, _, Reason} -> exit(Reason)
    end.

init(Parent, N) ->
    register(emqx_faults_point:worker(N), self()),
    proc_lib:init_ack({ok, self()}),
    loop(Parent, ?VERSION).

loop(Parent, Version) ->
    receive
        {ask, Pid, Ref} ->
            Pid ! {Ref, Version},
            loop(Parent, Version);
        {system, From, Request} ->
            Request =:= suspend andalso emqx_faults_point:strike(suspend),
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], Version)
    end.

system_continue(Parent, _Debug, Version) -> loop(Parent, Version).

system_terminate(Reason, _Parent, _Debug, _Version) -> exit(Reason).

system_code_change(_Version, ?MODULE, _From, _Extra) ->
    emqx_faults_point:strike(change),
    {ok, ?VERSION}.
